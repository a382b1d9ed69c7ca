"""A TCP stream for a fixed time: `receive ADDRESS`, or `send SOURCE DESTINATION SECONDS`."""

from __future__ import annotations

import socket
import sys
import time

_PORT = 5001
_CHUNK = 1 << 18


def receive(address: str) -> int:
    """Take one stream and report how much came in how long."""
    with socket.create_server((address, _PORT)) as server:
        server.settimeout(20)
        connection, _ = server.accept()
        buffer = bytearray(_CHUNK)
        total, start = 0, time.monotonic()
        with connection:
            connection.settimeout(20)
            while taken := connection.recv_into(buffer):
                total += taken
        span = time.monotonic() - start
    sys.stdout.write(f"{total} {span}\n")
    return 0


def send(source: str, destination: str, seconds: float) -> int:
    """Send as fast as the tunnel takes it."""
    chunk = bytes(_CHUNK)
    with socket.create_connection(
        (destination, _PORT), timeout=20, source_address=(source, 0)
    ) as stream:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stream.sendall(chunk)
    return 0


def main(arguments: list[str]) -> int:
    """Play the side that the first argument names."""
    if arguments[0] == "receive":
        return receive(arguments[1])
    return send(arguments[1], arguments[2], float(arguments[3]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
