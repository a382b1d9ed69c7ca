"""A plain synchronous netlink socket: requests with their answers, and multicast events.

pyroute2's own sockets run an asyncio loop with an epoll descriptor per thread, and importing the
package costs 0.2 s and 21 MB. charon answers its control socket before that, and owns its
threads; so the transport is this module, which needs nothing but the standard library, and
pyroute2 provides the message classes of XFRM where that backend is in use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NETLINK_ROUTE: Final = 0
NETLINK_XFRM: Final = 6
NETLINK_NETFILTER: Final = 12

NLMSG_NOOP: Final = 1
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4

NLM_F_REQUEST: Final = 0x001
NLM_F_MULTI: Final = 0x002
NLM_F_ACK: Final = 0x004
NLM_F_ECHO: Final = 0x008
NLM_F_DUMP_INTR: Final = 0x010
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11
_NLMSGERR_ATTR_MSG: Final = 1

HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

ATTRIBUTE: Final = struct.Struct("=HH")
"""struct nlattr: length without padding, type."""

_ERROR: Final = struct.Struct("=i")
_ATTRIBUTE_TYPE_MASK: Final = 0x3FFF
_RECEIVE_SIZE: Final = 65536
_EVENT_BUFFER: Final = 1 << 20
_ANSWER_SECONDS: Final = 5.0
_DUMP_ATTEMPTS: Final = 4
_SO_SNDBUFFORCE: Final = 32


class NetlinkError(OSError):
    """The kernel refused a request; ``hint`` is its own explanation, where it gives one."""

    def __init__(self, code: int, hint: str = "") -> None:
        super().__init__(code, os.strerror(code))
        self.hint = hint

    @property
    def reason(self) -> str:
        """``No such process``, or with the kernel's words: ``Invalid argument: ...``."""
        return f"{self.strerror}: {self.hint}" if self.hint else str(self.strerror)


class OverrunError(Exception):
    """Multicast events were lost, since they came faster than they were read."""


class Frame(NamedTuple):
    """One netlink message as received."""

    type: int
    flags: int
    sequence: int
    port: int
    data: bytes
    """The whole message, its header of 16 bytes included."""

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.data[HEADER.size :]


class Message(NamedTuple):
    """One netlink message to be sent, without its header."""

    type: int
    body: bytes
    flags: int = 0


def align(length: int) -> int:
    """Round up to the next multiple of 4."""
    return (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """Encode one attribute, padded."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(align(length) - length)


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, value) of each attribute from ``offset``; stop at the first malformed one."""
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size or offset + length > len(data):
            return
        yield kind & _ATTRIBUTE_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += align(length)


def split_frames(data: bytes) -> Iterator[Frame]:
    """Yield the messages of one datagram; stop at the first malformed one."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            return
        yield Frame(kind, flags, sequence, port, data[offset : offset + length])
        offset += align(length)


class NetlinkSocket:
    """A socket for requests; any worker may use it, one at a time is served."""

    def __init__(
        self, protocol: int, *, timeout: float = _ANSWER_SECONDS, send_buffer: int = 0
    ) -> None:
        """Open the socket.

        Args:
            protocol: one of NETLINK_....
            timeout: seconds to wait for an answer.
            send_buffer: octets of the largest datagram, 0 for what is usual; not enforced where
                we may not.

        Raises:
            OSError: the kernel does not know this netlink protocol, or forbids it.
        """
        # Serialises requests: an answer belongs to the request before it.
        self._lock = threading.Lock()
        self._sequence = 0
        self._timeout = timeout
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        try:
            self._socket.bind((0, 0))
            self._socket.settimeout(timeout)
            for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK):
                _try_option(self._socket, option)
            if send_buffer:
                with contextlib.suppress(PermissionError):
                    self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, send_buffer)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[0]
        """Netlink address of this socket: events that it caused carry it."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send a request and wait until the kernel has done it.

        Raises:
            NetlinkError: the kernel refused.
            TimeoutError: no answer within 5 s.
        """
        with self._lock:
            for _ in self._exchange(kind, body, flags | NLM_F_ACK):
                pass

    def query(self, kind: int, body: bytes, flags: int = 0) -> Frame:
        """Send a request that is answered with one message, and return that.

        Raises:
            NetlinkError: the kernel refused, or answered nothing (ENODATA).
            TimeoutError: no answer within 5 s.
        """
        with self._lock:
            for frame in self._exchange(kind, body, flags):
                return frame
        raise NetlinkError(errno.ENODATA)

    def dump(self, kind: int, body: bytes) -> list[Frame]:
        """Return all objects of a table; asked again if the table changed meanwhile.

        Raises:
            NetlinkError: the kernel refused.
            TimeoutError: no answer within 5 s.
        """
        frames: list[Frame] = []
        for _ in range(_DUMP_ATTEMPTS):
            with self._lock:
                frames = list(self._exchange(kind, body, NLM_F_DUMP))
            if not any(frame.flags & NLM_F_DUMP_INTR for frame in frames):
                break
        return frames

    def transact(self, messages: Sequence[Message]) -> list[Frame]:
        """Send messages in one datagram; for those that the kernel does all or nothing of.

        The kernel has done its work, and queued what it says about it, when sending returns, so
        there is nothing to wait for.

        Returns:
            What is not an acknowledgement: echoes (NLM_F_ECHO), in the order of the messages.

        Raises:
            NetlinkError: the kernel refused; it is the first of its complaints. ENODATA: none of
                the messages that wanted an acknowledgement (NLM_F_ACK) has got one.
            OSError: the datagram was too large, or answers were lost.
        """
        with self._lock:
            first = self._sequence % 0xFFFFFFFF + 1
            data = bytearray()
            for kind, body, flags in messages:
                self._sequence = self._sequence % 0xFFFFFFFF + 1
                length = HEADER.size + len(body)
                header = HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0)
                data += header + body + bytes(align(length) - length)
            self._socket.sendto(data, (0, 0))
            waits = any(message.flags & NLM_F_ACK for message in messages)
            self._socket.settimeout(0)
            try:
                return self._collect(first, self._sequence, is_acknowledged=not waits)
            finally:
                self._socket.settimeout(self._timeout)

    def _collect(self, first: int, last: int, *, is_acknowledged: bool) -> list[Frame]:
        frames: list[Frame] = []
        refusal: NetlinkError | None = None
        while True:
            try:
                data, (sender, _) = self._socket.recvfrom(_RECEIVE_SIZE)
            except BlockingIOError:
                break
            if sender != 0:
                continue
            for frame in split_frames(data):
                # Sequence numbers wrap once in four thousand million: then answers are late ones.
                if not first <= frame.sequence <= last:
                    continue
                if frame.type != NLMSG_ERROR:
                    frames.append(frame)
                    continue
                try:
                    _raise_error(frame)
                    is_acknowledged = True
                except NetlinkError as error:
                    refusal = refusal or error
        if refusal is None and not is_acknowledged:
            refusal = NetlinkError(errno.ENODATA)
        if refusal is not None:
            raise refusal
        return frames

    def _exchange(self, kind: int, body: bytes, flags: int) -> Iterator[Frame]:
        self._sequence = sequence = (self._sequence % 0xFFFFFFFF) + 1
        length = HEADER.size + len(body)
        header = HEADER.pack(length, kind, flags | NLM_F_REQUEST, sequence, 0)
        self._socket.sendto(header + body, (0, 0))
        while True:
            data, (sender, _) = self._socket.recvfrom(_RECEIVE_SIZE)
            if sender != 0:  # only the kernel has address 0
                continue
            for frame in split_frames(data):
                if frame.sequence != sequence:  # late answer to a request that timed out
                    continue
                if frame.type == NLMSG_ERROR:
                    _raise_error(frame)
                    return
                if frame.type == NLMSG_DONE:
                    return
                yield frame
                if not frame.flags & NLM_F_MULTI and not flags & NLM_F_ACK:
                    return


class EventSocket:
    """Receives multicast messages of some groups, for one loop that can be woken."""

    def __init__(self, protocol: int, groups: Iterable[int]) -> None:
        """Open the socket and join ``groups``; one that the kernel does not know is left out.

        Raises:
            OSError: the kernel does not know this netlink protocol, or forbids it.
        """
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            protocol,
        )
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER)
            for group in groups:
                _try_option(self._socket, _NETLINK_ADD_MEMBERSHIP, group)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor that can be read when there are messages."""
        return self._socket.fileno()

    def wake(self) -> None:
        """Let a waiting :meth:`receive` return at once; from any thread, or a signal handler."""
        try:
            os.eventfd_write(self._wake, 1)
        except OSError:  # it is closed: nobody waits
            return

    def close(self) -> None:
        """Close the socket; nobody may wait in it."""
        self._socket.close()
        os.close(self._wake)

    def receive(self, timeout: float | None) -> list[Frame]:
        """Wait up to ``timeout`` seconds (None: for ever) for messages of the kernel.

        Returns:
            What one datagram holds; empty when time is up or when woken.

        Raises:
            OverrunError: messages were lost.
        """
        ready = dict(self._poll.poll(None if timeout is None else max(0.0, timeout * 1000)))
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        try:
            data, (sender, _) = self._socket.recvfrom(_RECEIVE_SIZE)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise OverrunError("netlink events were lost") from None
            raise
        return list(split_frames(data)) if sender == 0 else []


def _try_option(netlink: socket.socket, option: int, value: int = 1) -> None:
    """Set an option that old kernels do not know; nothing depends on it."""
    try:
        netlink.setsockopt(_SOL_NETLINK, option, value)
    except OSError as error:
        if error.errno not in {errno.ENOPROTOOPT, errno.EINVAL}:
            raise


def _raise_error(frame: Frame) -> None:
    """Raise what an NLMSG_ERROR reports; return for an acknowledgement (error 0)."""
    if len(frame.data) < HEADER.size + _ERROR.size:
        raise NetlinkError(errno.EBADMSG)
    (code,) = _ERROR.unpack_from(frame.data, HEADER.size)
    if code == 0:
        return
    raise NetlinkError(abs(code), _hint(frame))


def _hint(frame: Frame) -> str:
    """The kernel's words in an extended acknowledgement, or nothing."""
    if not frame.flags & NLM_F_ACK_TLVS:
        return ""
    offset = HEADER.size + _ERROR.size
    if frame.flags & NLM_F_CAPPED:
        offset += HEADER.size
    elif len(frame.data) >= offset + HEADER.size:
        (length,) = struct.unpack_from("=I", frame.data, offset)
        offset += align(length)
    for kind, value in attributes(frame.data, offset):
        if kind == _NLMSGERR_ATTR_MSG:
            return value.rstrip(b"\0").decode(errors="replace")
    return ""
