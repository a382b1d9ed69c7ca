"""The kernel interface over two backends."""

from __future__ import annotations

from typing import Any

import pytest

from charon_core.kernel.interface import (
    IpsecProtocol,
    KernelError,
    KernelEvents,
    KernelUnavailable,
    PolicySpec,
    SaExists,
    SaSpec,
)
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.static_net import StaticNet
from charon_core.network.packet import Endpoint
from tests.unit.kernel.factories import HERE, THERE, Recorder, gcm_sa, policy, sa_id, template, ts


class Kernel:
    """A kernel interface with everything that a test looks at."""

    def __init__(self, ipsec: NullBackend | None = None, net: StaticNet | None = None) -> None:
        self.ipsec = ipsec or NullBackend()
        self.net = net or StaticNet({HERE: "eth0"})
        self.lines: list[str] = []
        self.interface = KernelInterface(
            self.ipsec, self.net, lambda level, message, *args: self.lines.append(message % args)
        )


@pytest.fixture
def kernel() -> Kernel:
    started = Kernel()
    started.interface.start()
    return started


def test_events_of_both_backends_reach_every_listener(kernel: Kernel) -> None:
    first, second = Recorder(), Recorder()
    kernel.interface.add_listener(first)
    kernel.interface.add_listener(second)
    kernel.interface.add_sa(gcm_sa())
    kernel.ipsec.inject_expire(sa_id(), hard=False)
    kernel.ipsec.inject_acquire(7, ts("10.1.0.1"), ts("10.2.0.1"))
    kernel.ipsec.inject_mapping(7, 0xC1234567, Endpoint(THERE, 4500), Endpoint(THERE, 1025))
    kernel.net.inject_roam(address_change=False)
    expected: list[tuple[Any, ...]] = [
        ("expire", IpsecProtocol.ESP, 0xC1234567, HERE, False),
        ("acquire", 7, ts("10.1.0.1"), ts("10.2.0.1")),
        ("mapping", 7, 0xC1234567, Endpoint(THERE, 4500), Endpoint(THERE, 1025)),
        ("roam", False),
    ]
    assert first.seen == second.seen == expected
    kernel.interface.remove_listener(first)
    kernel.net.inject_roam()
    assert len(first.seen) == 4
    assert second.seen[-1] == ("roam", True)


def test_raising_listener_does_not_silence_the_others(kernel: Kernel) -> None:
    class Broken(Recorder):
        def roam(self, address_change: bool) -> None:
            raise RuntimeError("no")

    broken, sound = Broken(), Recorder()
    assert isinstance(sound, KernelEvents)
    kernel.interface.add_listener(broken)
    kernel.interface.add_listener(sound)
    kernel.net.inject_roam()
    assert sound.seen == [("roam", True)]
    assert kernel.lines == ["listener Broken failed on kernel event roam: RuntimeError: no"]


def test_install_is_all_or_nothing(kernel: Kernel) -> None:
    class Full(NullBackend):
        def add_policy(self, spec: PolicySpec) -> None:
            if len(self.policies) == 1:
                raise KernelError("add policy", "No buffer space available")
            super().add_policy(spec)

    full = Kernel(Full())
    spi = full.interface.allocate_spi(THERE, HERE, IpsecProtocol.ESP)
    sas = [gcm_sa(spi), gcm_sa(id=sa_id(0xC0000009, HERE, THERE), inbound=False)]
    with pytest.raises(KernelError, match="No buffer space"):
        full.interface.install(sas, [policy(), policy("10.3.0.0/16")])
    assert full.ipsec.is_empty
    kernel.interface.install(sas, [policy(), policy("10.3.0.0/16")])
    assert (len(kernel.ipsec.states), len(kernel.ipsec.policies)) == (2, 2)


def test_failed_sa_takes_back_the_one_before(kernel: Kernel) -> None:
    with pytest.raises(SaExists):
        kernel.interface.install([gcm_sa(), gcm_sa()], [policy()])
    assert kernel.ipsec.is_empty


def test_failure_of_taking_back_is_reported_and_the_first_error_kept() -> None:
    class Stuck(NullBackend):
        def add_sa(self, spec: SaSpec) -> None:
            if self.states:
                raise KernelError("add SA", "first")
            super().add_sa(spec)

        def delete_sa(self, sa: Any) -> None:
            raise KernelError("delete SA", "second")

    stuck = Kernel(Stuck())
    with pytest.raises(KernelError, match="first"):
        stuck.interface.install([gcm_sa(), gcm_sa(0xC0000001)], [])
    assert stuck.lines == ["taking back a failed installation: delete SA: second"]


def test_policies_are_counted(kernel: Kernel) -> None:
    kernel.interface.add_policy(policy())
    kernel.interface.add_policy(policy())
    kernel.interface.delete_policy(policy())
    assert len(kernel.ipsec.policies) == 1
    (installed,) = kernel.ipsec.policies.values()
    kernel.ipsec.inject_policy_use(installed, 12.5)
    assert kernel.interface.query_policy(policy()) == 12.5


def test_reqids(kernel: Kernel) -> None:
    interface = kernel.interface
    reqid = interface.acquire_reqid([ts("10.1.0.0/16")], [ts("10.2.0.0/16")])
    assert interface.acquire_reqid([ts("10.1.0.0/16")], [ts("10.2.0.0/16")]) == reqid
    interface.hold_reqid(reqid)
    for _ in range(3):
        interface.release_reqid(reqid)
    with pytest.raises(KeyError):
        interface.release_reqid(reqid)
    assert interface.acquire_reqid([], [], fixed=9) == 9


def test_moving_and_counting(kernel: Kernel) -> None:
    interface = kernel.interface
    interface.add_sa(gcm_sa())
    kernel.ipsec.inject_traffic(sa_id(), 100, 2, now=5.0)
    interface.update_sa(sa_id(), THERE, "192.0.2.9", None)
    assert interface.query_sa(sa_id(destination="192.0.2.9")) == (100, 2, 5.0)
    interface.delete_sa(sa_id(destination="192.0.2.9"))
    assert kernel.ipsec.is_empty


def test_sockets_are_handed_on(kernel: Kernel) -> None:
    kernel.interface.bypass_socket(5, 2)
    kernel.interface.enable_udp_encapsulation(6, 2)
    assert (kernel.ipsec.bypassed, kernel.ipsec.encapsulating) == ([5], [6])
    assert kernel.interface.features == NullBackend.features


def test_stop_leaves_nothing(kernel: Kernel) -> None:
    kernel.interface.install([gcm_sa()], [policy(template=template(3))])
    kernel.interface.stop()
    assert kernel.ipsec.is_empty
    with pytest.raises(RuntimeError, match="not started"):
        kernel.net.inject_roam()
    with pytest.raises(RuntimeError, match="not started"):
        kernel.ipsec.inject_acquire(1)


def test_stop_goes_on_when_flushing_fails() -> None:
    class Stuck(NullBackend):
        def flush(self) -> None:
            raise KernelError("flush", "Operation not permitted")

    stuck = Kernel(Stuck())
    stuck.interface.start()
    stuck.interface.stop()
    assert stuck.lines == ["flushing the kernel failed: flush: Operation not permitted"]
    with pytest.raises(RuntimeError):
        stuck.net.inject_roam()


def test_start_that_fails_half_way_stops_the_other_half() -> None:
    class Deaf(StaticNet):
        def start(self, events: KernelEvents) -> None:
            raise KernelUnavailable("no rtnetlink")

    half = Kernel(net=Deaf())
    with pytest.raises(KernelUnavailable):
        half.interface.start()
    with pytest.raises(RuntimeError, match="not started"):
        half.ipsec.inject_acquire(1)
