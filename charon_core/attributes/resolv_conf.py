"""Name servers of gateways in `resolv.conf`, or handed to the program `resolvconf`."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from charon_core.processing.program import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from charon_core.attributes.given import GivenAttributes
    from charon_core.encoding.payloads import ConfigurationAttribute

_MAX_OCTETS: Final = 1 << 20
"""A larger resolv.conf is none."""

_PROGRAM_SECONDS: Final = 5.0
"""Longest wait for `resolvconf`."""

_MARK: Final = re.compile(r"# by charon\[(\d+)\]\s*$")
_IN_PLACE: Final = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})


class ResolvConf:
    """Puts the name servers of tunnels before the others in a file.

    A resolver asks the servers of this file for every name. So a gateway that says for which
    domains its servers are (RFC 8598) is none of this handler's business.

    Our lines are marked with our process ID, and nothing else of the file is touched. Lines of a
    process that is gone are taken away when we write.
    """

    name = "resolv.conf"

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        """Take the file's path; it need not exist."""
        self._path = path
        self._report = report
        # Guards the file and the table, so that each change of the file is one step.
        self._lock = threading.Lock()
        self._servers: dict[GivenAttributes, tuple[str, ...]] = {}

    def clean(self) -> None:
        """Take away what a daemon that crashed has left; a file that cannot be written stays."""
        with self._lock:
            try:
                self._write()
            except OSError as error:
                self._report(f"cleaning up {self._path}: {error.strerror}")

    def requests(self, connection: str) -> Iterable[ConfigurationAttribute]:  # noqa: ARG002
        """Ask for nothing: which name servers are wanted the connection says."""
        return ()

    def install(self, given: GivenAttributes) -> bool:
        """Write the name servers into the file."""
        if not _concerns(given, self._report):
            return False
        with self._lock:
            self._servers[given] = given.dns
            try:
                self._write()
            except OSError:
                del self._servers[given]
                raise
        self._report(f"added name servers {', '.join(given.dns)} to {self._path}")
        return True

    def remove(self, given: GivenAttributes) -> None:
        """Take the name servers out of the file."""
        with self._lock:
            self._servers.pop(given, None)
            self._write()
        self._report(f"removed name servers {', '.join(given.dns)} from {self._path}")

    def _write(self) -> None:
        """Bring our lines in the file to what is wanted; the newest connection comes first.

        Raises:
            OSError: The file stays as it was.
        """
        wanted = dict.fromkeys(
            host for servers in reversed(self._servers.values()) for host in servers
        )
        ours = [f"nameserver {host}   # by charon[{os.getpid()}]\n" for host in wanted]
        # A link leads to the file of some other program: what it leads to is what is read.
        path = self._path.resolve()
        before = _read(path)
        after = "".join([*ours, *(line for line in before if not _is_stale(line))])
        if after != "".join(before):
            _replace(path, after)


class ResolvconfProgram:
    """Hands the name servers of tunnels to `resolvconf`, which merges them with the others."""

    name = "resolvconf"

    def __init__(self, program: Path, report: Callable[[str], None]) -> None:
        """Take the program's path."""
        self._program = program
        self._report = report
        # Guards the table.
        self._lock = threading.Lock()
        self._records: dict[GivenAttributes, str] = {}
        self._number = 0

    def requests(self, connection: str) -> Iterable[ConfigurationAttribute]:  # noqa: ARG002
        """Ask for nothing: which name servers are wanted the connection says."""
        return ()

    def install(self, given: GivenAttributes) -> bool:
        """Add a record with the name servers."""
        if not _concerns(given, self._report):
            return False
        with self._lock:
            self._number += 1
            # "lo." stands first in the order of interfaces that Debian's program keeps.
            record = self._records[given] = f"lo.charon.{os.getpid()}.{self._number}"
        try:
            self._run("-a", record, "".join(f"nameserver {host}\n" for host in given.dns))
        except OSError:
            with self._lock:
                del self._records[given]
            raise
        self._report(f"added name servers {', '.join(given.dns)} by {self._program}")
        return True

    def remove(self, given: GivenAttributes) -> None:
        """Delete the record."""
        with self._lock:
            record = self._records.pop(given, None)
        if record is not None:
            self._run("-d", record, "")
            self._report(f"removed name servers {', '.join(given.dns)} by {self._program}")

    def _run(self, action: str, record: str, text: str) -> None:
        arguments = (str(self._program), action, record)
        done = run_program(arguments, os.environ, _PROGRAM_SECONDS, text)
        if done.code is None:
            raise OSError(
                errno.ETIMEDOUT, f"{self._program} has not ended after {_PROGRAM_SECONDS:g} s"
            )
        if done.code:
            said = done.output.strip()[-200:]
            raise OSError(errno.EIO, f"{self._program} ended with {done.code}: {said}")


def _concerns(given: GivenAttributes, report: Callable[[str], None]) -> bool:
    """Whether the name servers are for all names; says so if they are not."""
    if given.dns and given.domains:
        names = ", ".join(domain.name for domain in given.domains)
        report(
            f"name servers {', '.join(given.dns)} of '{given.connection}' are for {names} alone, "
            "which resolv.conf cannot say: left to other handlers"
        )
    return bool(given.dns) and not given.domains


def _read(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_MAX_OCTETS + 1)
    except FileNotFoundError:
        return []
    if len(text) > _MAX_OCTETS:
        raise OSError(errno.EFBIG, f"{path} has more than {_MAX_OCTETS} octets")
    if text and not text.endswith("\n"):
        text += "\n"
    return text.splitlines(keepends=True)


def _is_stale(line: str) -> bool:
    """Whether a line is ours, or of a daemon that is gone."""
    found = _MARK.search(line)
    if found is None:
        return False
    process = int(found[1])
    return process == os.getpid() or not Path("/proc", str(process)).exists()


def _replace(path: Path, text: str) -> None:
    """Write a file at one stroke, or in place where it cannot be replaced.

    A file that is mounted (as in containers, and by `ip netns exec`) is one of these.
    """
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        mode = 0o644
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno not in _IN_PLACE:
            raise
        with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
