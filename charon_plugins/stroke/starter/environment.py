"""The supervisor's world as it really is: files, signals, processes, the control socket."""

from __future__ import annotations

import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.client.connection import request as send_message
from charon_plugins.stroke.starter.convert import convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from charon_plugins.stroke.starter.convert import Configuration
    from charon_plugins.stroke.starter.plan import Request

#: Seconds for the answer to one message. Nothing that is sent here waits for a peer.
REPLY_TIMEOUT: Final = 30.0

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are.

    Attributes:
        program: the daemon's executable.
        options: its arguments in front of those that come from ipsec.conf.
        conf: ipsec.conf.
        control_socket: charon.ctl.
        pid_file: of the daemon; it exists once the daemon is ready.
        starter_pid_file: our own.
    """

    program: str
    options: tuple[str, ...]
    conf: Path
    control_socket: Path
    pid_file: Path
    starter_pid_file: Path


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

    def wait(self, seconds: float | None) -> Iterable[int]:
        """Signals that came meanwhile, or none when the time has passed."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        return self._reader.recv(4096) if ready else b""


class SystemEnvironment:
    """`supervisor.Environment` for real."""

    def __init__(self, places: Places, log: Callable[[str], None], *, use_syslog: bool) -> None:
        self._places = places
        self._log = log
        self._use_syslog = use_syslog
        self._signals = Signals()

    def load(self) -> Configuration:
        """Read and convert ipsec.conf."""
        return convert(load(self._places.conf))

    def spawn(self, configuration: Configuration) -> DaemonProcess:
        """Start the daemon; a pid file that a dead one left behind is removed before."""
        self._places.pid_file.unlink(missing_ok=True)
        return DaemonProcess(daemon_arguments(self._places, configuration, self._use_syslog))

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
        return self._signals.wait(seconds)

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
