"""Takes datagrams from the sockets and lets through what is worth a job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from charon_core.bus import Group, Level
from charon_core.encoding.chain import GENERIC_HEADER
from charon_core.encoding.errors import ParseError
from charon_core.encoding.header import (
    FLAG_RESPONSE,
    HEADER_LAYOUT,
    HEADER_LENGTH,
    MAJOR_VERSION,
    NO_SPI,
    Header,
)
from charon_core.encoding.registry import ExchangeType, NotifyType, PayloadType
from charon_core.network.cookie import CookieJar, read_init_request
from charon_core.network.rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus import Bus
    from charon_core.network.packet import Packet
    from charon_core.network.sender import Sender
    from charon_core.processing.loop import Loop
    from charon_core.processing.processor import Processor

COOKIE_HYSTERESIS: Final = 10.0
"""Seconds for which cookies are demanded of all after the load has dropped."""

VERSION_NOTIFIES: Final = 10.0
"""INVALID_MAJOR_VERSION notifies a second at most."""

LOG_LINES: Final = 1.0
"""Lines a second about each kind of datagrams that are dropped, beyond a burst."""

LOG_BURST: Final = 10.0

_NOTIFY_HEADER: Final = Struct("!BBH")
"""Protocol, SPI size and type of a notify without SPI (RFC 7296 section 3.10)."""

# A lookup of an enum member costs as much as the rest of a comparison.
_NOTIFY: Final = int(PayloadType.NOTIFY)
_COOKIE: Final = int(NotifyType.COOKIE)
_INVALID_MAJOR_VERSION: Final = int(NotifyType.INVALID_MAJOR_VERSION)
_IKE_SA_INIT: Final = int(ExchangeType.IKE_SA_INIT)
_BEFORE_RESPONDER_SPI: Final = frozenset({
    _IKE_SA_INIT, int(ExchangeType.IKE_SESSION_RESUME),
})  # fmt: skip
_ODD_INIT: Final = "an IKE_SA_INIT request has message ID 0, the initiator flag, no responder SPI"


@dataclass(frozen=True, slots=True)
class ReceiverLimits:
    """What unauthenticated peers may cost; 0 switches a limit off.

    Attributes:
        cookie_threshold: Half-open IKE_SAs from which on cookies are demanded of all.
        cookie_threshold_ip: The same for those of one address.
        block_threshold: Half-open IKE_SAs of one address from which on it gets no answer.
        init_limit_half_open: Half-open IKE_SAs from which on new ones are dropped.
        init_limit_job_load: Waiting jobs above which new IKE_SAs are dropped.
    """

    cookie_threshold: int = 30
    cookie_threshold_ip: int = 3
    block_threshold: int = 5
    init_limit_half_open: int = 0
    init_limit_job_load: int = 0


class HalfOpenCounter(Protocol):
    """Knows the half-open IKE_SAs (the IKE_SA manager does)."""

    def count(self, address: str | None) -> int:
        """Return how many are half-open with a peer at ``address``, or in all if None."""


class PacketSource(Protocol):
    """What the receiver needs of the sockets (`IkeSockets` fits)."""

    def receive(self, timeout: float | None = None) -> list[Packet]:
        """Wait for packets."""

    def wake(self) -> None:
        """Let `receive` return."""


@dataclass(slots=True)
class ReceiverCounters:
    """What became of the packets.

    Attributes:
        received: IKE packets taken from the sockets.
        dispatched: Those that became a job.
        malformed: Without a proper header, or requests for an IKE_SA without a nonce.
        ike_v1: Of IKEv1.
        wrong_version: Of a major version above 2.
        cookies_sent: Answered with a cookie.
        cookies_wrong: Requests whose cookie was not ours, old, or made for another request; they
            count in `cookies_sent` too.
        blocked: Requests dropped since their address has too many half-open IKE_SAs.
        overload: Requests dropped since there are too many half-open IKE_SAs or jobs.
        failed: Packets at which the daemon itself failed.
    """

    received: int = 0
    dispatched: int = 0
    malformed: int = 0
    ike_v1: int = 0
    wrong_version: int = 0
    cookies_sent: int = 0
    cookies_wrong: int = 0
    blocked: int = 0
    overload: int = 0
    failed: int = 0


class Receiver:
    """The loop between sockets and processor.

    All its checks are cheap and keep no state for strangers: header, version, and for requests of
    new IKE_SAs the limits and the cookie. Everything else is dispatched. For one thread.
    """

    def __init__(
        self,
        sockets: PacketSource,
        sender: Sender,
        dispatch: Callable[[Packet, Header], None],
        *,
        half_open: HalfOpenCounter,
        job_load: Callable[[], int],
        bus: Bus,
        limits: ReceiverLimits | None = None,
        cookies: CookieJar | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect the receiver; `start` begins the loop.

        Args:
            sockets: Where packets come from.
            sender: Takes cookies and version notifies.
            dispatch: Queues the processing of a packet.
            half_open: Counts half-open IKE_SAs.
            job_load: Counts the jobs that wait.
            bus: For log lines.
            limits: What unauthenticated peers may cost.
            cookies: Makes and checks cookies.
            clock: Monotonic seconds.
        """
        self._sockets = sockets
        self._sender = sender
        self._dispatch = dispatch
        self._half_open = half_open
        self._job_load = job_load
        self._bus = bus
        self._clock = clock
        self._cookies = cookies or CookieJar(clock)
        self._cookies_until = clock()
        self._version_notifies = RateLimit(VERSION_NOTIFIES, VERSION_NOTIFIES, clock)
        self._lines: dict[str, RateLimit] = {}
        self.limits = limits or ReceiverLimits()
        """May be replaced while the receiver runs."""
        self.counters = ReceiverCounters()

    def start(self, processor: Processor) -> Loop:
        """Begin the loop."""
        return processor.run_loop("receiver", self.run_once, self._sockets.wake)

    def run_once(self) -> None:
        """Wait for packets and handle them; one that fails does not stop the others."""
        for packet in self._sockets.receive():
            try:
                self.handle(packet)
            except Exception as error:  # noqa: BLE001  the next packet has nothing to do with it
                self.counters.failed += 1
                self._drop(packet, "failure", f"{type(error).__name__}: {error}")

    def handle(self, packet: Packet) -> None:
        """Check one packet, then dispatch, answer or drop it."""
        counters = self.counters
        counters.received += 1
        try:
            header = Header.parse(packet.data)
        except ParseError as error:
            self._drop_malformed(packet, str(error))
            return
        if header.version[0] != MAJOR_VERSION:
            self._handle_version(packet, header)
        elif header.exchange == _IKE_SA_INIT and not header.is_response:
            if header.responder_spi != NO_SPI or header.message_id or not header.is_initiator:
                self._drop_malformed(packet, _ODD_INIT)
            elif self._admits(packet, header):
                self._pass(packet, header)
        elif header.responder_spi == NO_SPI and header.exchange not in _BEFORE_RESPONDER_SPI:
            self._drop_malformed(
                packet, "the responder SPI is zero, which only IKE_SA_INIT may have"
            )
        else:
            self._pass(packet, header)

    def _pass(self, packet: Packet, header: Header) -> None:
        self.counters.dispatched += 1
        self._dispatch(packet, header)

    def _drop_malformed(self, packet: Packet, reason: str) -> None:
        self.counters.malformed += 1
        self._drop(packet, "malformed", reason)

    # -- versions --

    def _handle_version(self, packet: Packet, header: Header) -> None:
        major, minor = header.version
        if major < MAJOR_VERSION:
            self.counters.ike_v1 += 1
            self._drop(packet, "version", f"IKE version {major}.{minor}, only 2 is spoken here")
            return
        self.counters.wrong_version += 1
        self._drop(packet, "version", f"IKE version {major}.{minor}, only 2.0 is spoken here")
        # The answer carries our version in its header (RFC 7296 section 2.5).
        if (
            header.exchange == _IKE_SA_INIT
            and not header.is_response
            and self._version_notifies.allow()
        ):
            self._answer(packet, header, _INVALID_MAJOR_VERSION)

    # -- limits for new IKE_SAs --

    def _admits(self, packet: Packet, header: Header) -> bool:
        """Whether a request for a new IKE_SA may cost anything."""
        limits, host = self.limits, packet.source.host
        if limits.init_limit_job_load:
            load = self._job_load()
            if load > limits.init_limit_job_load:
                return self._refuse_overload(
                    packet, f"{load} jobs wait, limit {limits.init_limit_job_load}"
                )
        total = self._half_open.count(None)
        if limits.init_limit_half_open and total >= limits.init_limit_half_open:
            return self._refuse_overload(
                packet, f"{total} half-open IKE_SAs, limit {limits.init_limit_half_open}"
            )
        of_address = 0
        if limits.cookie_threshold_ip or limits.block_threshold:
            of_address = self._half_open.count(host)
        if self._demands_cookie(total, of_address) and not self._has_cookie(packet, header):
            return False
        if limits.block_threshold and of_address >= limits.block_threshold:
            self.counters.blocked += 1
            self._drop(
                packet,
                "blocked",
                f"{of_address} half-open IKE_SAs with {host}, limit {limits.block_threshold}",
            )
            return False
        return True

    def _refuse_overload(self, packet: Packet, reason: str) -> bool:
        self.counters.overload += 1
        self._drop(packet, "overload", reason)
        return False

    def _demands_cookie(self, total: int, of_address: int) -> bool:
        limits = self.limits
        if limits.cookie_threshold:
            now = self._clock()
            if total >= limits.cookie_threshold:
                if now >= self._cookies_until:
                    self._bus.log(
                        Group.NET,
                        Level.CONTROL,
                        "%d half-open IKE_SAs, limit %d: cookies are demanded from all peers",
                        total,
                        limits.cookie_threshold,
                    )
                self._cookies_until = now + COOKIE_HYSTERESIS
                return True
            if now < self._cookies_until:
                return True
        return bool(limits.cookie_threshold_ip) and of_address >= limits.cookie_threshold_ip

    def _has_cookie(self, packet: Packet, header: Header) -> bool:
        """Whether a request brings its cookie; otherwise it is answered with one."""
        request = read_init_request(packet.data, header.next_payload)
        if request is None:
            self._drop_malformed(packet, "an IKE_SA_INIT request without a nonce")
            return False
        host, spi = packet.source.host, header.initiator_spi
        if request.cookie is not None:
            if self._cookies.check(request.cookie, request.nonce, host, spi):
                return True
            self.counters.cookies_wrong += 1
        self.counters.cookies_sent += 1
        cookie = self._cookies.make(request.nonce, host, spi)
        self._answer(packet, header, _COOKIE, cookie)
        return False

    # -- answers and lines --

    def _answer(self, packet: Packet, header: Header, kind: int, data: bytes = b"") -> None:
        """Answer an IKE_SA_INIT request with a notify and without any state."""
        # Packed in one go instead of through `Message`: in a flood this is a third of the work.
        size = GENERIC_HEADER.size + _NOTIFY_HEADER.size + len(data)
        answer = b"".join((
            HEADER_LAYOUT.pack(
                header.initiator_spi,
                header.responder_spi,
                _NOTIFY,
                MAJOR_VERSION << 4,
                header.exchange,
                FLAG_RESPONSE,
                header.message_id,
                HEADER_LENGTH + size,
            ),
            GENERIC_HEADER.pack(0, 0, size),
            _NOTIFY_HEADER.pack(0, 0, kind),
            data,
        ))  # fmt: skip
        self._sender.send(packet.reply(answer), quiet=True)

    def _drop(self, packet: Packet, kind: str, reason: str) -> None:
        """Say that a packet is dropped, but not more often than is of use."""
        if not self._bus.wants(Group.NET, Level.CONTROL):
            return
        lines = self._lines.get(kind)
        if lines is None:
            lines = self._lines[kind] = RateLimit(LOG_LINES, LOG_BURST, self._clock)
        if lines.allow():
            self._bus.log(
                Group.NET,
                Level.CONTROL,
                "dropped packet from %s: %s%s",
                packet.source,
                reason,
                lines.take_suppressed(),
            )
