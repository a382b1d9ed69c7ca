"""Shunts: what passes without IPsec, and what is dropped (RFC 4301 4.4.1: BYPASS, DISCARD)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.child import UNIQUE_MARKS, ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import KernelError, PolicyAction
from charon_core.sa.policy_specs import exempting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.bus.bus import Bus
    from charon_core.config.child import ChildConfig
    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.manager import KernelInterface

_ACTIONS: Final = {ChildMode.PASS: PolicyAction.PASS, ChildMode.DROP: PolicyAction.DROP}
_ANYWHERE: Final = (TrafficSelector.any_of(4), TrafficSelector.any_of(6))


@dataclass(frozen=True, slots=True)
class Shunt:
    """An installed shunt.

    Attributes:
        name: Of its configuration.
        mode: PASS or DROP.
        local_ts: Our side, as installed.
        remote_ts: The other side.
    """

    name: str
    mode: ChildMode
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]


class ShuntManager:
    """Installs and removes shunts, each known by the name of its configuration. Thread-safe."""

    def __init__(self, kernel: KernelInterface, bus: Bus) -> None:
        self._kernel = kernel
        self._bus = bus
        # Guards the table, and keeps the order of changes in the kernel that of the commands.
        self._lock = threading.Lock()
        self._installed: dict[str, tuple[ChildConfig, Shunt, tuple[PolicySpec, ...]]] = {}

    def install(self, config: ChildConfig) -> bool:
        """Install a shunt, in the place of one that has its name; False if that did not work.

        Raises:
            ValueError: The mode is that of a CHILD_SA.
        """
        action = _ACTIONS.get(config.mode)
        if action is None:
            raise ValueError(f"'{config.name}' is no shunt: its mode is {config.mode.value}")
        if UNIQUE_MARKS.intersection(
            mark.value for mark in (config.mark_in, config.mark_out) if mark is not None
        ):
            self._say("a shunt needs fixed marks or none, '%s' has unique ones", config.name)
            return False
        shunt = Shunt(
            config.name, config.mode, _resolved(config.local_ts), _resolved(config.remote_ts)
        )
        wanted = tuple(
            exempting(
                action,
                shunt.local_ts,
                shunt.remote_ts,
                mark_in=config.mark_in,
                mark_out=config.mark_out,
            )
        )
        if not wanted:
            self._say(
                "shunt '%s' is for no packet: its selectors are not of one family", config.name
            )
            return False
        with self._lock:
            before = self._installed.get(config.name)
            if before is not None and before[0] == config:
                return True
            if not self._add(config.name, wanted):
                return False
            self._installed[config.name] = config, shunt, wanted
            if before is not None:
                # The new ones are there already: nothing leaves unguarded meanwhile.
                self._remove(config.name, before[2])
        self._say("shunt '%s' installed: %s", config.name, config.mode.value)
        return True

    def uninstall(self, name: str) -> bool:
        """Remove the shunt of that name; False if there is none."""
        with self._lock:
            found = self._installed.pop(name, None)
            if found is not None:
                self._remove(name, found[2])
        return found is not None

    def all(self) -> list[Shunt]:
        """Return what is installed, in the order of installation."""
        with self._lock:
            return [shunt for _, shunt, _ in self._installed.values()]

    def _add(self, name: str, policies: Sequence[PolicySpec]) -> bool:
        done: list[PolicySpec] = []
        try:
            for policy in policies:
                self._kernel.add_policy(policy)
                done.append(policy)
        except KernelError as error:
            self._remove(name, done)
            self._say("installing shunt '%s' failed: %s", name, error)
            return False
        return True

    def _remove(self, name: str, policies: Sequence[PolicySpec]) -> None:
        for policy in policies:
            try:
                self._kernel.delete_policy(policy)
            except KernelError as error:
                self._say("removing shunt '%s': %s", name, error)

    def _say(self, message: str, *args: object) -> None:
        self._bus.log(Group.CHD, Level.CONTROL, message, *args)


def _resolved(selectors: Sequence[TrafficSelector]) -> tuple[TrafficSelector, ...]:
    """A shunt has no IKE_SA whose addresses it could have: what is dynamic is anywhere."""
    found: list[TrafficSelector] = []
    for selector in selectors or (TrafficSelector.dynamic_of(),):
        if not selector.dynamic:
            found.append(selector)
            continue
        found += (
            TrafficSelector(
                anywhere.family,
                selector.protocol,
                selector.start_port,
                selector.end_port,
                anywhere.start,
                anywhere.end,
            )
            for anywhere in _ANYWHERE
        )
    return tuple(found)
