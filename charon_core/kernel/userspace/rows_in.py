"""Opening and joining a whole train of ESP packets at a time: the counterpart of `rows_out`.

Loaded when it is first needed. The packets of a train have one size, so they are the rows of a
matrix. They are decrypted through views that are kept, and then checked column by column: the
trailers, what the headers must have in common, the steps of the sequence numbers, the checksums.
"""

from __future__ import annotations

import itertools
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from charon_core.kernel.userspace.checksum import ones_sum
from charon_core.kernel.userspace.coalesce import (
    TCP_PSH,
    Run,
    header_end,
    same_flow_mask,
)
from charon_core.kernel.userspace.flow import (
    IPPROTO_IPV4,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV4_HEADER,
    IPV6_HEADER,
    packet_length,
)
from charon_core.kernel.userspace.segment import TCP_FLAGS
from charon_core.kernel.userspace.transforms import ESP_HEADER, AeadTransform, InvalidIcv
from charon_core.kernel.userspace.transport import MAX_SEGMENTS

if TYPE_CHECKING:
    from charon_core.kernel.userspace.association import InboundSa

RUN_MINIMUM: Final = 4
"""Where runs are shorter than this on average (several flows in turn), joining one by one is
better, since it finds each flow again."""

_SHAPES_LIMIT: Final = 8
_TRAIN_LIMIT: Final = 0x10000
_IV: Final = 8
_NONCE_LIMIT: Final = 12
_MODULUS: Final = 0xFFFF
_PADDING: Final = bytes(range(1, 256))
_NEXT_HEADERS: Final = {4: IPPROTO_IPV4, 6: IPPROTO_IPV6}
_HEADERS: Final = tuple(Struct(f">{2 * rows}I") for rows in range(MAX_SEGMENTS + 1))


class _Form(NamedTuple):
    """Kind of packets: IP version, transport protocol, where the payload starts."""

    version: int
    protocol: int
    end: int


class _Columns:
    """Columns of the plain rows for packets of one form, all rows of a shape.

    Attributes:
        mask: What must not differ between the headers of two rows.
        payloads: Views of the payloads, by row.
    """

    __slots__ = (
        "flags",
        "is_tcp",
        "last_octet",
        "mask",
        "number",
        "payloads",
        "protocol",
        "transport",
        "words",
    )

    def __init__(self, plain: Any, form: _Form, length: int) -> None:
        version, protocol, end = form
        transport = IPV4_HEADER if version == 4 else IPV6_HEADER
        self.transport = transport
        self.protocol = protocol
        self.is_tcp = protocol == IPPROTO_TCP
        # The IPv4 header has a checksum over itself; that of IPv6 is in none but the pseudo-header.
        start = 0 if version == 4 else transport
        even = start + (length - start & ~1)
        self.words = plain[:, start:even].view("<u2")
        self.last_octet = plain[:, length - 1] if even != length else None
        self.number = plain[:, transport + 4 : transport + 8].view(">u4")[:, 0]
        # UDP has nothing like it: the octet there is of no meaning, and masked out.
        self.flags = plain[:, transport + TCP_FLAGS] if self.is_tcp else np.zeros(len(plain), "u1")
        mask = bytearray(same_flow_mask(end, version, protocol))
        # Rows have one length, by their trailers; their headers must say so.
        place = 2 if version == 4 else 4
        mask[place : place + 2] = b"\xff\xff"
        if not self.is_tcp:
            mask[transport + 4 : transport + 6] = b"\xff\xff"
        self.mask = np.frombuffer(bytes(mask), np.uint8)
        self.payloads = [row[end:length].data for row in plain]


class _Shape:
    """Matrices for ESP packets of ``stride`` octets, of which ``overhead`` surround the plaintext.

    Attributes:
        sealed: ESP packets, one a row.
        headers: SPI and sequence number, by row.
        bodies: Ciphertext and ICV, by row.
        ivs: Column of IVs.
        plain: Plaintexts with their trailers, one a row.
        plain_rows: Views of the rows.
        columns: `_Columns` by form and length.
    """

    __slots__ = ("bodies", "columns", "headers", "ivs", "plain", "plain_rows", "sealed")

    def __init__(self, stride: int, overhead: int) -> None:
        rows = min(MAX_SEGMENTS, _TRAIN_LIMIT // stride)
        body = ESP_HEADER + _IV
        self.sealed = np.zeros((rows, stride), np.uint8)
        self.headers = [row[:ESP_HEADER].data for row in self.sealed]
        self.bodies = [row[body:].data for row in self.sealed]
        self.ivs = self.sealed[:, ESP_HEADER:body].view(">u8")[:, 0]
        self.plain = np.zeros((rows, stride - overhead), np.uint8)
        self.plain_rows = [row.data for row in self.plain]
        self.columns: dict[tuple[_Form, int], _Columns] = {}

    def columns_of(self, form: _Form, length: int) -> _Columns:
        """Return the columns of packets of one form and length."""
        columns = self.columns.get((form, length))
        if columns is None:
            if len(self.columns) >= _SHAPES_LIMIT:
                self.columns.clear()
            columns = self.columns[form, length] = _Columns(self.plain, form, length)
        return columns


class Opened(NamedTuple):
    """A train whose packets are all authentic; valid until the next one is opened.

    Attributes:
        shape: The matrices in which it is.
        rows: Number of packets.
        numbers: Whole sequence numbers, rising; each is above the highest that was seen.
    """

    shape: _Shape
    rows: int
    numbers: range | list[int]

    def plaintexts(self) -> list[bytes]:
        """Return the plaintexts with their trailers."""
        return [bytes(row) for row in self.shape.plain_rows[: self.rows]]


class RowOpener:
    """Opens trains; for one thread at a time."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._steps: dict[int, Any] = {}
        self._nonces = np.zeros((MAX_SEGMENTS, _NONCE_LIMIT), np.uint8)
        self._nonce_rows: dict[int, tuple[list[memoryview], Any]] = {}
        self._salted: AeadTransform | None = None
        associated = np.zeros((MAX_SEGMENTS, ESP_HEADER + 4), np.uint8)
        self._associated_rows = [row.data for row in associated]
        self._associated_spis = associated[:, :4]
        self._associated_numbers = associated[:, 4:].view(">u8")[:, 0]

    def open(self, sa: InboundSa, data: memoryview, stride: int, rows: int) -> Opened | None:
        """Open the packets of a train.

        Args:
            sa: The SA of the first packet.
            data: The train.
            stride: Octets of a packet.
            rows: How many packets of this size there are, at most MAX_SEGMENTS.

        Returns:
            None where the train is not a row of new, rising, authentic packets of one SA; then
            nothing has changed and they are to be looked at one by one.
        """
        transform = sa.transform
        overhead = transform.overhead
        if stride < overhead + 2 or rows * stride > _TRAIN_LIMIT:
            return None
        shape = self._shapes.get((stride, overhead))
        if shape is None:
            if len(self._shapes) >= _SHAPES_LIMIT:
                self._shapes.clear()
            shape = self._shapes[stride, overhead] = _Shape(stride, overhead)
        sealed = shape.sealed[:rows]
        sealed[:] = np.frombuffer(data, np.uint8, rows * stride).reshape(rows, stride)
        numbers = _numbers(sa, sealed[:, :ESP_HEADER].tobytes(), rows)
        if numbers is None or not self._decrypt(sa, shape, numbers, rows):
            return None
        return Opened(shape, rows, numbers)

    def _decrypt(self, sa: InboundSa, shape: _Shape, numbers: range | list[int], rows: int) -> bool:
        """Fill the plain rows; False if a packet is not authentic."""
        transform = sa.transform
        if not isinstance(transform, AeadTransform) or transform.decrypt_into is None:
            views = shape.plain_rows
            try:
                for row, number in enumerate(numbers):
                    views[row][:] = transform.open(shape.sealed[row].data, number)
            except InvalidIcv:
                return False
            return True
        nonces, nonce_ivs = self._nonces_for(transform)
        nonce_ivs[:rows] = shape.ivs[:rows]
        headers = shape.headers
        if transform.extended:
            self._associated_numbers[:rows] = np.array(numbers, dtype=np.uint64)
            headers = self._associated_rows
        bodies = shape.bodies[:rows]
        try:
            deque(map(transform.decrypt_into, nonces, bodies, headers, shape.plain_rows), 0)
        except transform.refused:
            return False
        return True

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

    def runs(self, opened: Opened, *, udp: bool = True) -> list[Run] | None:
        """Join the packets of an opened train: TCP segments, with ``udp`` also UDP datagrams.

        Returns:
            None where they are not all of the same form with proper trailers and checksums; then
            they are to be looked at one by one.
        """
        shape, rows = opened.shape, opened.rows
        first = bytes(shape.plain_rows[0])
        padding, version = first[-2], first[0] >> 4
        length = len(first) - 2 - padding
        if (
            length < IPV4_HEADER
            or first[-1] != _NEXT_HEADERS.get(version)
            or first[length:-2] != _PADDING[:padding]
            or packet_length(first) != length
        ):
            return None
        packet = first[:length]
        end = header_end(packet, udp=udp)
        plain = shape.plain[:rows]
        if not end or plain[:, length:].tobytes() != first[length:] * rows:
            return None
        form = _Form(version, packet[9] if version == 4 else packet[6], end)
        columns = shape.columns_of(form, length)
        if not _checksums_right(columns, packet, rows):
            return None
        size = length - end
        flags = columns.flags[:rows].tobytes()
        starts = self._starts(plain, columns, end, size, flags)
        if len(starts) > 1 and len(starts) * RUN_MINIMUM > rows:
            return None
        runs = []
        for start, stop in zip(starts, [*starts[1:], rows], strict=True):
            # The checks so far compare neighbours; the first of a run has to be right by itself.
            if start and header_end(plain[start, :length].tobytes(), udp=udp) != end:
                return None
            pushed = flags[stop - 1] & TCP_PSH != 0
            run = Run(plain[start, :end].tobytes(), size, pushed=pushed, checked=True)
            run.extend(columns.payloads[start:stop], (stop - start) * size)
            runs.append(run)
        return runs

    def _starts(
        self, plain: Any, columns: _Columns, end: int, size: int, flags: bytes
    ) -> list[int]:
        """Return the rows that do not go on where the one before them ends."""
        rows = len(flags)
        headers = plain[:, :end]
        # In one train of one flow every row agrees with the first.
        differences = (headers ^ headers[0]) & columns.mask
        level = not np.count_nonzero(differences)
        if not columns.is_tcp:
            if level:
                return [0]
            breaks = ((headers[1:] ^ headers[:-1]) & columns.mask).any(axis=1)
            return [0, *(np.flatnonzero(breaks) + 1).tolist()]
        steps = columns.number[:rows] - self._steps_of(size)[:rows]
        if (
            level
            and flags.count(flags[0] & ~TCP_PSH, 0, rows - 1) == rows - 1
            and steps.tobytes() == steps[:1].tobytes() * rows
        ):
            return [0]
        differences = (headers[1:] ^ headers[:-1]) & columns.mask
        pushed = np.frombuffer(flags, np.uint8)[:-1] & TCP_PSH
        breaks = differences.any(axis=1) | (steps[1:] != steps[:-1]) | (pushed != 0)
        return [0, *(np.flatnonzero(breaks) + 1).tolist()]

    def _steps_of(self, size: int) -> Any:
        """Return how far the sequence number of each row is from the first."""
        steps = self._steps.get(size)
        if steps is None:
            if len(self._steps) >= _SHAPES_LIMIT:
                self._steps.clear()
            steps = np.arange(MAX_SEGMENTS, dtype=np.uint32) * np.uint32(size)
            self._steps[size] = steps
        return steps


def _numbers(sa: InboundSa, headers: bytes, rows: int) -> range | list[int] | None:
    """Return the sequence numbers of packets of one SA, if they rise and all are new."""
    words = _HEADERS[rows].unpack(headers)
    low = words[1::2]
    first = sa.window.infer(low[0])
    if first <= sa.window.highest or words[::2].count(sa.spi) != rows:
        return None
    expected = range(low[0], low[0] + rows)
    if low == tuple(expected):
        return range(first, first + rows)
    if any(later <= earlier for earlier, later in itertools.pairwise(low)):
        return None
    offset = first - low[0]
    return [offset + number for number in low]


def _checksums_right(columns: _Columns, packet: bytes, rows: int) -> bool:
    """Tell whether the checksums of all rows are right, if they are of the form of ``packet``.

    IP header and transport segment are summed up together: each has to give 0, so both have to.
    That leaves out errors in both which cancel each other out; by accident that happens as rarely
    as that a checksum fails to show an error at all.
    """
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    sums = np.add.reduce(columns.words[:rows], 1, np.uint32)
    if columns.last_octet is not None:
        sums += columns.last_octet[:rows]
    pseudo = ones_sum(addresses, columns.protocol + len(packet) - columns.transport)
    sums += np.uint32(pseudo >> 8 | (pseudo & 0xFF) << 8)
    return not np.count_nonzero(sums % _MODULUS)
