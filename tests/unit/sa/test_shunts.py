"""Shunts: what they install, and that they leave nothing."""

from __future__ import annotations

from typing import Any

import pytest

from charon_core.bus.bus import Bus
from charon_core.config.child import MARK_UNIQUE, ChildConfig, ChildMode, Mark
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.kernel.interface import KernelError, PolicyAction, PolicyDirection
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.sa.shunts import ShuntManager


class Bench:
    def __init__(self) -> None:
        self.backend = NullBackend()
        net: Any = None
        self.shunts = ShuntManager(KernelInterface(self.backend, net), Bus())

    @property
    def installed(self) -> set[tuple[str, str]]:
        return {(str(policy), policy.action.value) for policy in self.backend.policies.values()}


def config(
    mode: ChildMode = ChildMode.PASS,
    local: tuple[str, ...] = ("10.1.0.0/16",),
    remote: tuple[str, ...] = ("10.2.0.0/16",),
    **more: Any,
) -> ChildConfig:
    return ChildConfig(
        name="shunt",
        mode=mode,
        local_ts=tuple(map(TrafficSelector.parse, local)),
        remote_ts=tuple(map(TrafficSelector.parse, remote)),
        **more,
    )


@pytest.mark.parametrize("mode", [ChildMode.PASS, ChildMode.DROP])
def test_a_shunt_has_policies_of_all_directions(mode: ChildMode) -> None:
    bench = Bench()
    assert bench.shunts.install(config(mode))
    action = mode.value.lower()
    assert bench.installed == {
        ("10.1.0.0/16 === 10.2.0.0/16 out", action),
        ("10.2.0.0/16 === 10.1.0.0/16 in", action),
        ("10.2.0.0/16 === 10.1.0.0/16 fwd", action),
    }
    assert all(policy.strength < 200_000 for policy in bench.backend.policies.values())
    (shunt,) = bench.shunts.all()
    assert (shunt.name, shunt.mode) == ("shunt", mode)
    assert bench.shunts.uninstall("shunt")
    assert not bench.shunts.uninstall("shunt")
    assert bench.backend.is_empty
    assert bench.shunts.all() == []


def test_protocols_ports_and_families() -> None:
    bench = Bench()
    assert bench.shunts.install(
        config(local=("10.1.0.0/16[tcp/22]", "fd01::/16"), remote=("10.2.0.0/16[tcp]", "fd02::/16"))
    )
    assert len(bench.installed) == 6
    assert ("10.1.0.0/16[tcp/ssh] === 10.2.0.0/16[tcp] out", "pass") in bench.installed


def test_what_is_dynamic_is_anywhere() -> None:
    bench = Bench()
    assert bench.shunts.install(config(ChildMode.DROP, local=(), remote=("%dynamic[tcp/25]",)))
    assert ("0.0.0.0/0 === 0.0.0.0/0[tcp/smtp] out", "drop") in bench.installed
    assert ("::/0 === ::/0[tcp/smtp] out", "drop") in bench.installed


def test_installing_again_replaces() -> None:
    bench = Bench()
    assert bench.shunts.install(config())
    assert bench.shunts.install(config())
    assert bench.shunts.install(config(ChildMode.DROP))
    assert {action for _, action in bench.installed} == {PolicyAction.DROP.value}
    assert len(bench.shunts.all()) == 1
    bench.shunts.uninstall("shunt")
    assert bench.backend.is_empty


def test_what_cannot_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    assert not bench.shunts.install(config(local=("fd01::/16",)))
    assert not bench.shunts.install(config(mark_in=Mark(MARK_UNIQUE)))
    with pytest.raises(ValueError, match="TUNNEL"):
        bench.shunts.install(config(ChildMode.TUNNEL))
    add = bench.backend.add_policy

    def refuse(spec: Any) -> None:
        if spec.direction is PolicyDirection.FORWARD:
            raise KernelError("add policy", "no")
        add(spec)

    monkeypatch.setattr(bench.backend, "add_policy", refuse)
    assert not bench.shunts.install(config())
    assert bench.backend.is_empty
    assert bench.shunts.all() == []
