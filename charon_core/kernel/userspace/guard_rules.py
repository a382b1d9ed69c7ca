"""The rules of the guard: what its table looks like, and how a policy becomes rules of it."""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel.interface import PolicyAction, PolicyDirection
from charon_core.kernel.nftables import (
    NATIVE_U16_LOOPBACK,
    Base,
    Element,
    Hook,
    MetaKey,
    Table,
    Verdict,
    count,
    equals,
    ipv6_fragment_offset,
    is_for_this_host,
    is_in,
    mask,
    meta,
    native,
    payload,
    source_is_behind_its_interface,
    verdict,
    within,
)
from charon_core.kernel.userspace.flow import (
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_UDP,
    PROTOCOLS_WITH_PORTS,
)
from charon_core.kernel.userspace.selector import ADDRESS_BITS, Selector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.netlink import Message

PRIORITY: Final = -300
"""NF_IP_PRI_RAW, at both hooks: NAT has not yet changed the addresses that policies are about."""

IKE_PORTS: Final = "ike-ports"

_IPPROTO_ESP: Final = 50
_ANY_PORT: Final = (0, 0xFFFF)
_OPAQUE: Final = (0xFFFF, 0)
_U16: Final = struct.Struct(">H")

_NFPROTO: Final = {4: b"\x02", 6: b"\x0a"}
_ADDRESS_TYPE: Final = {4: 7, 6: 8}
_SERVICE_TYPE: Final = 13
_TYPE_BITS: Final = 6
_SOURCE_OFFSET: Final = {4: 12, 6: 8}
_NEIGHBOUR_DISCOVERY: Final = (b"\x85", b"\x89")
_LINK_SCOPE: Final = (
    (4, 16, b"\xe0\0\0\0", b"\xe0\0\0\xff"),
    (4, 16, b"\xff\xff\xff\xff", b"\xff\xff\xff\xff"),
    (6, 24, b"\xff\x02", b"\xff\x02"),
)


class Side(enum.Enum):
    """Which packets are meant; the value names chains, sets and counters."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"

    @property
    def counter(self) -> str:
        """The counter of dropped packets."""
        return f"{self.value}-dropped"

    @property
    def exceptions(self) -> str:
        """The chain of policies that let pass, and of stronger ones, by strength."""
        return f"{self.value}-exceptions"

    @property
    def rules(self) -> str:
        """The chain of policies that a set cannot hold."""
        return f"{self.value}-rules"

    @property
    def wide(self) -> str:
        """The chain of policies whose other side includes our own."""
        return f"{self.value}-wide"

    def pairs(self, family: int) -> str:
        """Return the set of pairs of source and destination that are covered."""
        return f"{self.value}{family}"


class Cover(NamedTuple):
    """What one policy means for packets that are not, or not to be, protected."""

    side: Side
    source: Selector
    destination: Selector
    action: PolicyAction
    strength: int

    @classmethod
    def of(cls, spec: PolicySpec) -> Cover:
        """Take what counts of a policy: IN and FORWARD are the same here."""
        outward = spec.direction is PolicyDirection.OUT
        return cls(
            Side.OUTBOUND if outward else Side.INBOUND,
            Selector.of(spec.source),
            Selector.of(spec.destination),
            spec.action,
            spec.strength,
        )

    @property
    def passes(self) -> bool:
        """Whether it lets packets go, unprotected."""
        return self.action is PolicyAction.PASS

    @property
    def own(self) -> Selector:
        """Our side."""
        return self.source if self.side is Side.OUTBOUND else self.destination

    @property
    def other(self) -> Selector:
        """The peer's side."""
        return self.destination if self.side is Side.OUTBOUND else self.source

    @property
    def is_wide(self) -> bool:
        """Whether the peer's side has all of ours, and more, in it.

        Then routes lead our own side past the device (`Routes`), unless the policy is to
        drop it.
        """
        if self.action is not PolicyAction.PROTECT:
            return False
        own, other = self.own, self.other
        includes = other.start <= own.start and own.end <= other.end
        return includes and (own.start, own.end) != (other.start, other.end)

    @property
    def is_plain(self) -> bool:
        """Whether addresses alone tell what it covers."""
        return all(
            each.protocol == 0 and (each.start_port, each.end_port) == _ANY_PORT
            for each in (self.source, self.destination)
        )

    def element(self) -> Element:
        """Return the ranges of addresses as an element of `Side.pairs`."""
        first = (
            _packed(self.source, self.source.start),
            _packed(self.source, self.destination.start),
        )
        last = _packed(self.source, self.source.end), _packed(self.source, self.destination.end)
        return Element(first, last)

    def matches(self) -> Iterator[list[bytes]]:
        """Yield expressions that packets of the policy meet, one list for each rule."""
        addresses = [
            *_is_ip(self.source.family),
            *_address(self.source, _SOURCE_OFFSET[self.source.family]),
            *_address(self.destination, _destination_offset(self.source.family)),
        ]
        for rest in _upper_layers(self.source, self.destination):
            yield addresses + rest

    def stays_here(self) -> list[bytes]:
        """Return expressions that packets from our side to our side meet, for a wide policy.

        An inbound one has to come from where our side is: anybody can write its address.
        """
        family = self.own.family
        found = [
            *_is_ip(family),
            *_address(self.own, _SOURCE_OFFSET[family]),
            *_address(self.own, _destination_offset(family)),
        ]
        if self.side is Side.INBOUND:
            found.append(source_is_behind_its_interface())
        return [*found, verdict(Verdict.ACCEPT)]

    def rules(self) -> Iterator[list[bytes]]:
        """Yield whole rules that do what the policy wants."""
        end = [verdict(Verdict.ACCEPT)] if self.passes else drop(self.side)
        for expressions in self.matches():
            yield expressions + end


def drop(side: Side) -> list[bytes]:
    """Count a packet and drop it."""
    return [count(side.counter), verdict(Verdict.DROP)]


def skeleton(table: Table, device: int, mark: int) -> list[Message]:
    """Return the messages that make the table without any policy, in the place of an old one.

    Args:
        table: The table.
        device: Index of the TUN device.
        mark: The mark of packets that go around it.
    """
    messages = [table.create(), table.delete(), table.create()]
    messages.append(table.add_set(IKE_PORTS, 1, _SERVICE_TYPE, 2))
    number = 1
    for side in Side:
        messages.append(table.add_counter(side.counter))
        for family, bits in ADDRESS_BITS.items():
            number += 1
            key_type = _ADDRESS_TYPE[family] << _TYPE_BITS | _ADDRESS_TYPE[family]
            lengths = (bits // 8, bits // 8)
            messages.append(table.add_range_set(side.pairs(family), number, key_type, lengths))
        messages += map(table.add_chain, (side.exceptions, side.rules, side.wide))
    for side, hook, always in (
        (Side.INBOUND, Hook.PREROUTING, _always_in(device)),
        (Side.OUTBOUND, Hook.POSTROUTING, _always_out(device, mark)),
    ):
        messages.append(table.add_base_chain(side.value, hook, PRIORITY))
        rules = [[*each, verdict(Verdict.ACCEPT)] for each in always]
        rules.append([verdict(Verdict.JUMP, side.exceptions)])
        rules += [[*_pair(family), is_in(side.pairs(family)), *drop(side)] for family in (4, 6)]
        rules += [[verdict(Verdict.JUMP, chain)] for chain in (side.rules, side.wide)]
        messages += [table.add_rule(side.value, rule) for rule in rules]
    return messages


def add_port(table: Table, port: int) -> Message:
    """Return the message that lets IKE and ESP in UDP to a port of ours in."""
    return table.add_value(IKE_PORTS, _U16.pack(port))


def _always_in(device: int) -> Iterator[list[bytes]]:
    yield [meta(MetaKey.IIF), equals(native(device))]
    yield [meta(MetaKey.IIFTYPE), equals(NATIVE_U16_LOOPBACK)]
    ports = [payload(Base.TRANSPORT, 2, 2), is_in(IKE_PORTS)]
    yield [meta(MetaKey.L4PROTO), equals(bytes([IPPROTO_UDP])), *ports, is_for_this_host()]
    yield [meta(MetaKey.L4PROTO), equals(bytes([_IPPROTO_ESP])), is_for_this_host()]
    yield _neighbour_discovery()


def _always_out(device: int, mark: int) -> Iterator[list[bytes]]:
    yield [meta(MetaKey.OIF), equals(native(device))]
    yield [meta(MetaKey.OIFTYPE), equals(NATIVE_U16_LOOPBACK)]
    yield [meta(MetaKey.MARK), equals(native(mark))]
    yield _neighbour_discovery()
    # What no router passes on: DHCP, routing protocols, multicast DNS of our own link.
    for family, offset, first, last in _LINK_SCOPE:
        yield [*_is_ip(family), payload(Base.NETWORK, offset, len(first)), within(first, last)]


def _neighbour_discovery() -> list[bytes]:
    """Of this link only, as its hop limit shows (RFC 4861): without it there is no IPv6."""
    return [
        *_is_ip(6),
        *(meta(MetaKey.L4PROTO), equals(bytes([IPPROTO_ICMPV6]))),
        *(payload(Base.TRANSPORT, 0, 1), within(*_NEIGHBOUR_DISCOVERY)),
        *(payload(Base.NETWORK, 7, 1), equals(b"\xff")),
    ]


def _is_ip(family: int) -> list[bytes]:
    return [meta(MetaKey.NFPROTO), equals(_NFPROTO[family])]


def _pair(family: int) -> list[bytes]:
    """Load source and destination as a set of pairs has them: they follow each other."""
    length = ADDRESS_BITS[family] // 8
    return [*_is_ip(family), payload(Base.NETWORK, _SOURCE_OFFSET[family], 2 * length)]


def _destination_offset(family: int) -> int:
    return _SOURCE_OFFSET[family] + ADDRESS_BITS[family] // 8


def _packed(selector: Selector, address: int) -> bytes:
    return address.to_bytes(ADDRESS_BITS[selector.family] // 8, "big")


def _address(selector: Selector, offset: int) -> list[bytes]:
    bits = ADDRESS_BITS[selector.family]
    if selector.end - selector.start == (1 << bits) - 1:
        return []
    ends = _packed(selector, selector.start), _packed(selector, selector.end)
    return [payload(Base.NETWORK, offset, bits // 8), within(*ends)]


def _upper_layers(source: Selector, destination: Selector) -> Iterator[list[bytes]]:
    """Yield what protocol and ports have to be, as `Selector.matches` does it."""
    if source.protocol and destination.protocol and source.protocol != destination.protocol:
        return
    protocol = source.protocol or destination.protocol
    ranges = (source.start_port, source.end_port), (destination.start_port, destination.end_port)
    is_protocol = _protocol(protocol) if protocol else []
    if ranges == (_ANY_PORT, _ANY_PORT):
        yield is_protocol
        return
    if all(each in {_ANY_PORT, _OPAQUE} for each in ranges):
        # What does not show its ports: later fragments, and whole protocols without any.
        if protocol and protocol not in PROTOCOLS_WITH_PORTS | {IPPROTO_ICMP, IPPROTO_ICMPV6}:
            yield is_protocol
        else:
            yield is_protocol + _later_fragment(source.family)
        return
    if _OPAQUE in ranges:
        return
    icmp = IPPROTO_ICMP if source.family == 4 else IPPROTO_ICMPV6
    for each in sorted({protocol} if protocol else PROTOCOLS_WITH_PORTS | {icmp}):
        if each in PROTOCOLS_WITH_PORTS:
            yield _protocol(each) + _number(0, ranges[0]) + _number(2, ranges[1])
        elif each == icmp:  # type and code take the place of both
            yield _protocol(each) + _number(0, ranges[0]) + _number(0, ranges[1])


def _protocol(number: int) -> list[bytes]:
    return [meta(MetaKey.L4PROTO), equals(bytes([number]))]


def _number(offset: int, limits: tuple[int, int]) -> list[bytes]:
    if limits == _ANY_PORT:
        return []
    return [payload(Base.TRANSPORT, offset, 2), within(*map(_U16.pack, limits))]


def _later_fragment(family: int) -> list[bytes]:
    if family == 4:
        return [payload(Base.NETWORK, 6, 2), mask(b"\x1f\xff"), equals(b"\0\0", negate=True)]
    return [ipv6_fragment_offset(), mask(b"\xff\xf8"), equals(b"\0\0", negate=True)]
