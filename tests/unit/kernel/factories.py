"""Legal specs with a few words, and the surroundings that a backend is given."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.crypto.random import SystemRandom
from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EncryptionId, IntegrityId
from charon_core.kernel.interface import (
    BackendContext,
    IpsecProtocol,
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    SaId,
    SaSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HERE, THERE = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "2001:db8::1", "2001:db8::2"
GCM_KEY = bytes(range(0x40, 0x54))
CBC_KEY = bytes(range(0x10, 0x20))
HMAC_KEY = bytes(range(0x20, 0x40))


def ts(text: str) -> TrafficSelector:
    """A selector; ``10.0.0.1-10.0.0.9`` is a range of addresses."""
    if "-" in text and "[" not in text:
        return TrafficSelector.from_range(*text.split("-"))
    return TrafficSelector.parse(text)


def sa_id(spi: int = 0xC1234567, source: str = THERE, destination: str = HERE) -> SaId:
    return SaId(source, destination, IpsecProtocol.ESP, spi)


def gcm_sa(spi: int = 0xC1234567, **changes: Any) -> SaSpec:
    """An inbound tunnel mode SA with AES-GCM-128."""
    values: dict[str, Any] = {
        "id": sa_id(spi),
        "reqid": 1,
        "mode": ChildMode.TUNNEL,
        "encryption": EncryptionId.AES_GCM_16,
        "key_bits": 128,
        "encryption_key": Secret(GCM_KEY),
        "inbound": True,
        "local_ts": (ts("10.1.0.0/16"),),
        "remote_ts": (ts("10.2.0.0/16"),),
    }
    return SaSpec(**(values | changes))


def cbc_sa(spi: int = 0xC1234567, **changes: Any) -> SaSpec:
    """An inbound tunnel mode SA with AES-CBC-128 and HMAC-SHA2-256-128."""
    values: dict[str, Any] = {
        "encryption": EncryptionId.AES_CBC,
        "encryption_key": Secret(CBC_KEY),
        "integrity": IntegrityId.HMAC_SHA2_256_128,
        "integrity_key": Secret(HMAC_KEY),
    }
    return gcm_sa(spi, **(values | changes))


def template(reqid: int = 1, source: str = HERE, destination: str = THERE) -> PolicyTemplate:
    return PolicyTemplate(source, destination, IpsecProtocol.ESP, reqid, ChildMode.TUNNEL)


def policy(
    source: str = "10.1.0.0/16", destination: str = "10.2.0.0/16", **changes: Any
) -> PolicySpec:
    """An outbound policy that protects."""
    values: dict[str, Any] = {
        "source": ts(source),
        "destination": ts(destination),
        "direction": PolicyDirection.OUT,
        "action": PolicyAction.PROTECT,
        "template": template(),
    }
    return PolicySpec(**(values | changes))


@dataclass
class Recorder:
    """Remembers the events that it is told, and lets a test wait for them."""

    seen: list[tuple[Any, ...]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def _note(self, *event: Any) -> None:
        with self.arrived:
            self.seen.append(event)
            self.arrived.notify_all()

    def acquire(self, reqid: int, source_ts: Any, destination_ts: Any) -> None:
        self._note("acquire", reqid, source_ts, destination_ts)

    def expire(self, protocol: Any, spi: int, destination: str, hard: bool) -> None:
        self._note("expire", protocol, spi, destination, hard)

    def mapping(self, reqid: int, spi: int, source: Any, new: Any) -> None:
        self._note("mapping", reqid, spi, source, new)

    def roam(self, address_change: bool) -> None:
        self._note("roam", address_change)

    def wait_for(self, kind: str, timeout: float = 10.0) -> tuple[Any, ...]:
        """Return the first event of this kind, removing it."""
        with self.arrived:
            self.arrived.wait_for(lambda: any(e[0] == kind for e in self.seen), timeout)
            found = next((e for e in self.seen if e[0] == kind), None)
            assert found is not None, f"no {kind} event within {timeout} s, only {self.seen}"
            self.seen.remove(found)
            return found


class ThreadLoop:
    """Runs a loop body on a thread until it is stopped."""

    def __init__(self, body: Callable[[], None], wake: Callable[[], None] | None) -> None:
        self._body, self._wake = body, wake
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._body()

    def stop(self, timeout: float) -> bool:
        self._ending.set()
        if self._wake is not None:
            self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()


class Surroundings:
    """What a backend is given in a test: loops on threads, timers never, the log in a list."""

    def __init__(self, **changes: Any) -> None:
        self.lines: list[str] = []
        self.delayed: list[tuple[float, Callable[[], None]]] = []
        values: dict[str, Any] = {
            "run_loop": lambda name, body, wake: ThreadLoop(body, wake),
            "after": self._after,
            "log": self._log,
            "random": SystemRandom(),
        }
        self.context = BackendContext(**(values | changes))

    def _after(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        self.delayed.append((seconds, function))
        return lambda: None

    def _log(self, level: int, message: str, *args: object) -> None:
        self.lines.append(message % args if args else message)
