"""A kernel backend that only keeps what it is told: for tests and for load generation."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import (
    SPI_MAXIMUM,
    SPI_MINIMUM,
    IpsecProtocol,
    KernelError,
    KernelFeature,
    SaExists,
    SaId,
    SaNotFound,
    SaUsage,
)

if TYPE_CHECKING:
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import (
        BackendContext,
        Encapsulation,
        KernelEvents,
        PolicyKey,
        PolicySpec,
        RandomBytes,
        SaSpec,
    )
    from charon_core.network.packet import Endpoint

_ATTEMPTS: Final = 64
_UNUSED: Final = SaUsage()

SaKey = tuple[int, str, IpsecProtocol]
"""(SPI, destination, protocol): what identifies an SA in a kernel."""


class NullBackend:
    """Behaves like a kernel towards charon, and moves no packet.

    Attributes:
        states: installed SAs by (SPI, destination, protocol).
        policies: installed policies by (source, destination, direction, mark, if_id).
        reserved: SPIs that were allocated and not yet used.
        bypassed: file descriptors of sockets that are exempt from policies.
        encapsulating: file descriptors of sockets that take ESP in UDP.
    """

    name = "null"
    features = frozenset(KernelFeature) - {
        KernelFeature.UDP_ENCAPSULATION_ONLY,
        KernelFeature.OWN_ROUTES,
    }

    def __init__(
        self, context: BackendContext | None = None, random: RandomBytes | None = None
    ) -> None:
        """Make an empty backend; ``random`` (or else the context's) draws the SPIs."""
        if random is None and context is not None:
            random = context.random
        if random is None:
            from charon_core.crypto.random import SystemRandom

            random = SystemRandom()
        self._random = random
        self._spi_range = context.spi_range if context is not None else (SPI_MINIMUM, SPI_MAXIMUM)
        # Guards the four tables below.
        self._lock = threading.Lock()
        self.states: dict[SaKey, SaSpec] = {}
        self.policies: dict[PolicyKey, PolicySpec] = {}
        self.reserved: set[SaKey] = set()
        self._usage: dict[SaKey, SaUsage] = {}
        self._policy_use: dict[PolicyKey, float] = {}
        self.bypassed: list[int] = []
        self.encapsulating: list[int] = []
        self._events: KernelEvents | None = None

    def probe(self) -> None:
        """Work everywhere."""

    def start(self, events: KernelEvents) -> None:
        """Remember whom the inject methods tell."""
        self._events = events

    def stop(self) -> None:
        """Tell nobody any more; the tables stay, to be looked at."""
        self._events = None

    def allocate_spi(self, source: str, destination: str, protocol: IpsecProtocol) -> int:
        """Draw an SPI that no SA to ``destination`` has."""
        first, last = self._spi_range
        with self._lock:
            for _ in range(_ATTEMPTS):
                drawn = int.from_bytes(self._random.bytes(4), "big")
                spi = first + drawn % (last - first + 1)
                key = (spi, destination, protocol)
                if key not in self.states and key not in self.reserved:
                    self.reserved.add(key)
                    return spi
        raise KernelError(
            f"allocate {protocol.name} SPI for {source} -> {destination}",
            f"no free SPI found in {_ATTEMPTS} attempts",
            "there are too many SAs to this address",
            errno.ENOENT,
        )

    def add_sa(self, spec: SaSpec) -> None:
        """Keep one SA."""
        key = _key(spec.id)
        with self._lock:
            if key in self.states:
                raise SaExists(f"add SA {spec.id}", "File exists", code=errno.EEXIST)
            self.reserved.discard(key)
            self.states[key] = spec

    def update_sa(
        self,
        sa: SaId,
        source: str,
        destination: str,
        encapsulation: Encapsulation | None,
    ) -> None:
        """Change addresses and ports of an SA; its counters move with it."""
        old, new = _key(sa), (sa.spi, destination, sa.protocol)
        with self._lock:
            spec = self.states.get(old)
            if spec is None:
                raise _no_sa("update", sa)
            if new != old and new in self.states:
                raise SaExists(f"update SA {sa} to {destination}", "File exists", code=errno.EEXIST)
            moved = SaId(source, destination, sa.protocol, sa.spi)
            del self.states[old]
            self.states[new] = replace(spec, id=moved, encapsulation=encapsulation)
            if old in self._usage:
                self._usage[new] = self._usage.pop(old)

    def query_sa(self, sa: SaId) -> SaUsage:
        """Return the injected counters."""
        key = _key(sa)
        with self._lock:
            if key not in self.states:
                raise _no_sa("query", sa)
            return self._usage.get(key, _UNUSED)

    def delete_sa(self, sa: SaId) -> None:
        """Forget an SA or a reservation."""
        key = _key(sa)
        with self._lock:
            self._usage.pop(key, None)
            if self.states.pop(key, None) is None:
                if key not in self.reserved:
                    raise _no_sa("delete", sa)
                self.reserved.discard(key)

    def add_policy(self, spec: PolicySpec) -> None:
        """Keep one policy, in place of that with the same selectors."""
        with self._lock:
            self.policies[spec.key] = spec

    def delete_policy(self, spec: PolicySpec) -> None:
        """Forget one policy."""
        key = spec.key
        with self._lock:
            if self.policies.pop(key, None) is None:
                raise SaNotFound(
                    f"delete policy {spec}", "No such file or directory", code=errno.ENOENT
                )
            self._policy_use.pop(key, None)

    def query_policy(self, spec: PolicySpec) -> float | None:
        """Return the injected time of last use."""
        key = spec.key
        with self._lock:
            if key not in self.policies:
                raise SaNotFound(
                    f"query policy {spec}", "No such file or directory", code=errno.ENOENT
                )
            return self._policy_use.get(key)

    def flush(self) -> None:
        """Forget everything."""
        with self._lock:
            for table in (self.states, self.policies, self.reserved):
                table.clear()
            self._usage.clear()
            self._policy_use.clear()

    def bypass_socket(self, fd: int, family: int) -> None:  # noqa: ARG002
        """Note the socket."""
        self.bypassed.append(fd)

    def enable_udp_encapsulation(self, fd: int, family: int) -> None:  # noqa: ARG002
        """Note the socket."""
        self.encapsulating.append(fd)

    # -- for tests ----------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether no SA, policy or reserved SPI is left."""
        return not (self.states or self.policies or self.reserved)

    def inject_traffic(
        self,
        sa: SaId,
        octets: int,
        packets: int = 1,
        now: float | None = None,
    ) -> None:
        """Count traffic on an SA, as if it had just passed (or at monotonic time ``now``)."""
        key = _key(sa)
        with self._lock:
            if key not in self.states:
                raise _no_sa("use", sa)
            usage = self._usage.get(key, _UNUSED)
            self._usage[key] = SaUsage(
                usage.bytes + octets,
                usage.packets + packets,
                time.monotonic() if now is None else now,
            )

    def inject_policy_use(self, spec: PolicySpec, now: float) -> None:
        """Mark a policy as used at monotonic time ``now``."""
        with self._lock:
            self._policy_use[spec.key] = now

    def inject_expire(self, sa: SaId, *, hard: bool) -> None:
        """Report an expired lifetime; a hard one removes the SA, as a kernel does."""
        key = _key(sa)
        with self._lock:
            if key not in self.states:
                raise _no_sa("expire", sa)
            if hard:
                del self.states[key]
                self._usage.pop(key, None)
        self._told().expire(sa.protocol, sa.spi, sa.destination, hard)

    def inject_acquire(
        self,
        reqid: int,
        source_ts: TrafficSelector | None = None,
        destination_ts: TrafficSelector | None = None,
    ) -> None:
        """Report traffic that hit a trap policy."""
        self._told().acquire(reqid, source_ts, destination_ts)

    def inject_mapping(self, reqid: int, spi: int, source: Endpoint, new: Endpoint) -> None:
        """Report ESP in UDP from a new endpoint."""
        self._told().mapping(reqid, spi, source, new)

    def _told(self) -> KernelEvents:
        if self._events is None:
            raise RuntimeError("the null backend was not started: nobody listens to its events")
        return self._events


def _key(sa: SaId) -> SaKey:
    return (sa.spi, sa.destination, sa.protocol)


def _no_sa(operation: str, sa: SaId) -> SaNotFound:
    return SaNotFound(f"{operation} SA {sa}", "No such process", code=errno.ESRCH)
