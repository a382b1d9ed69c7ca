"""What the bus hands out, and what those who receive it have to offer."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from charon_core.bus.events import Event
    from charon_core.bus.refs import SaRef


class Group(IntEnum):
    """Who speaks: the subsystem that a log line belongs to.

    The numbers count from 0 without gaps: they index the tables of levels.
    """

    DMN = 0
    """Main daemon: start, signals, stop."""
    MGR = 1
    """IKE_SA manager: checkout, checkin."""
    IKE = 2
    """IKE_SA."""
    CHD = 3
    """CHILD_SA."""
    JOB = 4
    """Jobs, workers, timers."""
    CFG = 5
    """Configuration and plugins."""
    KNL = 6
    """Kernel interface: IPsec and network."""
    NET = 7
    """IKE datagrams, in and out."""
    ASN = 8
    """ASN.1 and certificates, low level."""
    ENC = 9
    """Encoding and decoding, encryption of messages."""
    TNC = 10
    """Trusted Network Connect."""
    IMC = 11
    """Integrity Measurement Collector."""
    IMV = 12
    """Integrity Measurement Verifier."""
    PTS = 13
    """Platform Trust Service."""
    TLS = 14
    """The TLS library."""
    APP = 15
    """Applications other than daemons."""
    ESP = 16
    """The ESP implementation in user space."""
    LIB = 17
    """Everything that several of the others use."""


class Level(IntEnum):
    """How much a line tells; a logger takes the lines up to its level."""

    SILENT = -1
    """Nothing at all; a logger's level, never a line's."""
    AUDIT = 0
    """The few lines that tell what happened: up, down, failed."""
    CONTROL = 1
    """The flow of control with errors: the usual level."""
    MORE = 2
    """More, for those who look for a fault."""
    RAW = 3
    """Dumps of what was received and sent."""
    PRIVATE = 4
    """May hold keys and passwords."""


class LogRecord(NamedTuple):
    """One formatted message on its way to the loggers.

    Attributes:
        group: The subsystem that speaks.
        level: How much in detail it is, 0..4.
        text: The message; may have several lines. Characters that came from peers are in it as
            they came: `charon_core.bus.text.lines_of` makes it fit for a log file.
        time: Seconds since the epoch.
        thread: A small number of the thread that speaks, counted from 1.
        sa: The IKE_SA that the thread holds, or None.
    """

    group: Group
    level: Level
    text: str
    time: float
    thread: int
    sa: SaRef | None


@runtime_checkable
class Logger(Protocol):
    """A receiver of log lines; called in the thread that speaks, without any lock held.

    It has to be quick, and its own calls of the bus are safe: a record that a logger causes while
    it runs is not handed to the same logger again.
    """

    @property
    def name(self) -> str:
        """The name under which its failures are reported."""

    def level(self, group: Group) -> Level:
        """Return up to which level it wants the lines of ``group``.

        The bus asks when the logger is added and on `Bus.reconfigure`, not for each line.
        """

    def log(self, record: LogRecord) -> None:
        """Take one record whose level is not above what `level` returned for its group."""


@runtime_checkable
class Listener(Protocol):
    """A receiver of events; called in the thread that publishes, without any lock held.

    A listener that also has an attribute ``private`` that is true gets the events with key
    material (`IkeKeysDerived`, `ChildKeysDerived`) if it names them in `events`; others never do.
    """

    @property
    def name(self) -> str:
        """The name under which its failures are reported."""

    @property
    def events(self) -> tuple[type[Event], ...]:
        """The event classes that it wants; asked once, when it is added. `Event` wants all."""

    def on_event(self, event: Event) -> None:
        """Take one event of the classes in `events`."""
