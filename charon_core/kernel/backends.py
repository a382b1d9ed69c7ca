"""Kernel backends by name, and the choice of one that works on this host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import BackendContext, KernelUnavailable, NoKernelBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.kernel.interface import BackendFactory, IpsecBackend

AUTO: Final = "auto"
"""The name that stands for: the first one that works."""


@dataclass(frozen=True, slots=True)
class _Entry:
    factory: BackendFactory
    auto_rank: int | None


@dataclass(frozen=True, slots=True)
class BackendSelection:
    """Which backend was taken, and what became of every other one."""

    backend: IpsecBackend
    others: Mapping[str, str] = field(default_factory=dict)
    """Name of each other backend -> why it was not taken, in the order of trial."""

    def __str__(self) -> str:
        """One line for the log."""
        listed = "; ".join(f"{name}: {reason}" for name, reason in self.others.items())
        return f"kernel backend {self.backend.name}" + (f" ({listed})" if listed else "")


class BackendRegistry:
    """The kernel backends that this daemon could use."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def register(self, name: str, factory: BackendFactory, *, auto_rank: int | None = None) -> None:
        """Add a backend.

        Args:
            name: as in the setting ``kernel.backend``.
            factory: makes the backend; must not do anything that costs time.
            auto_rank: position among the candidates of ``auto`` (xfrm 10, userspace 20); None
                for a backend that is only taken by name.

        Raises:
            ValueError: the name is taken, or reserved.
        """
        if name == AUTO or not name:
            raise ValueError(f"{name!r} cannot be the name of a kernel backend: it is reserved")
        if name in self._entries:
            raise ValueError(f"kernel backend {name!r} is registered already")
        self._entries[name] = _Entry(factory, auto_rank)

    def unregister(self, name: str) -> None:
        """Remove a backend; one that is in use stays in use."""
        self._entries.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all backends, candidates of ``auto`` first, in the order of trial."""
        candidates = [name for name, entry in self._entries.items() if entry.auto_rank is not None]
        candidates.sort(key=self._rank)
        return (*candidates, *(name for name in self._entries if name not in candidates))

    def select(self, name: str, context: BackendContext) -> BackendSelection:
        """Make and probe the backend ``name``, or with ``auto`` the candidates one by one.

        Raises:
            NoKernelBackend: none works; it has the reason of each.
        """
        if name != AUTO and name not in self._entries:
            known = ", ".join((AUTO, *self.names))
            raise NoKernelBackend({name: f"there is no such backend; choose one of: {known}"})
        candidates = [name] if name != AUTO else [n for n in self.names if self._is_candidate(n)]
        reasons: dict[str, str] = {}
        for candidate in candidates:
            try:
                backend = self._entries[candidate].factory(context)
                backend.probe()
            except KernelUnavailable as reason:
                reasons[candidate] = str(reason)
            except Exception as error:  # noqa: BLE001 - a plugin's backend may raise anything
                reasons[candidate] = f"cannot be loaded: {type(error).__name__}: {error}"
            else:
                return BackendSelection(
                    backend, reasons | self._not_tried(candidate, reasons, name)
                )
        raise NoKernelBackend(reasons)

    def _not_tried(self, taken: str, reasons: Mapping[str, str], wish: str) -> dict[str, str]:
        others = [name for name in self.names if name != taken and name not in reasons]
        if wish != AUTO:
            return dict.fromkeys(others, f"not tried, {taken} is configured")
        return {
            name: f"not tried, {taken} works" if self._is_candidate(name) else "only taken by name"
            for name in others
        }

    def _is_candidate(self, name: str) -> bool:
        return self._entries[name].auto_rank is not None

    def _rank(self, name: str) -> int:
        return self._entries[name].auto_rank or 0
