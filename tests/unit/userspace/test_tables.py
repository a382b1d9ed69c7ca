from __future__ import annotations

import pytest

from charon_core.kernel.interface import (
    Encapsulation,
    IpsecProtocol,
    PolicyAction,
    PolicyDirection,
    SaExists,
    SaId,
    SaNotFound,
)
from charon_core.kernel.userspace.acquires import INTERVAL, REQIDS_LIMIT, Acquires
from charon_core.kernel.userspace.association import InboundSa, OutboundSa
from charon_core.kernel.userspace.settings import UserspaceOptions
from charon_core.kernel.userspace.spis import SpiAllocator
from charon_core.kernel.userspace.tables import Tables
from charon_core.network.packet import Endpoint
from tests.unit.userspace.factories import (
    HERE,
    LOCAL,
    PEER,
    REMOTE,
    SPI,
    THERE,
    Recorder,
    ip,
    network,
    policy_spec,
    sa_spec,
    tcp,
    udp,
)

OTHER = SaId(HERE, "192.0.2.9", IpsecProtocol.ESP, SPI)


def test_an_sa_exists_once() -> None:
    tables = Tables(1400)
    for inbound in (True, False):
        tables.add_sa(sa_spec(inbound=inbound))
        with pytest.raises(SaExists):
            tables.add_sa(sa_spec(inbound=inbound))
    tables.add_sa(sa_spec(id=OTHER))
    with pytest.raises(SaExists):
        tables.add_sa(sa_spec(inbound=True, id=OTHER))
    assert len(tables.associations()) == 3


@pytest.mark.parametrize("inbound", [True, False])
def test_what_is_not_there_is_not_found(inbound: bool) -> None:
    tables = Tables(1400)
    spec = sa_spec(inbound=inbound)
    missing = spec.id._replace(spi=SPI + 1)
    tables.add_sa(spec)
    for call in (
        lambda: tables.find_sa(missing, "query"),
        lambda: tables.remove_sa(missing),
        lambda: tables.move_sa(missing, HERE, THERE, None),
        lambda: tables.remove_sa(spec.id._replace(destination="192.0.2.77")),
    ):
        with pytest.raises(SaNotFound):
            call()
    assert tables.find_sa(spec.id, "query").spec == spec
    tables.remove_sa(spec.id)
    assert tables.associations() == []


@pytest.mark.parametrize("inbound", [True, False])
def test_a_moved_sa_keeps_its_state(inbound: bool) -> None:
    tables = Tables(1400)
    sa = tables.add_sa(sa_spec(inbound=inbound))
    sa.account(3, 300, 5.0)
    new = SaId("198.51.100.1", "198.51.100.2", IpsecProtocol.ESP, SPI)
    tables.move_sa(sa.spec.id, new.source, new.destination, Encapsulation(1, 2))
    assert tables.find_sa(new, "query") is sa
    assert sa.usage == (300, 3, 5.0)
    assert (sa.source, sa.destination) == (Endpoint(new.source, 1), Endpoint(new.destination, 2))
    with pytest.raises(SaNotFound):
        tables.find_sa(sa_spec().id, "query")
    tables.remove_sa(new)
    assert tables.associations() == []


def test_an_sa_does_not_move_onto_another() -> None:
    tables = Tables(1400)
    tables.add_sa(sa_spec())
    tables.add_sa(sa_spec(id=OTHER))
    with pytest.raises(SaExists):
        tables.move_sa(sa_spec().id, HERE, OTHER.destination, None)
    assert tables.find_sa(sa_spec().id, "query").destination.host == THERE


def test_policies_are_replaced_and_removed_by_selectors() -> None:
    tables = Tables(1400)
    first = policy_spec(reqid=1)
    assert tables.add_policy(first) is None
    assert tables.add_policy(policy_spec(reqid=2)) == first
    assert tables.policies() == [policy_spec(reqid=2)]
    assert tables.remove_policy(first) == policy_spec(reqid=2)
    with pytest.raises(SaNotFound):
        tables.remove_policy(first)
    with pytest.raises(SaNotFound):
        tables.policy_use(first)


def test_inbound_policies_are_used_when_their_sas_are() -> None:
    tables = Tables(1400)
    inward = policy_spec("10.2.0.0/16", "10.1.0.0/16", direction=PolicyDirection.IN)
    tables.add_policy(inward)
    assert tables.policy_use(inward) is None
    sa = tables.add_sa(sa_spec(inbound=True))
    assert tables.policy_use(inward) is None
    sa.account(1, 100, 42.0)
    assert tables.policy_use(inward) == 42.0


def test_an_inbound_policy_does_not_lead_packets_out() -> None:
    tables = Tables(1400)
    tables.add_policy(policy_spec(direction=PolicyDirection.IN))
    assert tables.verdict(b"", udp()).reason == "drop_no_policy"


def test_every_change_forgets_the_verdicts() -> None:
    tables = Tables(1400)
    spec = policy_spec()
    steps = [
        lambda: tables.add_policy(spec),
        lambda: tables.add_sa(sa_spec()),
        lambda: tables.remove_sa(sa_spec().id),
        lambda: tables.add_policy(policy_spec(action=PolicyAction.DROP)),
        lambda: tables.remove_policy(spec),
    ]
    reasons = []
    for step in steps:
        tables.verdict(b"flow", udp())
        assert b"flow" in tables.flows
        step()
        assert tables.flows == {}
        verdict = tables.verdict(b"flow", udp())
        reasons.append("" if verdict.sa else verdict.reason)
    assert reasons == ["drop_no_sa", "", "drop_no_sa", "drop_policy", "drop_no_policy"]


def test_a_verdict_that_was_overtaken_is_not_kept() -> None:
    tables = Tables(1400)
    tables.add_policy(policy_spec())
    before = tables.flows
    tables.add_sa(sa_spec())
    before[b"flow"] = tables.verdict(b"", udp())
    assert tables.flows == {}


# -- limits --


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"soft_packets": 2}, ["", "soft", "", "", ""]),
        ({"hard_packets": 3}, ["", "", "hard", "", ""]),
        ({"soft_packets": 2, "hard_packets": 4}, ["", "soft", "", "hard", ""]),
        ({"soft_bytes": 250, "hard_bytes": 450}, ["", "", "soft", "", "hard"]),
        ({"soft_packets": 1, "hard_bytes": 250}, ["soft", "", "hard", "", ""]),
        ({"soft_bytes": 100, "soft_packets": 3}, ["soft", "", "", "", ""]),
        ({"hard_packets": 2, "soft_packets": 9}, ["", "hard", "", "", ""]),
        ({}, [""] * 5),
    ],
)
def test_limits_are_reached_once(limits: dict[str, int], expected: list[str]) -> None:
    sa = OutboundSa(sa_spec(**limits), 1400)
    assert [sa.reached() if sa.account(1, 100, 0) else "" for _ in range(5)] == expected


def test_sequence_numbers_that_run_out_ask_for_rekeying_before() -> None:
    sa = OutboundSa(sa_spec(), 1400)
    assert not sa.account(0xE0000000, 0, 0)
    assert sa.account(0x10000000, 0, 0)
    assert sa.reached() == "soft"
    assert not OutboundSa(sa_spec(esn=True), 1400).account(1 << 40, 0, 0)
    assert not InboundSa(sa_spec(inbound=True)).account(1 << 33, 0, 0)


# -- acquires --


def test_one_acquire_a_second_and_reqid() -> None:
    events, now = Recorder(), [0.0]
    acquires = Acquires(events.acquire, lambda: now[0])
    packet = tcp(b"", ports=(1, 2))
    assert [acquires.packet(reqid, packet) for reqid in (1, 1, 2, 1)] == [True, False, True, False]
    now[0] = INTERVAL
    assert acquires.packet(1, packet)
    assert not acquires.packet(1, packet)
    acquires.forget(1)
    assert acquires.packet(1, packet)
    assert len(events.events) == 4


def test_an_acquire_names_the_flow() -> None:
    events = Recorder()
    acquires = Acquires(events.acquire)
    acquires.packet(1, tcp(b"", ports=(1, 2)))
    acquires.packet(2, ip(LOCAL, REMOTE, 47, b"gre"))
    acquires.packet(3, udp(source="fd01::1", destination="fd02::1"))
    assert not acquires.packet(4, b"garbage")
    assert events.events == [
        ("acquire", 1, network(LOCAL, protocol=6, ports=(1, 1)),
         network(REMOTE, protocol=6, ports=(2, 2))),
        ("acquire", 2, network(LOCAL, protocol=47), network(REMOTE, protocol=47)),
        ("acquire", 3, network("fd01::1", protocol=17, ports=(5000, 5000)),
         network("fd02::1", protocol=17, ports=(53, 53))),
    ]  # fmt: skip


def test_acquires_do_not_fill_the_memory() -> None:
    acquires = Acquires(Recorder().acquire)
    for reqid in range(1, REQIDS_LIMIT + 5):
        acquires.packet(reqid, udp())
    assert len(acquires._last) <= REQIDS_LIMIT


# -- SPIs --


class Dice:
    """Random numbers that are given."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def bytes(self, n: int) -> bytes:
        number = self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]
        return number.to_bytes(n, "big")


def test_an_spi_is_given_once_until_it_is_released() -> None:
    spis = SpiAllocator(Dice(5, 5, 6, 7), 0xC0000000, 0xC00000FF)
    assert spis.allocate(()) == 0xC0000005
    assert spis.allocate({0xC0000006}) == 0xC0000007
    assert spis.allocate(()) is None
    assert spis.release(0xC0000007)
    assert not spis.release(0xC0000007)
    assert spis.allocate(()) == 0xC0000007
    spis.clear()
    assert spis.allocate(()) == 0xC0000007


# -- settings --


def test_options_take_what_they_know() -> None:
    options = UserspaceOptions.of({"device": "tun9", "mtu": 1300, "colour": "red"})
    assert (options.device, options.mtu, options.offloads) == ("tun9", 1300, True)


@pytest.mark.parametrize(
    "values",
    [
        {"device": ""},
        {"device": "a" * 16},
        {"device": "a/b"},
        {"mtu": 100},
        {"mtu": 70000},
    ],
)
def test_options_that_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        UserspaceOptions.of(values)


def test_an_endpoint_without_encapsulation_has_no_port() -> None:
    sa = OutboundSa(sa_spec(encapsulation=None), 1400)
    assert not sa.encapsulated
    assert sa.source == PEER._replace(port=0)
