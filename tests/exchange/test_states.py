"""The right message in the wrong state: each pair ends in the legal transition or changes nothing.

Messages are sealed with the true keys of the other side, so that only the state machine can
refuse them (hardening class 3).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.encoding.message import Message, seal_message
from charon_core.encoding.payloads import (
    Delete,
    Eap,
    Nonce,
    Notify,
    SecurityAssociation,
    Unknown,
)
from charon_core.encoding.registry import ExchangeType, NotifyType, ProtocolId
from charon_core.network.packet import Packet
from tests.exchange.world import Host, World, establish, tunnel

EXCHANGES = [*(int(e) for e in ExchangeType), 0, 99, 240]


def only(host: Host):
    (entry,) = host.manager._by_spi.values()
    return entry.ike


def message_of(host: Host, exchange: int, message_id: int, *payloads, response: bool = False):
    """Return a message that `host` could send in its IKE_SA."""
    ike = only(host)
    return Message(
        ike.initiator_spi,
        ike.responder_spi,
        exchange,
        ike.is_initiator,
        response,
        message_id,
        tuple(payloads),
    )


def inject(world: World, host: Host, message: Message, *, plain: bool = False) -> None:
    """Deliver a message of `host` to the other side, sealed with its keys unless told."""
    ike = only(host)
    data = message.encode() if plain else seal_message(message, ike.keying.outbound)
    world.deliver(Packet(ike.local, ike.remote, data))


def connecting() -> World:
    """Return a world in which both have keys, and nobody is authenticated."""
    world = World()
    world.moon.initiate(tunnel(world))
    world.step()
    world.step()
    world.in_flight.clear()
    return world


def established() -> World:
    world = World()
    establish(world)
    return world


@pytest.mark.parametrize("exchange", [e for e in EXCHANGES if e != ExchangeType.IKE_AUTH])
@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize("message_id", [0, 1, 2, 2**32 - 1])
def test_nothing_but_ike_auth_is_heard_before_authentication(
    exchange: int, response: bool, message_id: int
) -> None:
    world = connecting()
    message = message_of(
        world.moon,
        exchange,
        message_id,
        Delete(protocol=ProtocolId.IKE, spis=()),
        response=response,
    )
    inject(world, world.moon, message)
    assert world.sun.states == ["CONNECTING"]
    assert world.in_flight == []


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("message_id", [0, 1, 2, 3, 1000])
def test_a_response_that_nobody_asked_for_is_ignored(exchange: int, message_id: int) -> None:
    world = established()
    message = message_of(
        world.moon, exchange, message_id, Notify.of(NotifyType.AUTHENTICATION_FAILED), response=True
    )
    inject(world, world.moon, message)
    assert world.sun.states == ["ESTABLISHED"]
    assert world.in_flight == []


@pytest.mark.parametrize("message_id", [0, 1, 3, 4, 2**31])
def test_a_request_with_the_wrong_message_id_is_ignored(message_id: int) -> None:
    world = established()
    delete = Delete(protocol=ProtocolId.IKE, spis=())
    inject(
        world, world.moon, message_of(world.moon, ExchangeType.INFORMATIONAL, message_id, delete)
    )
    assert world.sun.states == ["ESTABLISHED"]
    assert world.in_flight == []


def test_second_ike_auth_after_it_is_established_is_ignored() -> None:
    world = established()
    inject(world, world.moon, message_of(world.moon, ExchangeType.IKE_AUTH, 2))
    assert world.sun.states == ["ESTABLISHED"]
    assert world.in_flight == []


def test_early_eap_success_is_no_way_in() -> None:
    """CVE-2021-45079: a client that takes EAP-Success for an authentication."""
    world = World()
    outcome: list[bool] = []
    world.moon.initiate(tunnel(world), outcome=outcome)
    world.step()
    world.step()
    world.in_flight.clear()
    success = Eap(bytes.fromhex("03010004"))
    message = message_of(world.sun, ExchangeType.IKE_AUTH, 1, success, response=True)
    inject(world, world.sun, message)
    assert outcome == [False]
    assert world.moon.states == []
    assert not world.moon.backend.states


def test_several_deletes_in_one_message() -> None:
    world = established()
    spi = world.moon.sas[0].children[0].spi_in.to_bytes(4, "big")
    twice = Delete(protocol=ProtocolId.ESP, spis=(spi, spi))
    inject(
        world,
        world.moon,
        message_of(world.moon, ExchangeType.INFORMATIONAL, 2, twice, twice),
    )
    assert world.sun.states == ["ESTABLISHED"]
    assert not world.sun.backend.states


@pytest.mark.parametrize("spi", [bytes(4), b"\xff" * 4, b"\x00\x00\x00\x01"])
def test_delete_of_a_child_that_is_not_there(spi: bytes) -> None:
    world = established()
    delete = Delete(protocol=ProtocolId.ESP, spis=(spi,))
    inject(world, world.moon, message_of(world.moon, ExchangeType.INFORMATIONAL, 2, delete))
    assert world.sun.states == ["ESTABLISHED"]
    assert len(world.sun.backend.states) == 2
    assert len(world.in_flight) == 1


def test_unknown_critical_payload_makes_the_request_fail_alone() -> None:
    world = established()
    message = message_of(
        world.moon, ExchangeType.INFORMATIONAL, 2, Unknown(type=200, critical=True, data=b"")
    )
    inject(world, world.moon, message)
    assert world.sun.states == ["ESTABLISHED"]
    assert len(world.in_flight) == 1
    inject(world, world.moon, message_of(world.moon, ExchangeType.INFORMATIONAL, 3))
    assert len(world.in_flight) == 2


def test_unknown_payload_that_is_not_critical_is_skipped() -> None:
    world = established()
    message = message_of(
        world.moon, ExchangeType.INFORMATIONAL, 2, Unknown(type=200, critical=False, data=b"x")
    )
    inject(world, world.moon, message)
    assert world.sun.states == ["ESTABLISHED"]
    assert len(world.in_flight) == 1


def test_a_rekeying_of_the_ike_sa_without_key_exchange_is_refused() -> None:
    world = established()
    proposal = only(world.moon).proposal.to_wire(1, bytes(range(8)))
    request = message_of(
        world.moon,
        ExchangeType.CREATE_CHILD_SA,
        2,
        SecurityAssociation(proposals=(proposal,)),
        Nonce(data=bytes(32)),
    )
    inject(world, world.moon, request)
    assert world.sun.states == ["ESTABLISHED"]
    assert world.sun.recorder.said("needs SA, nonce and KE payloads")


def test_a_plain_message_is_never_taken_for_a_protected_one() -> None:
    world = established()
    delete = Delete(protocol=ProtocolId.IKE, spis=())
    for message_id in range(4):
        for response in (False, True):
            message = message_of(
                world.moon, ExchangeType.INFORMATIONAL, message_id, delete, response=response
            )
            inject(world, world.moon, message, plain=True)
    assert world.sun.states == ["ESTABLISHED"]
    assert world.in_flight == []


@settings(max_examples=150, deadline=None)
@given(
    exchange=st.sampled_from(EXCHANGES),
    message_id=st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)),
    response=st.booleans(),
    before=st.booleans(),
    from_moon=st.booleans(),
    notify=st.integers(0, 65535),
    data=st.binary(max_size=64),
)
def test_any_message_in_any_state(
    *,
    exchange: int,
    message_id: int,
    response: bool,
    before: bool,
    from_moon: bool,
    notify: int,
    data: bytes,
) -> None:
    world = connecting() if before else established()
    sender, receiver = (world.moon, world.sun) if from_moon else (world.sun, world.moon)
    try:
        payload = Notify.of(notify, data)
    except ValueError:
        payload = Nonce(data=data.ljust(16, b"\0"))
    inject(world, sender, message_of(sender, exchange, message_id, payload, response=response))
    assert receiver.states in ([], ["CONNECTING"], ["ESTABLISHED"])
    # Nobody was authenticated by it.
    if before:
        assert receiver.states != ["ESTABLISHED"]
        assert not receiver.backend.states
