"""C structures as Python classes: a layout in, octets out, and back.

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
