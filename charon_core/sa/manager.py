"""Owns all IKE_SAs; whoever works on one checks it out, and in again."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.encoding.registry import ExchangeType
from charon_core.sa.environment import TimerKind
from charon_core.sa.farewells import Farewells
from charon_core.sa.ike_sa import IkeSa
from charon_core.sa.postponed import is_waiting
from charon_core.sa.snapshot import snapshot_of
from charon_core.sa.state import IkeState
from charon_core.sa.strangers import Strangers
from charon_core.sa.tasks.table import goes_on
from charon_core.sa.wire import NO_SPI, dscp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.encoding.header import Header
    from charon_core.network.packet import Endpoint, Packet
    from charon_core.sa.environment import Environment
    from charon_core.sa.snapshot import IkeSaSnapshot

CHECKOUT_TIMEOUT: Final = 10.0
"""Seconds that a worker waits at the most for an IKE_SA that another one holds."""

SNAPSHOT_PATIENCE: Final = 2.0
"""Seconds that a look at all IKE_SAs waits for those that are in use, all together."""

SHUTDOWN_PATIENCE: Final = 0.5
"""The same when the daemon stops, as long as there is time."""

BORROW_PATIENCE: Final = 2.0
"""Seconds that a worker with an IKE_SA waits for a newer one that it has to do with."""

MAX_WAITERS: Final = 4
"""Workers that may wait for one IKE_SA; more are turned away at once."""

MAX_WAITING: Final = 256
"""Datagrams for one IKE_SA that may wait for a worker: the largest message in its fragments."""


_Outbound = tuple[int, str]
"""The SPI that a peer chose, and its address."""


class _Entry:
    """One IKE_SA in the table. Guarded by the manager's lock, but for what `ike` holds."""

    __slots__ = (
        "arrived",
        "available",
        "begun",
        "born",
        "half_open_host",
        "ike",
        "inbound",
        "init_hash",
        "outbound",
        "processing",
        "spi",
        "waiters",
    )

    def __init__(self, ike: IkeSa) -> None:
        self.ike = ike
        self.spi = ike.own_spi
        self.available: threading.Condition | None = None
        """Exists while somebody waits."""
        self.waiters = 0
        self.processing: int | None = None
        """Hash of the datagram at work, so that a duplicate of it can be dropped."""
        self.init_hash: bytes | None = None
        """SHA-1 of the IKE_SA_INIT request that made it, until it is established."""
        self.half_open_host: str | None = None
        """The peer's address while it counts as half-open."""
        self.arrived = 0
        """Datagrams admitted; changed by the receiver alone, without the lock."""
        self.begun = 0
        """Those of them that a worker has taken."""
        self.inbound: tuple[int, ...] = ()
        """SPIs of its CHILD_SAs that are ours."""
        self.outbound: tuple[_Outbound, ...] = ()
        """Those that are the peer's."""
        self.born: tuple[IkeSa, ...] = ()
        """What was made while it was checked out; checked in together with it."""


class IkeSaManager:
    """The table of IKE_SAs.

    Checkout gives one thread exclusive use; checkin gives it back, updates the indexes and
    destroys the IKE_SA if it has come to its end. While a thread holds an IKE_SA, the bus knows
    about it. No lock is held while an IKE_SA works.
    """

    def __init__(
        self,
        env: Environment,
        *,
        spi_bits: int = 0,
        spi_value: int = 0,
        limit: int = 0,
    ) -> None:
        """Make an empty table.

        Args:
            env: The collaborators of the IKE_SAs.
            spi_bits: Leading bits of our SPIs that are fixed, 0..32.
            spi_value: Their value.
            limit: IKE_SAs in total from which on new ones are refused, 0 for no limit.
        """
        self._env = env
        self._farewells = Farewells()
        self.strangers = Strangers(env.clock)
        """Who is not authenticated yet; has a lock of its own."""
        self._spi_prefix = (spi_value << (32 - spi_bits)) & 0xFFFFFFFF if spi_bits else 0
        self._spi_mask = (0xFFFFFFFF >> spi_bits) if spi_bits else 0xFFFFFFFF
        self._limit = limit
        # Guards everything below, and the entries.
        self._lock = threading.Lock()
        self._by_spi: dict[bytes, _Entry] = {}
        self._by_init: dict[bytes, _Entry] = {}
        self._by_number: dict[int, _Entry] = {}
        self._by_inbound: dict[int, _Entry] = {}
        self._by_outbound: dict[_Outbound, _Entry] = {}
        self._in_use: set[_Entry] = set()
        self._next_number = 1
        self._closed = False

    # -- counting -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_spi)

    def count(self, address: str | None = None) -> int:
        """Return the number of half-open IKE_SAs as responder, in total or of one address."""
        return self.strangers.half_open(address)

    # -- checkout -----------------------------------------------------------------------------

    def create_initiator(self, local: Endpoint, remote: Endpoint) -> IkeSa | None:
        """Return a new IKE_SA of ours, checked out; None if the daemon stops or is full."""
        with self._lock:
            entry = self._add(local, remote, is_initiator=True)
        if entry is None:
            return None
        self._env.bus.set_sa(entry.ike.ref)
        return entry.ike

    def make_successor(self, ike: IkeSa, spi: bytes, is_initiator: bool) -> IkeSa | None:
        """Return a new IKE_SA beside one that is checked out; both are checked in together.

        Args:
            ike: The one that is to be replaced.
            spi: Our SPI of the new one, from `new_spi`.
            is_initiator: Whether we are its initiator.

        Returns:
            The new one, or None if the daemon stops or somebody has that SPI meanwhile.
        """
        with self._lock:
            if self._closed or spi in self._by_spi:
                return None
            new = self._insert(spi, ike.local, ike.remote, is_initiator=is_initiator).ike
            self._by_number[ike.unique_id].born += (new,)
            return new

    @contextmanager
    def borrow(self, unique_id: int) -> Iterator[IkeSa | None]:
        """Check out an IKE_SA while an older one is held, for a moment.

        Only newer ones may be had so: that is what keeps two threads from waiting for each other.
        """
        bus = self._env.bus
        holder = bus.current_sa
        try:
            with self.working_on(self.checkout_by_number(unique_id, BORROW_PATIENCE)) as ike:
                bus.set_sa(holder)
                yield ike
        finally:
            bus.set_sa(holder)

    def checkout(self, spi: bytes) -> IkeSa | None:
        """Return the IKE_SA that has this SPI of ours, or None if there is none to be had."""
        with self._lock:
            entry = self._by_spi.get(spi)
            return None if entry is None else self._take(entry)

    def checkout_by_number(self, unique_id: int, patience: float | None = None) -> IkeSa | None:
        """Return the IKE_SA with this number, or None.

        Args:
            unique_id: The number.
            patience: Seconds to wait at most if it is in use; None for the usual time.
        """
        with self._lock:
            entry = self._by_number.get(unique_id)
            return None if entry is None else self._take(entry, patience)

    def checkout_by_child_spi(self, spi: int, destination: str = "") -> IkeSa | None:
        """Return the IKE_SA that has an SA with this SPI, or None.

        Peers choose their SPIs, and may choose one of ours or of each other: without the address
        to which the SA leads, only SPIs of our own are looked for.

        Args:
            spi: SPI of an ESP or AH SA.
            destination: Where it leads, as far as that is known.
        """
        with self._lock:
            entry = self._by_outbound.get(_outbound(spi, destination)) or self._by_inbound.get(spi)
            return None if entry is None else self._take(entry)

    def admit(self, packet: Packet, header: Header) -> bool:
        """Whether a datagram is worth a job: one look-up, no lock but for new IKE_SAs.

        What nobody has sent for is dropped here, and so is what a half-open IKE_SA cannot want,
        or what comes faster than it is worked off. A datagram that is admitted goes to
        `checkout_by_message` or `dismiss`. For one thread.
        """
        spi = header.responder_spi if header.is_initiator else header.initiator_spi
        entry = self._by_spi.get(spi)
        if entry is None:
            if not _begins(header, spi):
                answers = self._farewells.answer(spi, packet, self._env.clock())
                for answer in answers:
                    self._env.send(answer)
                if not answers:
                    self._tell_lost(packet, header)
                return False
            self.strangers.arrive(packet.source.host)
            return True
        ike = entry.ike
        if entry.arrived - entry.begun >= MAX_WAITING or is_waiting(ike):
            return False
        if ike.is_half_open and not goes_on(ike, header.exchange):
            return False
        entry.arrived += 1
        return True

    def _tell_lost(self, packet: Packet, header: Header) -> None:
        """Prove to a peer that we know nothing of its IKE_SA, if it once was ours (RFC 6290)."""
        tokens = self._env.crash_tokens
        answer = tokens.answer(packet, header) if tokens is not None else None
        if answer is not None:
            self._env.send(answer)

    def dismiss(self, packet: Packet, header: Header) -> None:
        """Take back what `admit` has counted: no worker takes the datagram."""
        spi = header.responder_spi if header.is_initiator else header.initiator_spi
        if _begins(header, spi):
            self.strangers.begin(packet.source.host)
            return
        entry = self._by_spi.get(spi)
        if entry is not None:
            entry.arrived -= 1

    def checkout_by_message(self, packet: Packet, header: Header) -> IkeSa | None:
        """Return the IKE_SA that a datagram is for, or None if nobody wants it.

        An IKE_SA_INIT request makes a new one, unless the very same datagram made one already.
        A datagram that is being processed right now is a duplicate, and is dropped.
        """
        data = packet.data
        own_spi = header.responder_spi if header.is_initiator else header.initiator_spi
        if _begins(header, own_spi):
            self.strangers.begin(packet.source.host)
            return self._checkout_init(packet, header)
        mark = hash(data)
        with self._lock:
            entry = self._by_spi.get(own_spi)
            if entry is None:
                return None
            entry.begun += 1
            if entry.processing == mark:
                return None
            ike = self._take(entry)
            if ike is not None:
                entry.processing = mark
            return ike

    def _checkout_init(self, packet: Packet, header: Header) -> IkeSa | None:
        if not header.is_initiator or header.message_id != 0 or header.initiator_spi == NO_SPI:
            return None
        digest = hashlib.sha1(packet.data, usedforsecurity=False).digest()
        with self._lock:
            entry = self._by_init.get(digest)
            if entry is not None:
                return None if entry in self._in_use else self._take(entry)
            entry = self._add(packet.destination, packet.source, is_initiator=False)
            if entry is None:
                return None
            entry.ike.initiator_spi = header.initiator_spi
            entry.init_hash = digest
            self._by_init[digest] = entry
            entry.half_open_host = packet.source.host
            self.strangers.occupy(entry.half_open_host)
        ike = entry.ike
        ike.start_timer(TimerKind.HALF_OPEN, self._env.parameters.half_open_timeout)
        self._env.bus.set_sa(ike.ref)
        return ike

    def _add(self, local: Endpoint, remote: Endpoint, *, is_initiator: bool) -> _Entry | None:
        """Put a new IKE_SA into the table, in use already; the lock is held."""
        if self._closed or (self._limit and len(self._by_spi) >= self._limit):
            return None
        return self._insert(self._new_spi(), local, remote, is_initiator=is_initiator)

    def _insert(
        self, spi: bytes, local: Endpoint, remote: Endpoint, *, is_initiator: bool
    ) -> _Entry:
        number = self._next_number
        self._next_number += 1
        ike = IkeSa(self._env, number, spi, local, remote, is_initiator=is_initiator)
        entry = _Entry(ike)
        self._by_spi[entry.spi] = entry
        self._by_number[number] = entry
        self._in_use.add(entry)
        return entry

    def new_spi(self) -> bytes:
        """Return an SPI that no IKE_SA of ours has."""
        with self._lock:
            return self._new_spi()

    def _new_spi(self) -> bytes:
        while True:
            random = self._env.random.bytes(8)
            high = int.from_bytes(random[:4], "big") & self._spi_mask | self._spi_prefix
            spi = high.to_bytes(4, "big") + random[4:]
            if spi != NO_SPI and spi not in self._by_spi:
                return spi

    def _take(self, entry: _Entry, patience: float | None = None) -> IkeSa | None:
        """Wait for an entry and mark it as in use; the lock is held."""
        if entry in self._in_use:
            if entry.waiters >= MAX_WAITERS:
                return None
            if entry.available is None:
                entry.available = threading.Condition(self._lock)
            entry.waiters += 1
            free = entry.available.wait_for(
                lambda: entry not in self._in_use,
                timeout=CHECKOUT_TIMEOUT if patience is None else patience,
            )
            entry.waiters -= 1
            if not entry.waiters:
                entry.available = None
            if not free or self._by_spi.get(entry.spi) is not entry:
                return None
        self._in_use.add(entry)
        self._env.bus.set_sa(entry.ike.ref)
        return entry.ike

    # -- checkin ------------------------------------------------------------------------------

    def checkin(self, ike: IkeSa) -> None:
        """Give an IKE_SA back; one that has come to its end is destroyed."""
        entry = self._by_number[ike.unique_id]
        born, entry.born = entry.born, ()
        if ike.state is IkeState.DESTROYING:
            self._destroy(ike)
        else:
            self._release(entry)
        for new in born:
            self.checkin(new)
        self._env.bus.set_sa(None)

    def _release(self, entry: _Entry) -> None:
        with self._lock:
            self._update_index(entry)
            entry.processing = None
            self._in_use.discard(entry)
            if entry.available is not None:
                entry.available.notify()

    def reindex(self, ike: IkeSa) -> None:
        """Let an IKE_SA be found by another SPI before it is checked in: answers come fast."""
        with self._lock:
            self._update_spi(self._by_number[ike.unique_id])

    def _update_spi(self, entry: _Entry) -> None:
        ike = entry.ike
        if ike.own_spi != entry.spi:
            del self._by_spi[entry.spi]
            entry.spi = ike.own_spi
            self._by_spi[entry.spi] = entry
            # What came for the old SPI does not wait any more: nobody will take it.
            entry.begun = entry.arrived

    def _update_index(self, entry: _Entry) -> None:
        ike = entry.ike
        self._update_spi(entry)
        if ike.children_changed:
            ike.children_changed = False
            self._forget_children(entry)
            entry.inbound = tuple([child.local_spi for child in ike.children])
            entry.outbound = tuple(
                [_outbound(child.remote_spi, child.remote.host) for child in ike.children]
            )
            self._by_inbound.update(dict.fromkeys(entry.inbound, entry))
            self._by_outbound.update(dict.fromkeys(entry.outbound, entry))
        if not ike.is_half_open:
            self._forget_init(entry)
            self._leave_half_open(entry)

    def _destroy(self, ike: IkeSa) -> None:
        request, answer = ike.tasks.last_answer()
        if answer and ike.keying is not None:
            self._farewells.keep(ike.own_spi, request, answer, dscp_of(ike), self._env.clock())
        try:
            ike.destroy()
        finally:
            with self._lock:
                entry = self._by_number.pop(ike.unique_id)
                if self._by_spi.get(entry.spi) is entry:
                    del self._by_spi[entry.spi]
                self._forget_children(entry)
                self._forget_init(entry)
                self._leave_half_open(entry)
                self._in_use.discard(entry)
                if entry.available is not None:
                    entry.available.notify_all()

    def _forget_children(self, entry: _Entry) -> None:
        for spi in entry.inbound:
            if self._by_inbound.get(spi) is entry:
                del self._by_inbound[spi]
        for key in entry.outbound:
            if self._by_outbound.get(key) is entry:
                del self._by_outbound[key]

    def _forget_init(self, entry: _Entry) -> None:
        if entry.init_hash is not None:
            self._by_init.pop(entry.init_hash, None)
            entry.init_hash = None

    def _leave_half_open(self, entry: _Entry) -> None:
        host, entry.half_open_host = entry.half_open_host, None
        if host is not None:
            self.strangers.release(host, failed=entry.ike.established_at is None)

    @contextmanager
    def working_on(self, ike: IkeSa | None) -> Iterator[IkeSa | None]:
        """Check an IKE_SA in again when the block ends.

        What the block raises ends the IKE_SA: its state cannot be trusted any more.
        """
        try:
            yield ike
        except BaseException:
            if ike is not None:
                self._env.bus.log(
                    Group.IKE, Level.AUDIT,
                    "IKE_SA %s is destroyed: an internal error interrupted its work", ike,
                )  # fmt: skip
                for broken in (ike, *self._by_number[ike.unique_id].born):
                    broken.set_state(IkeState.DESTROYING)
            raise
        finally:
            if ike is not None:
                self.checkin(ike)

    # -- all of them --------------------------------------------------------------------------

    def numbers(self) -> list[int]:
        """Return the numbers of all IKE_SAs, oldest first."""
        with self._lock:
            return sorted(self._by_number)

    def numbers_by_name(self, name: str) -> list[int]:
        """Return the numbers of the IKE_SAs of a connection, oldest first."""
        with self._lock:
            return sorted(
                number for number, entry in self._by_number.items() if entry.ike.name == name
            )

    def numbers_by_child(self, unique_id: int) -> list[int]:
        """Return the numbers of the IKE_SAs that have, or had a moment ago, this CHILD_SA."""
        with self._lock:
            return [
                number
                for number, entry in self._by_number.items()
                if any(child.unique_id == unique_id for child in tuple(entry.ike.children))
            ]

    def snapshots(self, *, wait: bool = True) -> Iterator[IkeSaSnapshot]:
        """Yield all IKE_SAs as they are, newest first.

        Args:
            wait: Whether to wait for those that are being worked on, `SNAPSHOT_PATIENCE` for all
                of them; else they are left out.
        """
        clock = self._env.clock
        deadline = clock() + (SNAPSHOT_PATIENCE if wait else 0.0)
        for number in reversed(self.numbers()):
            patience = max(0.0, deadline - clock())
            with self.working_on(self.checkout_by_number(number, patience)) as ike:
                if ike is not None:
                    yield snapshot_of(ike)

    def shut_down(self, until: Callable[[], bool]) -> None:
        """Delete all IKE_SAs: tell each peer, then forget the IKE_SA without waiting for it.

        Args:
            until: Whether time is left for telling peers; the rest is destroyed silently.
        """
        with self._lock:
            self._closed = True
        for number in self.numbers():
            # One that is stuck must not keep all the others, and the process, from their end.
            patience = SHUTDOWN_PATIENCE if until() else 0.0
            with self.working_on(self.checkout_by_number(number, patience)) as ike:
                if ike is None:
                    continue
                if until():
                    ike.delete()
                ike.set_state(IkeState.DESTROYING)


def _begins(header: Header, own_spi: bytes) -> bool:
    """Whether a datagram asks for a new IKE_SA."""
    return (
        own_spi == NO_SPI and header.exchange == ExchangeType.IKE_SA_INIT and not header.is_response
    )


def _outbound(spi: int, host: str) -> _Outbound:
    return spi, host.partition("%")[0]
