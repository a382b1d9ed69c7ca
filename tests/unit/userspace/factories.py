"""Packets, SAs and devices for the tests of the user-space backend."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.crypto.secret import Secret
from charon_core.kernel.interface import (
    Encapsulation,
    IpsecProtocol,
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    SaId,
    SaSpec,
)
from charon_core.kernel.userspace.tun import VNET_HEADER, Offloads
from charon_core.network.packet import Endpoint

SPI = 0xC0FFEE01
HERE, THERE = "192.0.2.1", "192.0.2.2"
LOCAL, REMOTE = "10.1.0.1", "10.2.0.1"
LOCAL6, REMOTE6 = "fd01::1", "fd02::1"
PEER = Endpoint(HERE, 4500)
ACK, PSH, FIN, CWR = 0x10, 0x08, 0x01, 0x80

# name -> (encryption, octets of its key material, integrity, octets of its key)
ALGORITHMS = {
    "AES_GCM_8-128": (18, 20, None, 0),
    "AES_GCM_12-256": (19, 36, None, 0),
    "AES_GCM_16-128": (20, 20, None, 0),
    "AES_GCM_16-192": (20, 28, None, 0),
    "AES_GCM_16-256": (20, 36, None, 0),
    "AES_CCM_8-128": (14, 19, None, 0),
    "AES_CCM_12-256": (15, 35, None, 0),
    "AES_CCM_16-128": (16, 19, None, 0),
    "CHACHA20_POLY1305": (28, 36, None, 0),
    "NULL_AUTH_AES_GMAC-128": (21, 20, None, 0),
    "AES_CBC-128/HMAC_MD5_96": (12, 16, 1, 16),
    "AES_CBC-128/HMAC_SHA1_96": (12, 16, 2, 20),
    "AES_CBC-256/HMAC_SHA2_256_128": (12, 32, 12, 32),
    "AES_CBC-192/HMAC_SHA2_384_192": (12, 24, 13, 48),
    "AES_CBC-128/HMAC_SHA2_512_256": (12, 16, 14, 64),
    "AES_CBC-128/AES_XCBC_96": (12, 16, 5, 16),
    "AES_CBC-128/AES_CMAC_96": (12, 16, 8, 16),
    "AES_CBC-128/HMAC_SHA2_256_96": (12, 16, 1026, 32),
    "AES_CTR-128/HMAC_SHA2_256_128": (13, 20, 12, 32),
    "NULL/HMAC_SHA1_96": (11, 0, 2, 20),
    "NULL/HMAC_SHA2_256_128": (11, 0, 12, 32),
}
GCM = "AES_GCM_16-128"


def key(length: int, first: int = 1) -> bytes:
    """Return key material in which no two octets of a cipher block are equal."""
    return bytes((first + i) & 0xFF for i in range(length))


def network(text: str, **more: Any) -> TrafficSelector:
    """Return the selector of a network in CIDR notation."""
    address, _, prefix = text.partition("/")
    return TrafficSelector.network(address, int(prefix) if prefix else None, **more)


OURS = (network("10.1.0.0/16"), network("fd01::/16"))
THEIRS = (network("10.2.0.0/16"), network("fd02::/16"))


def sa_spec(algorithm: str = GCM, *, inbound: bool = False, **changes: Any) -> SaSpec:
    """Return an SA from HERE to THERE; the inbound one is the same as THERE sees it."""
    encryption, key_length, integrity, integrity_length = ALGORITHMS[algorithm]
    values: dict[str, Any] = {
        "id": SaId(HERE, THERE, IpsecProtocol.ESP, SPI),
        "reqid": 7,
        "mode": ChildMode.TUNNEL,
        "encryption": encryption,
        "encryption_key": Secret(key(key_length)),
        "integrity": integrity,
        "integrity_key": Secret(key(integrity_length, 101)) if integrity else None,
        "inbound": inbound,
        "replay_window": 64,
        "encapsulation": Encapsulation(4500, 4500),
        "local_ts": THEIRS if inbound else OURS,
        "remote_ts": OURS if inbound else THEIRS,
    }
    return SaSpec(**values | changes)


def policy_spec(
    source: str = "10.1.0.0/16",
    destination: str = "10.2.0.0/16",
    *,
    action: PolicyAction = PolicyAction.PROTECT,
    direction: PolicyDirection = PolicyDirection.OUT,
    reqid: int = 7,
    priority: int | None = 1000,
    **more: Any,
) -> PolicySpec:
    """Return an outbound policy."""
    template = PolicyTemplate(HERE, THERE, IpsecProtocol.ESP, reqid, ChildMode.TUNNEL)
    return PolicySpec(
        source=network(source, **more),
        destination=network(destination, **more),
        direction=direction,
        action=action,
        priority=priority,
        template=template if action is PolicyAction.PROTECT else None,
    )


def words_sum(data: bytes) -> int:
    """Return the one's complement sum as RFC 1071 describes it, word by word."""
    total = 0
    for high, low in zip(data[::2], (data + b"\0")[1::2], strict=False):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total


def with_checksum(data: bytes, place: int, pseudo: bytes) -> bytes:
    """Fill in the checksum at ``place``, where 0 is."""
    value = words_sum(pseudo + data) ^ 0xFFFF
    return data[:place] + struct.pack(">H", value or 0xFFFF) + data[place + 2 :]


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """Return the pseudo-header of either family."""
    packed = ip_address(source).packed + ip_address(destination).packed
    return packed + struct.pack(">IHBB", length, 0, 0, protocol)


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 1,
    fragment: int = 0x4000,
    ttl: int = 64,
    options: bytes = b"",
) -> bytes:
    """Return an IPv4 or IPv6 packet."""
    packed = ip_address(source).packed, ip_address(destination).packed
    if len(packed[0]) == 16:
        return (
            struct.pack(">IHBB", 6 << 28, len(payload), protocol, ttl) + b"".join(packed) + payload
        )
    size = 20 + len(options)
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), identification, fragment, ttl,
        protocol, 0, *packed,
    ) + options  # fmt: skip
    return with_checksum(header, 10, b"") + payload


def tcp(
    payload: bytes,
    *,
    source: str = LOCAL,
    destination: str = REMOTE,
    ports: tuple[int, int] = (40000, 80),
    number: int = 1000,
    flags: int = ACK,
    options: bytes = b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\2",
    checksum: int | None = None,
    **more: Any,
) -> bytes:
    """Return a TCP segment in its IP packet."""
    segment = struct.pack(
        ">HHIIBBHHH", *ports, number & 0xFFFFFFFF, 77, (20 + len(options)) << 2, flags, 500, 0, 0
    ) + options + payload  # fmt: skip
    if checksum is None:
        segment = with_checksum(segment, 16, pseudo_header(source, destination, 6, len(segment)))
    else:
        segment = segment[:16] + struct.pack(">H", checksum) + segment[18:]
    return ip(source, destination, 6, segment, **more)


def udp(
    payload: bytes = b"data",
    *,
    source: str = LOCAL,
    destination: str = REMOTE,
    ports: tuple[int, int] = (5000, 53),
    **more: Any,
) -> bytes:
    """Return a UDP datagram in its IP packet."""
    datagram = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    datagram = with_checksum(datagram, 6, pseudo_header(source, destination, 17, len(datagram)))
    return ip(source, destination, 17, datagram, **more)


def is_intact(packet: bytes) -> bool:
    """Tell whether lengths and all checksums of a TCP or UDP packet are right."""
    if packet[0] >> 4 == 4:
        size = (packet[0] & 15) * 4
        length = struct.unpack_from(">H", packet, 2)[0]
        if words_sum(packet[:size]) != 0xFFFF:
            return False
        addresses, protocol = packet[12:20], packet[9]
    else:
        size, length = 40, 40 + struct.unpack_from(">H", packet, 4)[0]
        addresses, protocol = packet[8:40], packet[6]
    transport = packet[size:]
    if protocol == 17 and struct.unpack_from(">H", transport, 4)[0] != len(transport):
        return False
    pseudo = addresses + struct.pack(">IHBB", len(transport), 0, 0, protocol)
    return length == len(packet) and words_sum(pseudo + transport) == 0xFFFF


def super_packet(payload: bytes, size: int, **more: Any) -> bytes:
    """Return the frame of a TCP super-packet, as the device gives it: with a partial checksum."""
    source, destination = more.get("source", LOCAL), more.get("destination", REMOTE)
    version = 6 if ":" in source else 4
    transport = 40 if version == 6 else 20
    packet = tcp(payload, checksum=0, **more)
    partial = words_sum(pseudo_header(source, destination, 6, len(packet) - transport))
    packet = packet[: transport + 16] + struct.pack(">H", partial) + packet[transport + 18 :]
    end = transport + (packet[transport + 12] >> 4 << 2)
    kind = 4 if version == 6 else 1
    return VNET_HEADER.pack(1, kind, end, size, transport, 16) + packet


def plain_frame(packet: bytes) -> bytes:
    """Return the frame of a packet that is complete."""
    return bytes(VNET_HEADER.size) + packet


class FakeDevice:
    """Frames to be read, and frames that were written."""

    header_length = VNET_HEADER.size
    offloads = Offloads(checksum=True, tcp=True, udp=True)
    name = "fake0"
    fd = -1

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.written: list[bytes] = []
        self.takes = True
        self.closed = False

    def read_into(self, buffer: bytearray) -> int:
        if not self.frames:
            return 0
        frame = self.frames.pop(0)
        buffer[: len(frame)] = frame
        return len(frame)

    def write(self, pieces: Any) -> bool:
        if self.takes:
            self.written.append(b"".join(pieces))
        return self.takes

    def close(self) -> None:
        self.closed = True

    @property
    def packets(self) -> list[bytes]:
        """What was written, without the headers of the device."""
        return [frame[self.header_length :] for frame in self.written]


class FakeSocket:
    """Trains that were sent: (packets, source, destination)."""

    def __init__(self) -> None:
        self.esp_receiver: Any = None
        self.trains: list[list[bytes]] = []
        self.ends: list[tuple[Endpoint, Endpoint]] = []
        self.sizes: list[int] = []
        self.error: OSError | None = None
        self.readers: list[Any] = []
        self.is_lent = False

    def lend(self) -> list[Any]:
        self.is_lent = True
        return self.readers

    def take_back(self) -> None:
        self.is_lent = False

    def send_esp(
        self, buffer: Any, segment_size: int, source: Endpoint, destination: Endpoint
    ) -> None:
        if self.error is not None:
            raise self.error
        data = bytes(buffer)
        size = segment_size or len(data)
        self.trains.append([data[i : i + size] for i in range(0, len(data), size)])
        self.ends.append((source, destination))
        self.sizes.append(segment_size)

    @property
    def packets(self) -> list[bytes]:
        """All ESP packets."""
        return [packet for train in self.trains for packet in train]


class Recorder:
    """Notes every event that it is told, as (name, arguments)."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self.events.append((name, *arguments))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """Return the arguments of all events of one name."""
        return [event[1:] for event in self.events if event[0] == name]
