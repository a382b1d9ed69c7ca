"""ICMP echo through the tunnel: SOURCE DESTINATION COUNT; no other program is needed."""

from __future__ import annotations

import socket
import struct
import sys
import time

_ECHO_REQUEST = 8
_ECHO_REPLY = 0
_TIMEOUT = 2.0
_IPV4_HEADER = 20


def main(arguments: list[str]) -> int:
    """Send echo requests; exit 0 if every one is answered."""
    source, destination, count = arguments[0], arguments[1], int(arguments[2])
    answered = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
        icmp.bind((source, 0))
        icmp.settimeout(_TIMEOUT)
        for number in range(count):
            round_trip = _echo(icmp, destination, number)
            if round_trip is None:
                sys.stdout.write(f"no answer from {destination} to number {number}\n")
            else:
                answered += 1
                sys.stdout.write(
                    f"64 bytes from {destination}: number {number}, {round_trip * 1000:.2f} ms\n"
                )
    sys.stdout.write(f"{count} sent, {answered} answered\n")
    return 0 if answered == count else 1


def _echo(icmp: socket.socket, destination: str, number: int) -> float | None:
    payload = bytes(range(56))
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 1, number)
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, _checksum(head + payload), 1, number)
    sent = time.monotonic()
    icmp.sendto(head + payload, (destination, 0))
    try:
        while True:
            reply, (host, _) = icmp.recvfrom(2048)
            kind, _, _, _, echoed = struct.unpack_from("!BBHHH", reply, _IPV4_HEADER)
            if host == destination and kind == _ECHO_REPLY and echoed == number:
                return time.monotonic() - sent
    except TimeoutError:
        return None


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
