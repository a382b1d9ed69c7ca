"""The control socket: accepts clients and reads their requests, all on one thread.

A client costs nothing but a place in a table until its request is complete, so silent and slow
clients keep nobody waiting.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.server.courier import Courier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Only owner and group may connect.
SOCKET_MODE: Final = 0o770
#: Connections that the kernel holds for us; beyond, clients that do not block are refused.
BACKLOG: Final = 64
#: Seconds within which a client has to send its request.
READ_PATIENCE: Final = 5.0
#: Clients whose requests are incomplete; when there are more, the oldest is dropped.
MAX_PENDING: Final = 64
#: Pause of the loop when no descriptor is left for another client, in seconds.
EXHAUSTED_PAUSE: Final = 0.2

#: The least length of a message; `wire.fields` has the same, but is loaded with the first one.
FIXED_LENGTH: Final = 658

_CHUNK = 65536


class SocketInUseError(Exception):
    """Another daemon answers on the control socket."""


@dataclass(slots=True)
class _Pending:
    connection: socket.socket
    deadline: float
    data: bytearray = field(default_factory=bytearray)


class Listener:
    """The socket and those of its clients that have not said yet what they want."""

    def __init__(
        self,
        path: Path,
        on_request: Callable[[bytes, socket.socket], None],
        report: Callable[[str], None],
        *,
        owner: tuple[int, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `open` creates the socket.

        Args:
            path: of the socket.
            on_request: takes each complete message with its connection, which it then owns.
            report: takes a line about a client that was dropped.
            owner: uid and gid that the socket shall have; those of the process if ``None``.
            clock: monotonic seconds.
        """
        self._path = path
        self._on_request = on_request
        self._report = report
        self._owner = owner
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._pending: dict[int, _Pending] = {}
        self._listener: socket.socket | None = None
        self._inode: tuple[int, int] | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._courier = Courier(self._selector, self.wake, report, clock)

    def deliver(self, connection: socket.socket, rest: bytes) -> None:
        """Send the rest of a reply as its client reads it, and let the client go then."""
        self._courier.take(connection, rest)

    def open(self) -> None:
        """Create the socket.

        Raises:
            SocketInUseError: another daemon listens on it.
            OSError: it cannot be created.
        """
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The file gets its mode from the socket, less the umask; never more than is meant.
            os.fchmod(listener.fileno(), SOCKET_MODE)
            listener.bind(str(self._path))
            if self._owner is not None:
                os.chown(self._path, *self._owner)
            self._path.chmod(SOCKET_MODE)
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._inode = _inode(self._path)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def turn(self) -> None:
        """Wait until something happens and deal with it: the body of the daemon's loop."""
        for key, _ in self._selector.select(self._time_left()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_reader:
                self._wake_reader.recv(64)
            elif (pending := self._pending.get(key.fd)) is not None:
                self._read(pending)
            else:
                self._courier.serve(key.fd)
        self._courier.collect()
        now = self._clock()
        for pending in [p for p in self._pending.values() if p.deadline <= now]:
            self._drop(pending, f"sent no complete request within {READ_PATIENCE:g} s")

    def wake(self) -> None:
        """Let `turn` return soon; for other threads."""
        try:
            self._wake_writer.send(b"\0")
        except OSError:
            # Either it is awake already, or it is closed.
            return

    def close(self) -> None:
        """Close everything and remove the socket's file, unless it is another daemon's by now."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            if _inode(self._path) == self._inode:
                # In a folder of root's, the daemon has somebody else remove it.
                with suppress(PermissionError):
                    self._path.unlink(missing_ok=True)
        for pending in list(self._pending.values()):
            pending.connection.close()
        self._pending.clear()
        self._courier.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _remove_stale(self) -> None:
        """Remove the socket that a dead daemon left behind."""
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return
        if not stat.S_ISSOCK(mode):
            raise FileExistsError(
                errno.EEXIST, "expected a socket, found another kind of file", str(self._path)
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self._path))
            except BlockingIOError:
                pass  # Its backlog is full: somebody listens.
            except OSError:
                self._path.unlink(missing_ok=True)
                return
        raise SocketInUseError(
            f"another daemon answers on {str(self._path)!r}: stop it, or choose another "
            "control_socket in the section [paths] of charon.toml"
        )

    def _time_left(self) -> float | None:
        deadlines = [pending.deadline for pending in self._pending.values()]
        delivery = self._courier.next_deadline()
        if delivery is not None:
            deadlines.append(delivery)
        return max(0.0, min(deadlines) - self._clock()) if deadlines else None

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._report(f"a client cannot be accepted: {error}")
            time.sleep(EXHAUSTED_PAUSE)
            return
        connection.setblocking(False)
        if len(self._pending) >= MAX_PENDING:
            oldest = min(self._pending.values(), key=lambda pending: pending.deadline)
            self._drop(oldest, f"gave way: {MAX_PENDING} clients have sent no request")
        pending = _Pending(connection, self._clock() + READ_PATIENCE)
        self._pending[connection.fileno()] = pending
        self._selector.register(connection, selectors.EVENT_READ)
        self._read(pending)

    def _read(self, pending: _Pending) -> None:
        try:
            chunk = pending.connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(pending, f"connection broke: {error}")
            return
        if not chunk:
            # Clients that only look whether somebody listens are nothing to talk about.
            came = len(pending.data)
            self._drop(pending, f"closed after {came} octets of a request" if came else None)
            return
        pending.data += chunk
        length = _announced_length(pending.data)
        if length is None:
            return
        if length < FIXED_LENGTH:
            self._drop(pending, f"its request of {length} octets is too short to be one")
        elif len(pending.data) >= length:
            self._forget(pending)
            # What comes behind a request was not asked for.
            self._on_request(bytes(pending.data[:length]), pending.connection)

    def _forget(self, pending: _Pending) -> None:
        self._selector.unregister(pending.connection)
        del self._pending[pending.connection.fileno()]

    def _drop(self, pending: _Pending, reason: str | None) -> None:
        self._forget(pending)
        if reason is not None:
            self._report(f"client dropped: {reason}")
        pending.connection.close()


def _announced_length(data: bytearray) -> int | None:
    """Length of a message by its first two octets; ``None`` while they are incomplete."""
    return int.from_bytes(data[:2], "little") if len(data) > 1 else None


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
