"""Writes log lines to files, standard output or standard error, as text or JSON lines."""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from charon_core.bus.file_format import json_formatter, loss_notice, text_formatter
from charon_core.bus.log_format import LeveledLogger, LogLevels

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.listener import LogRecord

STANDARD = {"stdout": 1, "stderr": 2}
"""Targets that are not paths, with their file descriptors."""

BUFFER_SIZE = 8192
"""Octets that are collected before they are written, if lines are not flushed one by one."""

BUFFER_AGE = 1.0
"""Seconds that a line stays in the buffer at most, provided that further lines come."""

RETRY_INTERVAL = 1.0
"""Seconds between tries of a target that failed; lines in between are counted and lost."""

LONGEST_WAIT = 0.05
"""Seconds that a line waits for a full pipe, or for another thread's write to end."""

MAX_WAITING = 1024
"""Lines that may wait for another thread's write to end without their own threads waiting."""

MODE = 0o640
"""Permissions of a new log file, before the umask."""


@dataclass(frozen=True, slots=True)
class FileLogConfig:
    """How a log file is written.

    Attributes:
        target: A path, ``stdout`` or ``stderr``.
        levels: What is taken.
        time_format: As of `time.strftime`, and ``%f`` for microseconds; "" leaves the time out.
        sa_name: Whether lines carry ``<name|id>`` of their IKE_SA.
        json: Whether a record becomes a JSON object in a line instead of lines of text.
        append: Whether what the file holds at the start is kept.
        flush_line: Whether each record is written at once, instead of when 8 KiB have come up.
    """

    target: str
    levels: LogLevels = field(default_factory=LogLevels)
    time_format: str = ""
    sa_name: bool = True
    json: bool = False
    append: bool = True
    flush_line: bool = True


class FileLogger(LeveledLogger):
    """A logger with one target. Never raises and never blocks the daemon for long.

    While the target cannot be written (disk full, missing folder, a pipe that nobody reads) lines
    are lost; the reason is reported once, and how many were lost is told in the file afterwards.
    """

    def __init__(
        self,
        config: FileLogConfig,
        report: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        heir_of: FileLogger | None = None,
    ) -> None:
        """Open the target; a target that cannot be opened is tried again later.

        Args:
            config: What to write where.
            report: Told in a line why the target cannot be written, and when it can be again. Is
                called from within `log` and may log.
            clock: Monotonic seconds.
            heir_of: A logger whose open file is taken if it has the same target, and that cannot
                be opened any more: the daemon has become a user who may not.
        """
        super().__init__(f"file {config.target}", config.levels)
        self.config = config
        self._report = report
        self._clock = clock
        self._format = (
            json_formatter()
            if config.json
            else text_formatter(config.time_format, sa_name=config.sa_name)
        )
        # Lines of the usual case. Whoever has the lock writes them all, so that no thread waits for
        # another one's write; only `_write_waiting` takes them out.
        self._waiting: deque[bytes] = deque()
        # Guards everything below.
        self._lock = threading.Lock()
        self._fd = -1
        self._poller: select.poll | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._buffer_since = 0.0
        self._torn = False
        self._lost = 0
        self._retry_at: float | None = None
        # Whether a record can simply be written: the usual case, which has to be cheap.
        self._is_plain = False
        spare = -1 if heir_of is None or heir_of.config.target != config.target else heir_of.spare()
        self._guarded(lambda: self._begin(spare, truncate=not config.append))

    @property
    def lost(self) -> int:
        """Records lost since the target could be written last."""
        return self._lost

    def log(self, record: LogRecord) -> None:
        """Write one record."""
        data = self._format(record)
        if self._is_plain and len(self._waiting) < MAX_WAITING:
            self._waiting.append(data)
            self._drain()
        elif not self._guarded(lambda: self._add(data)):
            self._lost += 1

    def flush(self) -> None:
        """Write what is buffered."""
        self._guarded(self._flush_buffer)

    def reopen(self) -> None:
        """Close the file and open its path again, appending: after log rotation, on SIGHUP.

        Not to be called within a signal handler, which may have interrupted `log`.
        """

        def swap() -> str | None:
            notice = self._flush_buffer()
            spare = self._duplicate()
            self._close()
            return self._begin(spare, truncate=False) or notice

        self._guarded(swap)

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the file, so that he can open it again after a log rotation."""

        def give() -> None:
            if self._fd >= 0 and self._poller is None and self.config.target not in STANDARD:
                # What cannot be given away is written as long as it stays open.
                with suppress(OSError):
                    os.fchown(self._fd, uid, gid)

        self._guarded(give)

    def spare(self) -> int:
        """Return another descriptor of the open file, for an heir; -1 if there is none."""
        found = [-1]

        def duplicate() -> None:
            found[0] = self._duplicate()

        self._guarded(duplicate)
        return found[0]

    def close(self) -> None:
        """Write what is buffered and close the file; what is logged afterwards opens it again."""

        def end() -> str | None:
            notice = self._flush_buffer()
            self._close()
            return notice

        self._guarded(end)

    def _guarded(self, action: Callable[[], str | None]) -> bool:
        """Do something with the lock held, and report what it returns without the lock.

        Returns:
            False if the lock could not be had in time, because another thread's write hangs.
        """
        if not self._lock.acquire(timeout=LONGEST_WAIT):
            return False
        try:
            notices = (self._write_waiting(), action())
        finally:
            self._lock.release()
        for notice in notices:
            self._tell(notice)
        self._drain()
        return True

    def _drain(self) -> None:
        """Write the waiting lines, unless another thread has the lock: it will do it."""
        waiting, lock = self._waiting, self._lock
        # Looked at again after each release, for lines that came before it and too late for us.
        while waiting and lock.acquire(blocking=False):
            try:
                notice = self._write_waiting()
            finally:
                lock.release()
            self._tell(notice)

    def _tell(self, notice: str | None) -> None:
        if notice is not None and self._report is not None:
            self._report(notice)

    # -- all below with the lock held --

    def _write_waiting(self) -> str | None:
        lines = []
        for _ in range(len(self._waiting)):
            lines.append(self._waiting.popleft())  # noqa: PERF401 - a line is the usual number
        if lines and self._is_plain and not self._lost:
            data = lines[0] if len(lines) == 1 else b"".join(lines)
            try:
                written = os.write(self._fd, data)
            except OSError:
                # Will be met again below, and dealt with there.
                pass
            else:
                if written == len(data):
                    return None
                self._torn = True
                return self._attempt(lambda: self._write_rest(data[written:]))
        notice = None
        for line in lines:
            notice = self._add(line) or notice
        return notice

    def _duplicate(self) -> int:
        if self._fd < 0 or self._poller is not None or self.config.target in STANDARD:
            return -1
        try:
            return os.dup(self._fd)
        except OSError:
            return -1

    def _begin(self, spare: int, *, truncate: bool) -> str | None:
        """Open the target, or go on with a file that is open already where that is not allowed."""
        if spare < 0:
            return self._attempt(lambda: self._open(truncate=truncate))
        try:
            self._open(truncate=truncate)
        except PermissionError as error:
            self._fd = spare
            self._retry_at = None
            return (
                f"log target {self.config.target} cannot be opened anew: {error.strerror}; lines "
                "go on into the file that was open, which may have been renamed. Let log rotation "
                "make the new file for the daemon's user, or name a folder where that user may"
            )
        except OSError:
            os.close(spare)
            return self._attempt(lambda: self._open(truncate=truncate))
        os.close(spare)
        self._retry_at = None
        return None

    def _add(self, data: bytes) -> str | None:
        now = self._clock()
        if self._retry_at is not None and now < self._retry_at:
            self._lost += 1
            return None
        if not self._buffer:
            self._buffer_since = now
        self._buffer.append(data)
        self._buffered += len(data)
        if (
            self.config.flush_line
            or self._buffered >= BUFFER_SIZE
            or now - self._buffer_since >= BUFFER_AGE
        ):
            return self._flush_buffer()
        return None

    def _flush_buffer(self) -> str | None:
        return self._attempt(self._flush) if self._buffer else None

    def _attempt(self, action: Callable[[], None]) -> str | None:
        """Do something with the target; return what is to be reported."""
        failed_before = self._retry_at is not None
        try:
            action()
        except OSError as error:
            self._lost += len(self._buffer)
            self._buffer.clear()
            self._buffered = 0
            self._close()
            self._retry_at = self._clock() + RETRY_INTERVAL
            if failed_before:
                return None
            return (
                f"log target {self.config.target} cannot be written: {error.strerror or error}; "
                f"lines are lost until it can, next try every {RETRY_INTERVAL:g} s"
            )
        self._retry_at = None
        if failed_before:
            return f"log target {self.config.target} can be written again"
        return None

    def _flush(self) -> None:
        if self._fd < 0:
            self._open(truncate=False)
        data = b"".join(self._buffer)
        if self._lost:
            data = loss_notice(self._lost, as_json=self.config.json) + data
        if self._torn:
            data = b"\n" + data
        self._write(data)
        self._lost = 0
        self._buffer.clear()
        self._buffered = 0
        self._is_plain = self._poller is None and self.config.flush_line

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._poller is None:
                written = os.write(self._fd, view)
            else:
                # A slow reader is waited for, but not one that has stopped. So much fits then.
                if not self._poller.poll(LONGEST_WAIT * 1000):
                    raise BlockingIOError(errno.EAGAIN, "its reader does not read")
                written = os.write(self._fd, view[: select.PIPE_BUF])
            view = view[written:]
            self._torn = bool(view)

    def _write_rest(self, rest: bytes) -> None:
        try:
            self._write(rest)
        except OSError:
            self._lost += max(1, rest.count(b"\n"))
            raise

    def _open(self, *, truncate: bool) -> None:
        standard = STANDARD.get(self.config.target)
        if standard is not None:
            self._fd = standard
        else:
            # Not blocking, for the path may be a pipe that nobody reads.
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
            flags |= os.O_TRUNC if truncate else 0
            if not _is_trusted_link(self.config.target):
                flags |= os.O_NOFOLLOW
            self._fd = os.open(self.config.target, flags | os.O_APPEND, MODE)
        self._poller = None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._poller = select.poll()
            self._poller.register(self._fd, select.POLLOUT)
        elif not _ends_a_line(self._fd):
            # Left so by a daemon that died, or by us when the disk was full.
            self._torn = True

    def _close(self) -> None:
        self._is_plain = False
        fd, self._fd = self._fd, -1
        if fd >= 0 and self.config.target not in STANDARD:
            os.close(fd)


def _ends_a_line(fd: int) -> bool:
    """Whether what a file holds ends in a newline; true if that cannot be told."""
    try:
        size = os.fstat(fd).st_size
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return not size or os.pread(reader, 1, size - 1) == b"\n"
    except OSError:
        return True
    finally:
        os.close(reader)


def _is_trusted_link(path: str) -> bool:
    """Whether a path is a symbolic link that an administrator or this user has made.

    Others may make links in folders that they may write to, in order to have a daemon write
    where they cannot.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(status.st_mode) and status.st_uid in (0, os.geteuid())
