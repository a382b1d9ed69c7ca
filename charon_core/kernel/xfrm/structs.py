"""The C structures of <linux/xfrm.h>, as the 64-bit ABI lays them out.

A structure is a class with ``fields`` in the manner of pyroute2's messages, (name, format) pairs,
where the format may also be another structure. It packs a plain dictionary (what is missing is
zero) and unpacks into one. Nothing here needs pyroute2 itself.

Addresses are 16 octets in network byte order, an IPv4 address in the first four. They are packed
from text; as a structure does not always hold the family of its addresses, they come out as
octets, and :func:`unpack_address` makes text of them.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS_SIZE: Final = 16
"""sizeof(xfrm_address_t)."""


class _Part(Protocol):
    """Packs and unpacks some of a structure's fields."""

    def pack(self, value: Mapping[str, Any]) -> bytes: ...

    def unpack_into(self, data: bytes | bytearray, offset: int, value: dict[str, Any]) -> None: ...


class _Run:
    """Neighbouring plain fields, packed by one Struct."""

    __slots__ = ("names", "packer")

    def __init__(self, names: tuple[str, ...], layout: str) -> None:
        self.names = names
        self.packer = struct.Struct("=" + layout)

    def pack(self, value: Mapping[str, Any]) -> bytes:
        get = value.get
        return self.packer.pack(*[get(name, 0) for name in self.names])

    def unpack_into(self, data: bytes | bytearray, offset: int, value: dict[str, Any]) -> None:
        value.update(zip(self.names, self.packer.unpack_from(data, offset), strict=True))


class _Field:
    """One field in network byte order, or of octets."""

    __slots__ = ("default", "name", "packer")

    def __init__(self, name: str, layout: str) -> None:
        self.name = name
        self.packer = struct.Struct(layout if layout[0] == ">" else "=" + layout)
        self.default: bytes | int = b"" if layout[-1] == "s" else 0

    def pack(self, value: Mapping[str, Any]) -> bytes:
        return self.packer.pack(value.get(self.name, self.default))

    def unpack_into(self, data: bytes | bytearray, offset: int, value: dict[str, Any]) -> None:
        (value[self.name],) = self.packer.unpack_from(data, offset)


class _Nested:
    """A structure inside the structure."""

    __slots__ = ("name", "type")

    def __init__(self, name: str, nested: type[Structure]) -> None:
        self.name = name
        self.type = nested

    def pack(self, value: Mapping[str, Any]) -> bytes:
        inner = value.get(self.name)
        return self.type.pack(inner) if inner else bytes(self.type.size)

    def unpack_into(self, data: bytes | bytearray, offset: int, value: dict[str, Any]) -> None:
        value[self.name] = self.type.unpack(data, offset)


class Structure:
    """Base of all structures; a subclass names its ``fields`` and is never instantiated."""

    fields: ClassVar[tuple[tuple[str, str | type[Structure]], ...]] = ()
    size: ClassVar[int] = 0
    """Octets, padding included: what sizeof() says in C."""
    _parts: ClassVar[tuple[tuple[int, _Part], ...]] = ()

    def __init_subclass__(cls) -> None:
        """Compile the layout once."""
        if "fields" not in cls.__dict__:
            return
        parts: list[tuple[int, _Part]] = []
        offset = 0
        names: list[str] = []
        layout = ""

        def finish_run() -> None:
            nonlocal offset, layout
            if layout:
                run = _Run(tuple(names), layout)
                parts.append((offset, run))
                offset += run.packer.size
                names.clear()
                layout = ""

        for name, form in cls.fields:
            if isinstance(form, str) and form[0] != ">" and form[-1] != "s":
                layout += form
                if form[-1] != "x":
                    names.append(name)
                continue
            finish_run()
            if isinstance(form, str):
                field = _Field(name, form)
                parts.append((offset, field))
                offset += field.packer.size
            else:
                parts.append((offset, _Nested(name, form)))
                offset += form.size
        finish_run()
        cls._parts = tuple(parts)
        cls.size = offset

    @classmethod
    def pack(cls, value: Mapping[str, Any]) -> bytes:
        """Encode ``value``.

        Raises:
            struct.error: a number does not fit into its field.
        """
        return b"".join([part.pack(value) for _, part in cls._parts])

    @classmethod
    def unpack(cls, data: bytes | bytearray, offset: int = 0) -> dict[str, Any]:
        """Decode ``size`` octets from ``offset``.

        Raises:
            struct.error: there are fewer.
        """
        value: dict[str, Any] = {}
        for start, part in cls._parts:
            part.unpack_into(data, offset + start, value)
        return value


def pack_address(host: str) -> bytes:
    """Return an address as xfrm_address_t; the empty string is the unspecified address."""
    if not host:
        return bytes(ADDRESS_SIZE)
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host)
    return socket.inet_pton(socket.AF_INET, host) + bytes(ADDRESS_SIZE - 4)


def unpack_address(octets: bytes, family: int) -> str:
    """Return an xfrm_address_t as text; empty for an unknown family (AF_UNSPEC)."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, octets[:4])
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, octets)
    return ""


class Address(Structure):
    """xfrm_address_t: packs text or octets; unpacks octets, as its family stands elsewhere."""

    size = ADDRESS_SIZE

    @classmethod
    def pack(cls, value: Any) -> bytes:
        """Encode text or 16 octets."""
        return pack_address(value) if isinstance(value, str) else bytes(value)

    @classmethod
    def unpack(cls, data: bytes | bytearray, offset: int = 0) -> Any:
        """Return the 16 octets.

        Raises:
            struct.error: there are fewer.
        """
        octets = bytes(data[offset : offset + ADDRESS_SIZE])
        if len(octets) < ADDRESS_SIZE:
            raise struct.error(f"an address takes {ADDRESS_SIZE} octets, got {len(octets)}")
        return octets


class Selector(Structure):
    """struct xfrm_selector."""

    fields = (
        ("daddr", Address),
        ("saddr", Address),
        ("dport", ">H"),
        ("dport_mask", ">H"),
        ("sport", ">H"),
        ("sport_mask", ">H"),
        ("family", "H"),
        ("prefixlen_d", "B"),
        ("prefixlen_s", "B"),
        ("proto", "B"),
        ("__pad", "3x"),
        ("ifindex", "i"),
        ("user", "I"),
    )


class Id(Structure):
    """struct xfrm_id."""

    fields = (("daddr", Address), ("spi", ">I"), ("proto", "B"), ("__pad", "3x"))


class LifetimeConfig(Structure):
    """struct xfrm_lifetime_cfg."""

    fields = (
        ("soft_byte_limit", "Q"),
        ("hard_byte_limit", "Q"),
        ("soft_packet_limit", "Q"),
        ("hard_packet_limit", "Q"),
        ("soft_add_expires_seconds", "Q"),
        ("hard_add_expires_seconds", "Q"),
        ("soft_use_expires_seconds", "Q"),
        ("hard_use_expires_seconds", "Q"),
    )


class LifetimeCurrent(Structure):
    """struct xfrm_lifetime_cur; times are seconds since 1970."""

    fields = (("bytes", "Q"), ("packets", "Q"), ("add_time", "Q"), ("use_time", "Q"))


class Stats(Structure):
    """struct xfrm_stats."""

    fields = (("replay_window", "I"), ("replay", "I"), ("integrity_failed", "I"))


class SaInfo(Structure):
    """struct xfrm_usersa_info."""

    fields = (
        ("sel", Selector),
        ("id", Id),
        ("saddr", Address),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("stats", Stats),
        ("seq", "I"),
        ("reqid", "I"),
        ("family", "H"),
        ("mode", "B"),
        ("replay_window", "B"),
        ("flags", "B"),
        ("__pad", "7x"),
    )


class SaIdentity(Structure):
    """struct xfrm_usersa_id."""

    fields = (
        ("daddr", Address),
        ("spi", ">I"),
        ("family", "H"),
        ("proto", "B"),
        ("__pad", "x"),
    )


class PolicyInfo(Structure):
    """struct xfrm_userpolicy_info."""

    fields = (
        ("sel", Selector),
        ("lft", LifetimeConfig),
        ("curlft", LifetimeCurrent),
        ("priority", "I"),
        ("index", "I"),
        ("dir", "B"),
        ("action", "B"),
        ("flags", "B"),
        ("share", "B"),
        ("__pad", "4x"),
    )


class SpiInfo(Structure):
    """struct xfrm_userspi_info."""

    fields = (("info", SaInfo), ("min", "I"), ("max", "I"))


class PolicyId(Structure):
    """struct xfrm_userpolicy_id."""

    fields = (("sel", Selector), ("index", "I"), ("dir", "B"), ("__pad", "3x"))


class Acquire(Structure):
    """struct xfrm_user_acquire."""

    fields = (
        ("id", Id),
        ("saddr", Address),
        ("sel", Selector),
        ("policy", PolicyInfo),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
        ("seq", "I"),
    )


class Expire(Structure):
    """struct xfrm_user_expire."""

    fields = (("state", SaInfo), ("hard", "B"), ("__pad", "7x"))


class PolicyExpire(Structure):
    """struct xfrm_user_polexpire."""

    fields = (("pol", PolicyInfo), ("hard", "B"), ("__pad", "7x"))


class NatMapping(Structure):
    """struct xfrm_user_mapping."""

    fields = (
        ("id", SaIdentity),
        ("reqid", "I"),
        ("old_saddr", Address),
        ("new_saddr", Address),
        ("old_sport", ">H"),
        ("new_sport", ">H"),
    )


class AsyncEvent(Structure):
    """struct xfrm_aevent_id."""

    fields = (("sa_id", SaIdentity), ("saddr", Address), ("flags", "I"), ("reqid", "I"))


class Flush(Structure):
    """struct xfrm_usersa_flush."""

    fields = (("proto", "B"),)


class Report(Structure):
    """struct xfrm_user_report."""

    fields = (("proto", "B"), ("__pad", "3x"), ("sel", Selector))


class Template(Structure):
    """struct xfrm_user_tmpl."""

    fields = (
        ("id", Id),
        ("family", "H"),
        ("__pad0", "2x"),
        ("saddr", Address),
        ("reqid", "I"),
        ("mode", "B"),
        ("share", "B"),
        ("optional", "B"),
        ("__pad1", "x"),
        ("aalgos", "I"),
        ("ealgos", "I"),
        ("calgos", "I"),
    )


class EncapTemplate(Structure):
    """struct xfrm_encap_tmpl."""

    fields = (
        ("encap_type", "H"),
        ("encap_sport", ">H"),
        ("encap_dport", ">H"),
        ("__pad", "2x"),
        ("encap_oa", Address),
    )


class ReplayState(Structure):
    """struct xfrm_replay_state."""

    fields = (("oseq", "I"), ("seq", "I"), ("bitmap", "I"))


class ReplayStateEsn(Structure):
    """struct xfrm_replay_state_esn, without the bitmap that follows it."""

    fields = (
        ("bmp_len", "I"),
        ("oseq", "I"),
        ("seq", "I"),
        ("oseq_hi", "I"),
        ("seq_hi", "I"),
        ("replay_window", "I"),
    )


class Mark(Structure):
    """struct xfrm_mark."""

    fields = (("v", "I"), ("m", "I"))


class Algorithm(Structure):
    """struct xfrm_algo, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"))


class AuthAlgorithm(Structure):
    """struct xfrm_algo_auth, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_trunc_len", "I"))


class AeadAlgorithm(Structure):
    """struct xfrm_algo_aead, without the key; lengths in bits."""

    fields = (("alg_name", "64s"), ("alg_key_len", "I"), ("alg_icv_len", "I"))


class PolicyType(Structure):
    """struct xfrm_userpolicy_type."""

    fields = (
        ("type", "B"),
        ("__pad0", "x"),
        ("reserved1", "H"),
        ("reserved2", "B"),
        ("__pad1", "x"),
    )


class AddressFilter(Structure):
    """struct xfrm_address_filter."""

    fields = (
        ("saddr", Address),
        ("daddr", Address),
        ("family", "H"),
        ("splen", "B"),
        ("dplen", "B"),
    )
