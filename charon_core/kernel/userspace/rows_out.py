"""Cutting and sealing a whole super-packet at a time: one numpy call for all segments.

Loaded when it is first needed, since numpy takes a tenth of a second and 20 MB.

The segments are the rows of a matrix, the ESP packets those of another. What differs from row to
row (identification, sequence numbers, checksums) is written column by column, and the encryption
runs through the rows without a line of Python in between. Matrices and the views of their rows and
columns are kept for each shape, since making a view costs as much as using it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from charon_core.kernel.userspace.checksum import checksum
from charon_core.kernel.userspace.flow import IPPROTO_TCP, IPV6_HEADER
from charon_core.kernel.userspace.segment import (
    TCP_CHECKSUM,
    TCP_FIRST_FLAGS,
    TCP_FLAGS,
    TCP_LAST_FLAGS,
    UDP_CHECKSUM,
)
from charon_core.kernel.userspace.transforms import ESP_HEADER, AeadTransform
from charon_core.kernel.userspace.transport import MAX_PAYLOAD, MAX_SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.kernel.userspace.association import OutboundSa
    from charon_core.kernel.userspace.segment import SuperPacket
    from charon_core.kernel.userspace.types import Buffer

_SHAPES_LIMIT: Final = 8
"""Shapes that are kept, 200 KB each; a stream has one, a different MTU or TCP option another."""

_IV: Final = 8
_NONCE_LIMIT: Final = 12
_MODULUS: Final = 0xFFFF
_DONT_FRAGMENT: Final = 0x40


class _Columns:
    """Columns of the plain rows for one place of the transport header, all rows of a shape."""

    __slots__ = ("checksum", "header_checksum", "identification", "last_octet", "number", "words")

    def __init__(self, plain: Any, transport: int, length: int, protocol: int) -> None:
        even = transport + (length - transport & ~1)
        place = transport + (TCP_CHECKSUM if protocol == IPPROTO_TCP else UDP_CHECKSUM)
        self.words = plain[:, transport:even].view("<u2")
        self.last_octet = plain[:, length - 1] if even != length else None
        self.checksum = plain[:, place : place + 2].view("<u2")[:, 0]
        self.number = plain[:, transport + 4 : transport + 8].view(">u4")[:, 0]
        self.identification = plain[:, 4:6].view(">u2")[:, 0]
        self.header_checksum = plain[:, 10:12].view(">u2")[:, 0]


class _Shape:
    """Matrices for segments of ``length`` octets with this trailer, and ``overhead`` around each.

    Attributes:
        limit: ESP packets that fit into one train.
        stride: Octets of one ESP packet.
        plain: Segments with their trailers, one a row; twice as many as a train takes.
        plain_rows: Views of the rows of the first train.
        sealed: ESP packets, side by side.
        sealed_view: The same as one view.
        headers: SPI and sequence number, by row.
        bodies: Where ciphertext and ICV go, by row.
        numbers: Column of sequence numbers.
        ivs: Column of IVs.
        spis: Columns of the SPI; `owner` is the one that is in there.
        columns: `_Columns` by place and protocol of the transport header.
    """

    __slots__ = (
        "bodies",
        "columns",
        "headers",
        "ivs",
        "length",
        "limit",
        "numbers",
        "owner",
        "plain",
        "plain_rows",
        "sealed_view",
        "spis",
        "stride",
    )

    def __init__(self, length: int, trailer: bytes, overhead: int) -> None:
        self.length = length
        width = length + len(trailer)
        self.stride = stride = width + overhead
        self.limit = rows = min(MAX_SEGMENTS, MAX_PAYLOAD // stride)
        # Room for what is left of one train and for a super-packet after it.
        self.plain = np.zeros((2 * rows, width), np.uint8)
        self.plain[:, length:] = np.frombuffer(trailer, np.uint8)
        self.plain_rows = [row.data for row in self.plain[:rows]]
        flat = np.zeros(rows * stride, np.uint8)
        sealed = flat.reshape(rows, stride)
        self.sealed_view = flat.data
        body = ESP_HEADER + _IV
        self.headers = [row[:ESP_HEADER].data for row in sealed]
        self.bodies = [row[body:].data for row in sealed]
        self.spis = sealed[:, :4]
        self.numbers = sealed[:, 4:8].view(">u4")[:, 0]
        self.ivs = sealed[:, ESP_HEADER:body].view(">u8")[:, 0]
        self.owner = b""
        self.columns: dict[tuple[int, int], _Columns] = {}

    def columns_of(self, packet: SuperPacket) -> _Columns:
        """Return the columns that a packet needs."""
        key = (packet.transport, packet.protocol)
        columns = self.columns.get(key)
        if columns is None:
            columns = _Columns(self.plain, packet.transport, self.length, packet.protocol)
            self.columns[key] = columns
        return columns


class RowSealer:
    """Turns super-packets into trains of ESP packets; for one thread at a time.

    A train is filled across super-packets, as long as they are of one SA and one shape: the fuller
    the trains, the less work for the peer.
    """

    def __init__(self, send: Callable[[OutboundSa, Buffer, int, int], None]) -> None:
        """Start empty.

        Args:
            send: Called with the SA, a train, its segment size and its number of packets. The
                train is only valid during the call.
        """
        self._send = send
        self._shapes: dict[tuple[int, bytes, int], _Shape] = {}
        self._count = np.arange(2 * MAX_SEGMENTS, dtype=np.uint64)
        self._steps: dict[int, Any] = {}
        self._nonces = np.zeros((MAX_SEGMENTS, _NONCE_LIMIT), np.uint8)
        self._nonce_rows: dict[int, tuple[list[memoryview], Any]] = {}
        self._salted: AeadTransform | None = None
        associated = np.zeros((MAX_SEGMENTS, ESP_HEADER + 4), np.uint8)
        self._associated_rows = [row.data for row in associated]
        self._associated_spis = associated[:, :4]
        self._associated_numbers = associated[:, 4:].view(">u8")[:, 0]
        # The train that is being filled: plain rows of this shape, and the number of the first.
        self._sa: OutboundSa | None = None
        self._filling: _Shape | None = None
        self._rows = 0
        self._first = 0

    def add(self, sa: OutboundSa, packet: SuperPacket, first: int) -> None:
        """Cut a packet, and send the trains that are full.

        Args:
            sa: The SA that carries it.
            packet: What is to be cut; it is not needed any more afterwards.
            first: The sequence number of the first segment; those after it were taken as well.
        """
        length = len(packet.header) + packet.size
        shape = self._shape(length, sa.trailer(length, packet.version), sa.transform.overhead)
        if shape is not self._filling or sa is not self._sa or first != self._first + self._rows:
            self.flush()
            self._filling, self._sa, self._first = shape, sa, first
        full, rest = divmod(len(packet.payload), packet.size)
        start = 0
        while start < full:
            rows = min(2 * shape.limit - self._rows, full - start)
            self._cut(shape, packet, start, rows, self._rows)
            self._rows += rows
            start += rows
            while self._rows >= shape.limit:
                self._send_train(sa, shape)
        if rest:
            # A shorter packet has to be the last of its train.
            self.flush(sa.seal(first + full, packet.segment(full)))

    def _send_train(self, sa: OutboundSa, shape: _Shape) -> None:
        """Seal and send a full train; what is left moves up."""
        limit = shape.limit
        end = self._encrypt(sa, shape, self._first, limit)
        left = self._rows - limit
        shape.plain[:left] = shape.plain[limit : self._rows]
        self._first += limit
        self._rows = left
        self._send(sa, shape.sealed_view[:end], shape.stride, limit)

    def flush(self, last: bytes = b"") -> None:
        """Seal and send what there is, and after it a packet that is sealed already."""
        sa, shape, count = self._sa, self._filling, self._rows
        if sa is None or shape is None or not (count or last):
            return
        end = self._encrypt(sa, shape, self._first, count) if count else 0
        if last:
            shape.sealed_view[end : end + len(last)] = last
            end += len(last)
            count += 1
        self._first += count
        self._rows = 0
        self._send(sa, shape.sealed_view[:end], shape.stride, count)

    def _shape(self, length: int, trailer: bytes, overhead: int) -> _Shape:
        shape = self._shapes.get((length, trailer, overhead))
        if shape is None:
            if len(self._shapes) >= _SHAPES_LIMIT:
                self._shapes.clear()
            shape = self._shapes[length, trailer, overhead] = _Shape(length, trailer, overhead)
        return shape

    def _steps_of(self, size: int) -> Any:
        """Return how far the sequence number of each segment is from the first."""
        steps = self._steps.get(size)
        if steps is None:
            if len(self._steps) >= _SHAPES_LIMIT:
                self._steps.clear()
            steps = np.arange(2 * MAX_SEGMENTS, dtype=np.uint32) * np.uint32(size)
            self._steps[size] = steps
        return steps

    def _cut(self, shape: _Shape, packet: SuperPacket, start: int, rows: int, at: int) -> None:
        """Write ``rows`` segments from ``start`` into the plain rows from ``at``."""
        size, transport = packet.size, packet.transport
        end, length = len(packet.header), shape.length
        header, identification, number = _template(packet, length, start)
        here = slice(at, at + rows)
        plain = shape.plain[here]
        plain[:, :end] = np.frombuffer(header, np.uint8)
        plain[:, end:length] = np.frombuffer(
            packet.payload, np.uint8, rows * size, start * size
        ).reshape(rows, size)

        columns = shape.columns_of(packet)
        if packet.version == 4 and not header[6] & _DONT_FRAGMENT:
            ids = (self._count[:rows] + np.uint64(identification)) & np.uint64(0xFFFF)
            columns.identification[here] = ids
            # The sum of everything else is what checksum and identification lack to 0.
            known = int.from_bytes(header[10:12], "big") + identification
            sums = ids + np.uint64(3 * _MODULUS - known)
            columns.header_checksum[here] = (_MODULUS - sums % _MODULUS) % _MODULUS
        if packet.protocol == IPPROTO_TCP:
            columns.number[here] = self._steps_of(size)[:rows] + np.uint32(number)
            flags = packet.header[transport + TCP_FLAGS]
            if flags & TCP_FIRST_FLAGS and start == 0:
                plain[0, transport + TCP_FLAGS] |= TCP_FIRST_FLAGS
            if flags & TCP_LAST_FLAGS and start + rows == packet.count:
                plain[rows - 1, transport + TCP_FLAGS] |= flags & TCP_LAST_FLAGS

        # One pass over everything; the checksum field itself is still 0.
        sums = np.add.reduce(columns.words[here], 1, np.uint32)
        if columns.last_octet is not None:
            sums += columns.last_octet[here]
        sums += np.uint32(_swapped(packet.pseudo_sum + length - transport))
        # 0xFFFF where the sum is 0, as UDP wants it; for TCP both are the same.
        columns.checksum[here] = _MODULUS - sums % _MODULUS

    def _encrypt(self, sa: OutboundSa, shape: _Shape, first: int, rows: int) -> int:
        """Seal the plain rows; return the octets of all ESP packets."""
        transform = sa.transform
        stride = shape.stride
        if not isinstance(transform, AeadTransform) or transform.encrypt_into is None:
            seal, view = transform.seal, shape.sealed_view
            for row in range(rows):
                view[row * stride : (row + 1) * stride] = seal(first + row, shape.plain_rows[row])
            # Where the SPI is now, a shape of the same form expects it.
            shape.owner = transform.spi
            return rows * stride
        if shape.owner != transform.spi:
            shape.spis[:] = np.frombuffer(transform.spi, np.uint8)
            shape.owner = transform.spi
        nonces, nonce_ivs = self._nonces_for(transform)
        numbers = self._count[:rows] + np.uint64(first)
        shape.numbers[:rows] = numbers
        shape.ivs[:rows] = numbers
        nonce_ivs[:rows] = numbers
        headers = shape.headers
        if transform.extended:
            self._associated_numbers[:rows] = numbers
            headers = self._associated_rows
        plain = shape.plain_rows[:rows]
        deque(map(transform.encrypt_into, nonces, plain, headers, shape.bodies), 0)
        return rows * stride

    def _nonces_for(self, transform: AeadTransform) -> tuple[list[memoryview], Any]:
        """Return the nonces by row, with the salt of an SA in them, and their columns of IVs."""
        salt = len(transform.salt)
        found = self._nonce_rows.get(salt)
        if found is None:
            rows = [row[: salt + _IV].data for row in self._nonces]
            found = rows, self._nonces[:, salt : salt + _IV].view(">u8")[:, 0]
            self._nonce_rows[salt] = found
        if self._salted is not transform:
            self._nonces[:, :salt] = np.frombuffer(transform.salt, np.uint8)
            self._associated_spis[:] = np.frombuffer(transform.spi, np.uint8)
            self._salted = transform
        return found


def _template(packet: SuperPacket, length: int, start: int) -> tuple[bytearray, int, int]:
    """Return the header that segments of ``length`` have in common.

    The identification (RFC 6864) only has to differ where the packets may be fragmented; where
    they may not, it and the header checksum are the same in all of them. Also returned are
    identification and TCP sequence number of segment ``start``.
    """
    header = bytearray(packet.header)
    transport = packet.transport
    identification = number = 0
    if packet.version == 4:
        identification = int.from_bytes(header[4:6], "big") + start & 0xFFFF
        header[2:4] = length.to_bytes(2, "big")
        header[4:6] = identification.to_bytes(2, "big")
        header[10:12] = b"\0\0"
        header[10:12] = checksum(header[:transport]).to_bytes(2, "big")
    else:
        header[4:6] = (length - IPV6_HEADER).to_bytes(2, "big")
    if packet.protocol == IPPROTO_TCP:
        place = transport + 4
        number = int.from_bytes(header[place : place + 4], "big") + start * packet.size
        header[transport + TCP_FLAGS] &= ~(TCP_FIRST_FLAGS | TCP_LAST_FLAGS)
        place = transport + TCP_CHECKSUM
    else:
        header[transport + 4 : transport + 6] = (length - transport).to_bytes(2, "big")
        place = transport + UDP_CHECKSUM
    header[place : place + 2] = b"\0\0"
    return header, identification, number & 0xFFFFFFFF


def _swapped(value: int) -> int:
    """Return a sum of big-endian words as one of little-endian ones (RFC 1071 section 2(B))."""
    value %= _MODULUS
    return value >> 8 | (value & 0xFF) << 8
