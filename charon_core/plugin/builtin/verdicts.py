"""Keeps what went wrong last, by peer, in a file that `charon explain` reads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.events import AlertRaised, Event
from charon_core.bus.listener import Group, Level
from charon_core.bus.verdicts import Verdict, VerdictBook, dump, load
from charon_core.plugin import Feature, hookimpl
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from pathlib import Path

    from charon_core.bus.bus import Bus
    from charon_core.plugin.facade import Daemon

PAUSE: Final = 1.0
"""Seconds between something that went wrong and its way to the file: one write for a flood."""

_NO_VERDICTS: Final = frozenset(
    {AlertKind.JOB_FAILURE, AlertKind.LISTENER_FAILURE, AlertKind.RETRANSMIT}
)


class Verdicts:
    """Listens to alerts that are about a peer."""

    name = "verdicts"
    events = (AlertRaised,)

    def __init__(self) -> None:
        self._book = VerdictBook()
        self._file: Path | None = None
        self._is_due = False

    @hookimpl
    def charon_features(self) -> tuple[Feature, ...]:
        """Provide verdicts."""
        return (Feature("verdicts"),)

    @hookimpl
    def charon_create(self, daemon: Daemon) -> None:
        """Take up what an earlier daemon has left."""
        self._file = daemon.paths.verdicts
        self._scheduler = daemon.scheduler
        self._bus = daemon.bus
        try:
            for verdict in load(self._file.read_text(encoding="utf-8", errors="replace")):
                self._book.add(verdict)
        except OSError:
            pass  # there is none yet

    @hookimpl
    def charon_register_listeners(self, bus: Bus) -> None:
        """Hear of alerts."""
        bus.add_listener(self)

    @hookimpl
    def charon_destroy(self) -> None:
        """Write what is not written yet."""
        if self._is_due:
            self._save()

    def on_event(self, event: Event) -> None:
        """Note an alert, and have it written soon."""
        if not isinstance(event, AlertRaised) or event.alert.kind in _NO_VERDICTS:
            return
        alert = event.alert
        details = alert.details
        connection = details.get("connection") or (alert.sa.name if alert.sa is not None else "")
        self._book.add(
            Verdict(
                time=time.time(),
                kind=alert.kind.value,
                peer=details.get("peer", ""),
                identity=details.get("identity", ""),
                connection="" if connection == "(unnamed)" else connection,
                text=alert.text,
            )
        )
        if not self._is_due:
            self._is_due = True
            self._scheduler.schedule(CallbackJob("save verdicts", self._save, Priority.LOW), PAUSE)

    def _save(self) -> None:
        """Replace the file as a whole; a reader sees the old one or the new one."""
        self._is_due = False
        if self._file is None:
            return
        new = self._file.with_name(f".{self._file.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(new, flags, 0o640)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(dump(self._book.all()))
            new.replace(self._file)
        except OSError as error:
            self._bus.log(
                Group.DMN, Level.CONTROL, "verdicts cannot be kept in %s: %s",
                self._file, error.strerror,
            )  # fmt: skip
