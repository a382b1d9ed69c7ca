"""IKE_SA_INIT: algorithms, cookies, other key exchange methods, NAT, wrong answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.encoding.message import Message
from charon_core.encoding.payloads import KeyExchange, Nonce, Notify, SecurityAssociation
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tasks.liveness import Liveness
from tests.exchange.world import World, connection, establish, share_secret, tunnel

PROPOSALS = [
    "aes128-sha1-modp2048!",
    "aes192-sha256-modp3072!",
    "aes256-sha384-ecp384!",
    "aes256-sha512-ecp521!",
    "aes128-aesxcbc-ecp256!",
    "aes128-aescmac-ecp256!",
    "3des-sha1-modp1024!",
    "aes128ctr-sha256-x25519!",
    "aes128gcm8-prfsha256-x25519!",
    "aes192gcm12-prfsha384-x448!",
    "aes256gcm16-prfsha512-ecp256bp!",
    "aes256ccm16-prfsha256-ecp512bp!",
    "chacha20poly1305-prfsha256-x25519!",
    "aes128gcm16-prfaesxcbc-x25519!",
    "aes128gcm16-prfaescmac-mlkem768!",
]


@pytest.mark.parametrize("ike", PROPOSALS)
def test_every_algorithm_carries_an_ike_sa(ike: str) -> None:
    world = World()
    establish(world, ike=ike)
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


@pytest.mark.parametrize("ipv6", [False, True])
def test_both_address_families(ipv6: bool) -> None:
    world = World(ipv6=ipv6)
    establish(world)
    assert world.moon.sas[0].remote.host == world.sun.address


def cookie_demand(packet: Packet, cookie: bytes) -> Packet:
    request = Message.parse(packet.data)
    answer = Message(
        request.initiator_spi,
        bytes(8),
        ExchangeType.IKE_SA_INIT,
        False,
        True,
        0,
        (Notify.of(NotifyType.COOKIE, cookie),),
    )
    return packet.reply(answer.encode())


def test_cookie_comes_back_first_and_the_rest_is_the_same() -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    first = world.drop()
    world.deliver(cookie_demand(first, b"biscuit"))
    second = world.in_flight[0]
    one, other = Message.parse(first.data), Message.parse(second.data)
    assert other.payloads[0] == Notify.of(NotifyType.COOKIE, b"biscuit")
    assert other.payloads[1:] == one.payloads
    assert other.initiator_spi == one.initiator_spi
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_cookies_without_end_are_given_up() -> None:
    world = World()
    peer = tunnel(world)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    for number in range(10):
        if not world.in_flight:
            break
        world.deliver(cookie_demand(world.drop(), bytes([number]) * 8))
    assert outcome == [False]
    assert len(world.sent) == 1 + IkeParameters().init_restarts
    world.assert_nothing_left()


def test_responder_corrects_the_key_exchange() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, ike="aes128gcm16-prfsha256-ecp256!")
    peer = connection(world, world.moon, ike="aes128gcm16-prfsha256-x25519-ecp256!")
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert len(world.sent) == 6
    assert "ECP_256" in world.moon.sas[0].proposal


def test_cookie_and_key_exchange_correction_together() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, ike="aes128gcm16-prfsha256-ecp256!")
    peer = connection(world, world.moon, ike="aes128gcm16-prfsha256-x25519-ecp256!")
    world.moon.initiate(peer)
    world.deliver(cookie_demand(world.drop(), b"biscuit"))
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


@pytest.mark.parametrize("method", [31, 14, 0, 65535])
def test_senseless_key_exchange_demand_ends_the_try(method: int) -> None:
    world = World()
    peer = tunnel(world, ike="aes128gcm16-prfsha256-x25519-ecp256!")
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    request = world.drop()
    message = Message.parse(request.data)
    demand = Notify.of(NotifyType.INVALID_KE_PAYLOAD, method.to_bytes(2, "big"))
    answer = replace(message, is_initiator=False, is_response=True, payloads=(demand,))
    world.deliver(request.reply(answer.encode()))
    assert outcome == [False]
    world.assert_nothing_left()


def test_no_common_proposal_says_what_differs() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, ike="aes256gcm16-prfsha256-x25519!")
    peer = connection(world, world.moon, ike="aes128gcm16-prfsha256-x25519!")
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    (verdict,) = [t for t in world.sun.recorder.alerts if "proposal" in t]
    assert "AES_GCM_16_128" in verdict
    assert "AES_GCM_16_256" in verdict
    assert "encryption" in verdict
    assert any("NO_PROPOSAL_CHOSEN" in t for t in world.moon.recorder.alerts)
    world.assert_nothing_left()


def test_unknown_peer_is_told_nothing_but_no() -> None:
    world = World()
    share_secret(world.moon)
    peer = connection(world, world.moon)
    world.moon.initiate(peer)
    world.run()
    answer = Message.parse(world.sent[1].data)
    assert [p.notify_type for p in answer.payloads] == [NotifyType.NO_PROPOSAL_CHOSEN]
    assert answer.responder_spi == bytes(8)
    world.assert_nothing_left()


# -- a masquerading NAT before moon -----------------------------------------------------------


def masquerade(world: World) -> None:
    """Put moon behind a NAT with the address 198.51.100.9 and ports from 40000 on."""
    outside = "198.51.100.9"
    ports: dict[int, int] = {}

    def translate(packet: Packet) -> Packet:
        source, destination = packet.source, packet.destination
        if source.host == world.moon.address:
            port = ports.setdefault(source.port, 40000 + len(ports))
            source = Endpoint(outside, port)
        if destination.host == outside:
            inside = next(p for p, mapped in ports.items() if mapped == destination.port)
            destination = Endpoint(world.moon.address, inside)
        return Packet(source, destination, packet.data)

    world.nat = translate


def test_nat_moves_both_to_port_4500() -> None:
    world = World()
    masquerade(world)
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun)
    world.sun.connections.remove("net")
    from charon_core.config.ike import IkeConfig

    mirrored = connection(world, world.sun)
    world.sun.connections.remove("net")
    anywhere = replace(
        mirrored,
        ike=IkeConfig(name="net", remote=("%any",), proposals=mirrored.ike.proposals),
    )
    world.sun.connections.add(anywhere)
    peer = connection(world, world.moon)
    world.moon.initiate(peer)
    world.run()
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert world.moon.sas[0].local.port == world.moon.sas[0].remote.port == 4500
    assert world.sun.sas[0].remote == Endpoint("198.51.100.9", 40001)
    for host in (world.moon, world.sun):
        assert all(state.encapsulation for state in host.backend.states.values())
    world.elapse(25)
    assert world.moon.keepalives == [(world.moon.sas[0].local, world.moon.sas[0].remote)]
    assert world.sun.keepalives == []
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_forced_encapsulation_without_a_nat() -> None:
    world = World()
    establish(world, ike_settings={"force_encap": True})
    assert world.moon.sas[0].remote.port == 4500
    for host in (world.moon, world.sun):
        assert all(state.encapsulation for state in host.backend.states.values())


@pytest.mark.parametrize(("mobike", "port"), [(True, 4500), (False, 500)])
def test_no_nat_no_encapsulation(mobike: bool, port: int) -> None:
    """RFC 4555 3.3: who may move uses port 4500 although no NAT is there."""
    world = World()
    establish(world, mobike=mobike)
    assert world.moon.sas[0].remote.port == world.sun.sas[0].local.port == port
    assert not any(s.encapsulation for s in world.moon.backend.states.values())


# -- malformed and misplaced ------------------------------------------------------------------


@pytest.mark.parametrize("missing", [SecurityAssociation, KeyExchange, Nonce])
def test_request_without_a_needed_payload_gets_no_answer(missing: type) -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    request = world.drop()
    message = Message.parse(request.data)
    rest = tuple(p for p in message.payloads if not isinstance(p, missing))
    world.deliver(replace(request, data=replace(message, payloads=rest).encode()))
    assert world.in_flight == []
    assert world.sun.states == []
    assert world.sun.manager.count() == 0


@pytest.mark.parametrize("missing", [SecurityAssociation, KeyExchange, Nonce])
def test_response_without_a_needed_payload_ends_the_try(missing: type) -> None:
    world = World()
    peer = tunnel(world)
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.step()
    response = world.drop()
    message = Message.parse(response.data)
    rest = tuple(p for p in message.payloads if not isinstance(p, missing))
    world.deliver(replace(response, data=replace(message, payloads=rest).encode()))
    assert outcome == [False]
    assert world.moon.leaks() == {}


@pytest.mark.parametrize("value", [bytes(32), b"\x01" + bytes(31)])
def test_key_exchange_of_low_order_is_refused(value: bytes) -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    request = world.drop()
    message = Message.parse(request.data)
    payloads = tuple(
        KeyExchange(p.method, value) if isinstance(p, KeyExchange) else p for p in message.payloads
    )
    world.deliver(replace(request, data=replace(message, payloads=payloads).encode()))
    assert world.sun.states == []
    assert world.in_flight == []
    assert world.sun.recorder.said("key exchange is refused")


def test_every_truncation_of_every_message_is_survived() -> None:
    world = World()
    peer = tunnel(world)
    world.moon.initiate(peer)
    originals: list[Packet] = []
    while world.in_flight:
        packet = world.in_flight.pop(0)
        originals.append(packet)
        for length in range(28, len(packet.data)):
            cut = bytearray(packet.data[:length])
            cut[24:28] = length.to_bytes(4, "big")
            world.deliver(replace(packet, data=bytes(cut)))
            world.sent.clear()
        # Refusals of the mutilated ones do not matter; the true message has to go through.
        world.in_flight.clear()
        world.deliver(packet)
    assert len(originals) == 4
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


def test_peer_behind_a_nat_is_followed_with_its_children() -> None:
    """RFC 7296 2.23: without MOBIKE an authenticated message from elsewhere moves the IKE_SA."""
    world = World()
    masquerade(world)
    share_secret(world.moon)
    share_secret(world.sun)
    from charon_core.config.ike import IkeConfig

    mirrored = connection(world, world.sun)
    world.sun.connections.remove("net")
    anywhere = IkeConfig(name="net", remote=("%any",), proposals=mirrored.ike.proposals)
    world.sun.connections.add(replace(mirrored, ike=anywhere))
    world.moon.initiate(connection(world, world.moon, mobike=False))
    world.run()
    masquerade_again = world.nat

    def other_mapping(packet: Packet) -> Packet:
        moved = masquerade_again(packet)
        if moved.source.host == "198.51.100.9":
            return replace(moved, source=Endpoint("198.51.100.9", 55555))
        return moved

    world.nat = other_mapping
    world.moon.with_ike(lambda ike: (ike.tasks.queue(Liveness(ike)), ike.tasks.initiate()))
    world.step()
    assert world.sun.sas[0].remote == Endpoint("198.51.100.9", 55555)
    ports = {(state.inbound, state.encapsulation) for state in world.sun.backend.states.values()}
    assert ports == {(True, (55555, 4500)), (False, (4500, 55555))}
    assert world.moon.sas[0].remote.host == world.sun.address
