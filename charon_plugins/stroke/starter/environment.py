"""The supervisor's world as it really is: files, signals, processes, the control socket."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.client.connection import request as send_message
from charon_plugins.stroke.starter.check import read_configuration
from charon_plugins.stroke.starter.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from charon_plugins.stroke.starter.convert import Configuration
    from charon_plugins.stroke.starter.plan import Request

#: Seconds for the answer to one message. Nothing that is sent here waits for a peer.
REPLY_TIMEOUT: Final = 30.0

#: Octets of a line without an end that are kept.
MAX_LINE: Final = 4096

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are.

    Attributes:
        program: the daemon's executable.
        options: its arguments in front of those that come from ipsec.conf.
        conf: ipsec.conf.
        certs: folder of the certificates that connections name.
        control_socket: charon.ctl.
        pid_file: of the daemon; it exists once the daemon is ready.
        starter_pid_file: our own.
        has_log_file: the daemon's settings name a file that it logs to.
    """

    program: str
    options: tuple[str, ...]
    conf: Path
    certs: Path
    control_socket: Path
    pid_file: Path
    starter_pid_file: Path
    has_log_file: bool = False


class Signals:
    """Signals as values that a loop can wait for."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            # A handler of Python, though it does nothing, is what feeds the wake-up descriptor;
            # the child gets the default action back when it is executed.
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    @property
    def reader(self) -> socket.socket:
        """Can be read when signals have come."""
        return self._reader

    def take(self) -> Iterable[int]:
        """Signals that have come."""
        return self._reader.recv(4096)


class Output:
    """What the daemon writes to its standard error, line by line, for the log."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._reader = -1
        self._line = b""

    @property
    def readers(self) -> list[int]:
        """The descriptor to wait for, if there is one."""
        return [self._reader] if self._reader >= 0 else []

    def open(self) -> int:
        """Begin with a daemon; returns what becomes its standard error."""
        self.close()
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        return writer

    def drain(self) -> None:
        """Log what has come."""
        while self._reader >= 0:
            try:
                chunk = os.read(self._reader, 4096)
            except BlockingIOError:
                return
            if not chunk:
                self.close()
                return
            *lines, rest = (self._line + chunk).split(b"\n")
            self._line = rest[-MAX_LINE:]
            for line in lines:
                self._say(line)

    def close(self) -> None:
        """End with this daemon."""
        if self._line:
            self._say(self._line)
        self._line = b""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def _say(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").strip()
        if text:
            self._log(text)


class SystemEnvironment:
    """`supervisor.Environment` for real."""

    def __init__(self, places: Places, log: Callable[[str], None], *, in_background: bool) -> None:
        """Take signals from now on.

        Args:
            places: where things are.
            log: takes lines for the administrator.
            in_background: nobody sees the daemon's standard error; it goes to the log then.
        """
        self._places = places
        self._log = log
        self._in_background = in_background
        self._signals = Signals()
        self._output = Output(log)

    def load(self) -> Configuration:
        """Read and convert ipsec.conf."""
        return read_configuration(self._places.conf, self._places.certs)

    def spawn(self, configuration: Configuration) -> DaemonProcess:
        """Start the daemon; a pid file that a dead one left behind is removed before."""
        self._places.pid_file.unlink(missing_ok=True)
        arguments = daemon_arguments(self._places, configuration, self._in_background)
        if not self._in_background:
            return DaemonProcess(arguments)
        writer = self._output.open()
        try:
            return DaemonProcess(arguments, writer)
        finally:
            os.close(writer)

    def collect(self) -> None:
        """Log what the daemon has written to its standard error."""
        self._output.drain()

    def is_ready(self) -> bool:
        """The daemon writes its pid file last, when its socket listens."""
        return self._places.pid_file.exists()

    def send(self, request: Request) -> None:
        """Send a request and log what the daemon replies."""
        reply = bytearray()
        location = str(self._places.control_socket)
        send_message(location, request.encode(), reply.extend, timeout=REPLY_TIMEOUT)
        for line in reply.decode("utf-8", "backslashreplace").splitlines():
            self._log(line)

    def wait(self, seconds: float | None) -> Iterable[int]:
        """Wait for signals."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            watched: list[int] = [self._signals.reader.fileno(), *self._output.readers]
            ready, _, _ = select.select(watched, [], [], left)
            if watched[0] in ready:
                return self._signals.take()
            if not ready:
                return ()
            self._output.drain()

    def log(self, text: str) -> None:
        """Log a line."""
        self._log(text)


def daemon_arguments(
    places: Places, configuration: Configuration, use_syslog: bool
) -> Sequence[str]:
    """Command line of the daemon: the options, ``--use-syslog``, and ``charondebug``."""
    arguments = [places.program, *places.options]
    if use_syslog:
        arguments.append("--use-syslog")
    for group, level in configuration.debug:
        arguments += [f"--debug-{group}", level]
    return arguments


def stderr_log(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{_printable(text)}\n")


def syslog_log(text: str) -> None:
    """Write a line to syslog."""
    import syslog

    syslog.syslog(syslog.LOG_INFO, _printable(text))


def open_syslog() -> None:
    """Begin to log under the starter's name."""
    import syslog

    syslog.openlog("ipsec_starter", syslog.LOG_PID, syslog.LOG_AUTHPRIV)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
