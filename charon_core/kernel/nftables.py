"""Messages of nf_tables (linux/netfilter/nf_tables.h): what charon says, and reads, of them.

Only what charon needs, as bytes for `NetlinkSocket.transact`: nothing here opens a socket. All
numbers of attributes are big-endian; what is compared with a register is as the packet or the
kernel has it.
"""

from __future__ import annotations

import enum
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from charon_core.kernel.netlink import Frame

EVENT_GROUP: Final = 7
"""NFNLGRP_NFTABLES: every change of a ruleset in this network namespace."""

_SUBSYSTEM: Final = 10
_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
_HEADER: Final = struct.Struct(">BBH")
_NFPROTO_INET: Final = 1
_NESTED: Final = 0x8000
_U32: Final = struct.Struct(">I")
_NATIVE: Final = struct.Struct("=I")


class Kind(enum.IntEnum):
    """NFT_MSG_*: what a message is about."""

    NEWTABLE = 0
    DELTABLE = 2
    NEWCHAIN = 3
    NEWRULE = 6
    DELRULE = 8
    NEWSET = 9
    NEWSETELEM = 12
    DELSETELEM = 14
    NEWOBJ = 18
    GETOBJ = 19

    @property
    def type(self) -> int:
        """The netlink message type."""
        return _SUBSYSTEM << 8 | self


class Hook(enum.IntEnum):
    """NF_INET_*: where a base chain sees packets."""

    PREROUTING = 0
    POSTROUTING = 4


class Verdict(enum.IntEnum):
    """What becomes of a packet."""

    DROP = 0
    ACCEPT = 1
    JUMP = -3
    RETURN = -5


class MetaKey(enum.IntEnum):
    """NFT_META_*."""

    MARK = 3
    IIF = 4
    OIF = 5
    IIFTYPE = 8
    OIFTYPE = 9
    NFPROTO = 15
    L4PROTO = 16


class Base(enum.IntEnum):
    """NFT_PAYLOAD_*: what an offset counts from."""

    NETWORK = 1
    TRANSPORT = 2


_REGISTER: Final = 8
"""NFT_REG32_00; the ones after it have the further words of what is loaded."""

_SET_INTERVAL: Final = 0x04
_SET_CONCAT: Final = 0x80
_FIB_SADDR: Final = 0x01
_FIB_DADDR: Final = 0x02
_FIB_IIF: Final = 0x08
_FIB_RESULT_OIF: Final = 1
_FIB_RESULT_ADDRTYPE: Final = 3
_RTN_LOCAL: Final = 2
_EQ: Final = 0
_NEQ: Final = 1
_OBJECT_COUNTER: Final = 1


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | _NESTED, value)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value & 0xFFFFFFFF))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def native(number: int) -> bytes:
    """Return a 32-bit number as the kernel has it in a register: marks, indexes of interfaces."""
    return _NATIVE.pack(number)


# -- expressions ----------------------------------------------------------------------------------


def _expression(name: str, data: bytes) -> bytes:
    return _nested(1, _text(1, name) + _nested(2, data))


def meta(key: MetaKey, register: int = _REGISTER) -> bytes:
    """Load something that is known about a packet."""
    return _expression("meta", _number(1, register) + _number(2, key))


def payload(base: Base, offset: int, length: int, register: int = _REGISTER) -> bytes:
    """Load octets of a packet; one that does not have them does not match."""
    where = _number(1, register) + _number(2, base) + _number(3, offset) + _number(4, length)
    return _expression("payload", where)


def ipv6_fragment_offset() -> bytes:
    """Load the word of an IPv6 fragment header with the offset; a packet without does not match."""
    where = _number(1, _REGISTER) + attribute(2, b"\x2c") + _number(3, 2) + _number(4, 2)
    return _expression("exthdr", where)


def mask(bits: bytes) -> bytes:
    """Keep some bits of what is loaded."""
    data = _number(1, _REGISTER) + _number(2, _REGISTER) + _number(3, len(bits))
    data += _nested(4, attribute(1, bits)) + _nested(5, attribute(1, bytes(len(bits))))
    return _expression("bitwise", data)


def equals(value: bytes, *, negate: bool = False) -> bytes:
    """Go on if what is loaded is ``value``, or is not."""
    data = _number(1, _REGISTER) + _number(2, _NEQ if negate else _EQ)
    return _expression("cmp", data + _nested(3, attribute(1, value)))


def within(first: bytes, last: bytes) -> bytes:
    """Go on if what is loaded is in a range, both ends included."""
    data = _number(1, _REGISTER) + _number(2, _EQ)
    data += _nested(3, attribute(1, first)) + _nested(4, attribute(1, last))
    return _expression("range", data)


def is_in(set_name: str) -> bytes:
    """Go on if what is loaded is in a set."""
    return _expression("lookup", _text(1, set_name) + _number(2, _REGISTER))


def source_is_behind_its_interface() -> bytes:
    """Go on if the route to the source leads out where the packet came in (RFC 3704, strict)."""
    data = _number(1, _REGISTER) + _number(2, _FIB_RESULT_OIF) + _number(3, _FIB_SADDR | _FIB_IIF)
    return _expression("fib", data) + equals(native(0), negate=True)


def is_for_this_host() -> bytes:
    """Go on if the destination is an address of this host."""
    data = _number(1, _REGISTER) + _number(2, _FIB_RESULT_ADDRTYPE) + _number(3, _FIB_DADDR)
    return _expression("fib", data) + equals(native(_RTN_LOCAL))


def count(counter: str) -> bytes:
    """Count the packet with a counter of the table."""
    return _expression("objref", _number(1, _OBJECT_COUNTER) + _text(2, counter))


def verdict(code: Verdict, chain: str = "") -> bytes:
    """End a rule; a jump needs a chain."""
    value = _number(1, code) + (_text(2, chain) if chain else b"")
    return _expression("immediate", _number(1, 0) + _nested(2, _nested(2, value)))


# -- messages -------------------------------------------------------------------------------------


def batch(messages: Iterable[Message]) -> list[Message]:
    """Make one transaction of one or more messages: all of them have effect at once, or none."""
    edge = _HEADER.pack(socket.AF_UNSPEC, 0, _SUBSYSTEM)
    *before, last = messages
    # One acknowledgement is enough, and does not fill the socket's buffer.
    acknowledged = last._replace(flags=last.flags | NLM_F_ACK)
    return [Message(_BATCH_BEGIN, edge), *before, acknowledged, Message(_BATCH_END, edge)]


class Element(NamedTuple):
    """One element of a set of concatenated ranges."""

    first: tuple[bytes, ...]
    """The lower end in each field."""
    last: tuple[bytes, ...]
    """The upper end."""


class Table:
    """Makes the messages about one `inet` table."""

    def __init__(self, name: str) -> None:
        """Name the table."""
        self.name = name
        self._name = _text(1, name)

    def _message(self, kind: Kind, body: bytes, flags: int = 0) -> Message:
        header = _HEADER.pack(_NFPROTO_INET, 0, 0)
        return Message(kind.type, header + self._name + body, flags)

    def create(self) -> Message:
        """Create the table, if it does not exist."""
        return self._message(Kind.NEWTABLE, _number(2, 0), NLM_F_CREATE)

    def delete(self) -> Message:
        """Remove the table with all that is in it."""
        return self._message(Kind.DELTABLE, b"")

    def add_chain(self, name: str) -> Message:
        """Create a chain to jump to."""
        return self._message(Kind.NEWCHAIN, _text(3, name), NLM_F_CREATE)

    def add_base_chain(self, name: str, hook: Hook, priority: int) -> Message:
        """Create a chain that sees all packets at a hook, and accepts what it says nothing of."""
        body = _text(3, name) + _nested(4, _number(1, hook) + _number(2, priority))
        body += _number(5, Verdict.ACCEPT) + _text(7, "filter")
        return self._message(Kind.NEWCHAIN, body, NLM_F_CREATE)

    def add_rule(
        self, chain: str, expressions: Sequence[bytes], *, first: bool = False, echo: bool = False
    ) -> Message:
        """Add a rule at the end of a chain, or as its first.

        Args:
            chain: The chain, which has to exist.
            expressions: What the rule is made of.
            first: Whether it comes before the rules that are there.
            echo: Whether the kernel tells its handle (`rule_handle`).
        """
        flags = NLM_F_CREATE | (0 if first else NLM_F_APPEND) | (NLM_F_ECHO if echo else 0)
        body = _text(2, chain) + _nested(4, b"".join(expressions))
        return self._message(Kind.NEWRULE, body, flags)

    def delete_rule(self, chain: str, handle: int) -> Message:
        """Remove one rule."""
        body = _text(2, chain) + attribute(3, struct.pack(">Q", handle))
        return self._message(Kind.DELRULE, body)

    def flush_chain(self, chain: str) -> Message:
        """Remove all rules of a chain."""
        return self._message(Kind.DELRULE, _text(2, chain))

    def add_set(self, name: str, number: int, key_type: int, length: int) -> Message:
        """Create a set of plain values of so many octets.

        Args:
            name: Its name in the table.
            number: Distinguishes it from the others of this batch.
            key_type: How ``nft`` shows the values (its datatypes).
            length: Octets of a value.
        """
        body = _text(2, name) + _number(3, 0) + _number(4, key_type) + _number(5, length)
        return self._message(Kind.NEWSET, body + _number(10, number), NLM_F_CREATE)

    def add_range_set(
        self, name: str, number: int, key_type: int, lengths: Sequence[int]
    ) -> Message:
        """Create a set whose elements have a range in each of some fields; see `add_set`.

        Args:
            name: Its name in the table.
            number: Distinguishes it from the others of this batch.
            key_type: How ``nft`` shows the values.
            lengths: Octets of each field, multiples of 4.
        """
        body = _text(2, name) + _number(3, _SET_INTERVAL | _SET_CONCAT)
        body += _number(4, key_type) + _number(5, sum(lengths))
        fields = b"".join(_nested(1, _number(1, length)) for length in lengths)
        body += _nested(9, _nested(2, fields)) + _number(10, number)
        return self._message(Kind.NEWSET, body, NLM_F_CREATE)

    def add_value(self, set_name: str, value: bytes) -> Message:
        """Add a plain value to a set, if it is not there."""
        element = _nested(1, _nested(1, attribute(1, value)))
        body = _text(2, set_name) + _nested(3, element)
        return self._message(Kind.NEWSETELEM, body, NLM_F_CREATE)

    def add_element(self, set_name: str, element: Element) -> Message:
        """Add ranges to a set; they must not overlap with what is in it."""
        flags = NLM_F_CREATE | NLM_F_EXCL
        return self._message(Kind.NEWSETELEM, self._element(set_name, element), flags)

    def delete_element(self, set_name: str, element: Element) -> Message:
        """Remove ranges from a set."""
        return self._message(Kind.DELSETELEM, self._element(set_name, element))

    def _element(self, set_name: str, element: Element) -> bytes:
        first, last = (attribute(1, b"".join(ends)) for ends in element)
        keys = _nested(1, first) + _nested(10, last)
        return _text(2, set_name) + _nested(3, _nested(1, keys))

    def add_counter(self, name: str) -> Message:
        """Create a counter."""
        zero = attribute(1, bytes(8)) + attribute(2, bytes(8))
        body = _text(2, name) + _number(3, _OBJECT_COUNTER) + _nested(4, zero)
        return self._message(Kind.NEWOBJ, body, NLM_F_CREATE)

    def get_counter(self, name: str) -> Message:
        """Ask for a counter; it is not to be in a batch."""
        return self._message(Kind.GETOBJ, _text(2, name) + _number(3, _OBJECT_COUNTER))


# -- what the kernel says -------------------------------------------------------------------------


def rule_handle(frame: Frame) -> int | None:
    """Return the handle of a rule that the kernel echoes; None for another message."""
    if frame.type != Kind.NEWRULE.type:
        return None
    value = dict(attributes(frame.body, _HEADER.size)).get(3, b"")
    return int.from_bytes(value, "big") if len(value) == 8 else None


def counted(frame: Frame) -> int | None:
    """Return the packets of a counter; None if that is not what came."""
    if frame.type != Kind.NEWOBJ.type:
        return None
    data = dict(attributes(frame.body, _HEADER.size)).get(4, b"")
    value = dict(attributes(data)).get(2, b"")
    return int.from_bytes(value, "big") if len(value) == 8 else None


def table_of(frame: Frame) -> str | None:
    """Return the name of the table that an event is about."""
    if frame.type >> 8 != _SUBSYSTEM or len(frame.body) < _HEADER.size:
        return None
    if frame.body[0] != _NFPROTO_INET:
        return None
    name = dict(attributes(frame.body, _HEADER.size)).get(1, b"")
    return name.rstrip(b"\0").decode(errors="replace")


NATIVE_U16_LOOPBACK: Final = (772).to_bytes(2, sys.byteorder)
"""ARPHRD_LOOPBACK, as `MetaKey.IIFTYPE` has it."""
