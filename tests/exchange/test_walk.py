"""A random walk over exchanges and faults: whatever happens, both sides agree in the end."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from charon_core.config.child import Action
from charon_core.config.peer import UniquePolicy
from charon_core.sa.parameters import IkeParameters
from tests.exchange.test_uniqueness import initiate_anew
from tests.exchange.world import Host, World, child, connection, share_secret

#: More of both finds more; the suite takes what seconds allow, and the same each time.
EXAMPLES = int(os.environ.get("CHARON_WALKS", "40"))
STEPS = int(os.environ.get("CHARON_STEPS", "40"))

HOSTS = st.sampled_from(["moon", "sun"])
MOON, SUN = ("10.1.0.0/16",), ("10.2.0.0/16",)


class Walk(RuleBasedStateMachine):
    """Two daemons, what users do to them, and what a network does to their datagrams."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(parameters=IkeParameters(make_before_break=True))
        share_secret(self.world.moon)
        share_secret(self.world.sun)
        for host, local, remote in ((self.world.moon, MOON, SUN), (self.world.sun, SUN, MOON)):
            connection(
                self.world,
                host,
                unique=UniquePolicy.REPLACE,
                dpd_delay=40,
                rekey_time=1700,
                over_time=600,
                jitter_time=100,
                children=(
                    child(
                        local=local,
                        remote=remote,
                        rekey_time=700,
                        life_time=1200,
                        jitter_time=100,
                        dpd_action=Action.NONE,
                    ),
                ),
            )

    def host(self, name: str) -> Host:
        return getattr(self.world, name)

    def each(self, name: str, action: str, which: int) -> None:
        """Do something to one of the IKE_SAs, or to a CHILD_SA of it."""
        host = self.host(name)
        numbers = host.manager.numbers()
        if not numbers:
            return
        number = numbers[which % len(numbers)]
        with host.manager.working_on(host.manager.checkout_by_number(number)) as ike:
            if action == "rekey":
                ike.rekey()
            elif action == "reauthenticate" and ike.state.is_up:
                ike.reauthenticate()
            elif action == "delete":
                ike.delete()
            elif ike.children:
                target = ike.children[which % len(ike.children)]
                if action == "rekey child":
                    ike.rekey_child(target)
                elif action == "delete child":
                    ike.delete_child(target)
        host.do_jobs()

    # -- what users do --

    @rule(name=HOSTS)
    def initiate(self, name: str) -> None:
        host = self.host(name)
        if len(host.manager) < 4:
            initiate_anew(host, host.connections.get("net"))

    @rule(name=HOSTS, which=st.integers(0, 3))
    def rekey_ike(self, name: str, which: int) -> None:
        self.each(name, "rekey", which)

    @rule(name=HOSTS, which=st.integers(0, 3))
    def rekey_child(self, name: str, which: int) -> None:
        self.each(name, "rekey child", which)

    @rule(name=HOSTS, which=st.integers(0, 3))
    def reauthenticate(self, name: str, which: int) -> None:
        self.each(name, "reauthenticate", which)

    @rule(name=HOSTS, which=st.integers(0, 3))
    def delete_child(self, name: str, which: int) -> None:
        self.each(name, "delete child", which)

    @rule(name=HOSTS, which=st.integers(0, 3))
    def delete_ike(self, name: str, which: int) -> None:
        self.each(name, "delete", which)

    # -- what the network does --

    @rule(which=st.integers(0, 7))
    def deliver(self, which: int) -> None:
        flying = self.world.in_flight
        if flying:
            self.world.deliver(flying.pop(which % len(flying)))

    @rule()
    def deliver_all(self) -> None:
        self.world.run()

    @rule(which=st.integers(0, 7))
    def lose(self, which: int) -> None:
        flying = self.world.in_flight
        if flying:
            flying.pop(which % len(flying))

    @rule(which=st.integers(0, 7))
    def repeat(self, which: int) -> None:
        flying = self.world.in_flight
        if flying:
            flying.append(flying[which % len(flying)])

    @rule(which=st.integers(0, 7), octet=st.integers(0, 2000), bits=st.integers(1, 255))
    def corrupt(self, which: int, octet: int, bits: int) -> None:
        flying = self.world.in_flight
        if flying:
            packet = flying[which % len(flying)]
            data = bytearray(packet.data)
            data[octet % len(data)] ^= bits
            from dataclasses import replace

            flying[which % len(flying)] = replace(packet, data=bytes(data))

    @rule(seconds=st.sampled_from([0.5, 3.0, 8.0, 30.0]), deliver=st.booleans())
    def wait(self, seconds: float, deliver: bool) -> None:
        self.world.elapse(seconds, deliver=deliver, keep=not deliver)

    # -- what must hold --

    @invariant()
    def selectors_never_widen(self) -> None:
        for host in (self.world.moon, self.world.sun):
            for policy in host.backend.policies.values():
                ends = {str(policy.source), str(policy.destination)}
                assert ends == {*MOON, *SUN}

    def teardown(self) -> None:
        """Let everything come to rest: no more losses, and time for all that is due."""
        world = self.world
        world.run()
        world.elapse(800)
        world.run()
        moon, sun = world.moon, world.sun
        ours, theirs = (
            {
                (sa.initiator_spi, sa.responder_spi): {
                    frozenset((c.spi_in, c.spi_out)) for c in sa.children
                }
                for sa in host.sas
            }
            for host in (moon, sun)
        )
        assert ours == theirs, "both sides have the same SAs"
        assert len(ours) <= 1, "and one IKE_SA a peer"
        for host in (moon, sun):
            assert set(host.states) <= {"ESTABLISHED"}
            number = len(host.children)
            assert len(host.backend.states) - 2 * number in {0, 1, 2}, "what lingers, at most"
            assert not host.backend.reserved
            assert host.manager.count() == 0
        world.elapse(6)
        for host in (moon, sun):
            for number in host.manager.numbers():
                with host.manager.working_on(host.manager.checkout_by_number(number)) as ike:
                    ike.delete()
            world.run()
        world.elapse(400)
        world.assert_nothing_left()
        assert len(moon.kernel._reqids) == len(sun.kernel._reqids) == 0
        assert len(moon.env.peers) == len(sun.env.peers) == 0


def test_random_walk() -> None:
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
