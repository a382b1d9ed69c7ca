"""EAP conversations: both roles face to face, and each against one that does not keep the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.eap.method import EapStatus
from charon_core.eap.packet import IDENTITY, NAK, NOTIFICATION, EapCode, EapPacket
from charon_core.eap.peer import EapPeer, PeerPlan
from charon_core.eap.registry import EapRegistry, EapType
from charon_core.eap.server import MAX_ROUNDS, EapServer, ServerPlan
from tests.eap_method import BARE, KEYED, LONG, MUTUAL, VENDOR, offer

PASSWORDS = {b"carol": b"tulip", b"dave": b"rose"}
PLAN = ServerPlan(b"sun", b"carol")


def registry(*kinds: EapType, identity: bool = True) -> EapRegistry:
    made = EapRegistry()
    offer(made, PASSWORDS, *kinds, identity=identity)
    return made


def talk(server: EapServer, peer: EapPeer) -> tuple[EapStatus, EapStatus]:
    """Let both talk until each has come to an end."""
    asked = server.begin()
    answered = None
    for _ in range(3 * MAX_ROUNDS):
        if not asked.packet:
            return asked.status, EapStatus.FAILURE if answered is None else answered.status
        answered = peer.process(asked.packet)
        if asked.status is not EapStatus.MORE or answered.status is not EapStatus.MORE:
            return asked.status, answered.status
        asked = server.process(answered.packet)
    raise AssertionError("no end")


@pytest.mark.parametrize("kind", [MUTUAL, KEYED, BARE, VENDOR])
def test_both_come_to_the_same_key(kind: EapType) -> None:
    methods = registry(kind)
    server, peer = EapServer(methods, PLAN, 250), EapPeer(methods, PeerPlan(b"sun", b"carol"))
    assert talk(server, peer) == (EapStatus.SUCCESS, EapStatus.SUCCESS)
    assert server.msk == peer.msk
    assert (server.msk is None) == (kind is BARE)
    assert server.kind == peer.kind == kind
    assert server.is_mutual == peer.is_mutual


def test_identifiers_rise_and_wrap() -> None:
    methods = registry(MUTUAL)
    server = EapServer(methods, PLAN, 255, lambda _: PLAN)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    seen = []
    step = server.begin()
    while step.status is EapStatus.MORE:
        seen.append(step.packet[1])
        step = server.process(peer.process(step.packet).packet)
    assert seen == [255, 0, 1]
    assert step.packet[1] == 1


@pytest.mark.parametrize("said", [b"dave", b""])
def test_the_identity_decides_about_the_plan(said: bytes) -> None:
    methods = registry(MUTUAL)
    heard: list[bytes] = []

    def ask(identity: bytes) -> ServerPlan:
        heard.append(identity)
        return ServerPlan(b"sun", identity or b"dave", MUTUAL)

    server = EapServer(methods, PLAN, 1, ask)
    peer = EapPeer(methods, PeerPlan(b"sun", said))
    talk(server, peer)
    assert heard == [said]
    assert server.identity == said


def test_nobody_takes_the_identity() -> None:
    methods = registry(MUTUAL)
    server = EapServer(methods, PLAN, 1, lambda _: None)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    assert talk(server, peer) == (EapStatus.FAILURE, EapStatus.FAILURE)
    assert "no connection takes" in server.problem


def test_a_fixed_method_is_not_given_up_for_a_nak() -> None:
    server = EapServer(registry(MUTUAL, BARE), ServerPlan(b"sun", b"carol", MUTUAL), 1)
    peer = EapPeer(registry(BARE), PeerPlan(b"sun", b"carol"))
    assert talk(server, peer)[0] is EapStatus.FAILURE


def test_each_method_is_offered_once() -> None:
    server = EapServer(registry(MUTUAL, KEYED, BARE), PLAN, 1)
    request = EapPacket.parse(server.begin().packet)
    offered = [request.kind]
    for _ in range(5):
        nak = EapPacket(EapCode.RESPONSE, request.identifier, NAK, bytes((200, 201, 202)))
        step = server.process(nak.encode())
        if step.status is EapStatus.FAILURE:
            break
        request = EapPacket.parse(step.packet)
        offered.append(request.kind)
    assert offered == [MUTUAL, KEYED, BARE]


def test_a_peer_without_any_method_gives_up() -> None:
    server = EapServer(registry(MUTUAL), PLAN, 1)
    peer = EapPeer(registry(), PeerPlan(b"sun", b"carol"))
    assert talk(server, peer)[1] is EapStatus.FAILURE
    assert "load its plugin" in peer.problem


def test_mutual_plans_pass_others_over() -> None:
    methods = registry(BARE, KEYED, MUTUAL)
    server = EapServer(methods, ServerPlan(b"sun", b"carol", mutual=True), 1)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    peer.must_be_mutual = True
    assert talk(server, peer) == (EapStatus.SUCCESS, EapStatus.SUCCESS)
    assert peer.kind == MUTUAL


def test_a_peer_that_must_be_mutual_refuses_others() -> None:
    methods = registry(BARE)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    peer.must_be_mutual = True
    assert talk(EapServer(methods, PLAN, 1), peer)[1] is EapStatus.FAILURE
    assert "does not prove who it is" in peer.problem


@pytest.mark.parametrize("role", ["server", "peer"])
def test_there_is_an_end(role: str) -> None:
    methods = registry(LONG)
    server, peer = EapServer(methods, PLAN, 1), EapPeer(methods, PeerPlan(b"sun", b"carol"))
    if role == "peer":
        request = server.begin().packet
        steps = [peer.process(request) for _ in range(MAX_ROUNDS + 1)]
        assert steps[-1].status is EapStatus.FAILURE
        assert steps[-2].status is EapStatus.MORE
    else:
        assert talk(server, peer)[0] is EapStatus.FAILURE


def test_notifications_are_shown_without_controls() -> None:
    peer = EapPeer(registry(MUTUAL), PeerPlan(b"sun", b"carol"))
    request = EapPacket(EapCode.REQUEST, 4, NOTIFICATION, b"a\x1b[31mb" + bytes(900))
    step = peer.process(request.encode())
    assert step.packet == EapPacket(EapCode.RESPONSE, 4, NOTIFICATION).encode()
    assert peer.notification.startswith("a?[31mb")
    assert len(peer.notification) <= 200


def test_a_change_of_method_is_refused() -> None:
    methods = registry(MUTUAL, BARE)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    peer.process(EapServer(methods, PLAN, 1).begin().packet)
    other = EapPacket(EapCode.REQUEST, 2, BARE, bytes(32))
    assert peer.process(other.encode()).status is EapStatus.FAILURE


def test_identity_in_the_middle_of_a_method_is_refused() -> None:
    methods = registry(MUTUAL)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol"))
    peer.process(EapServer(methods, PLAN, 1).begin().packet)
    request = EapPacket(EapCode.REQUEST, 2, IDENTITY)
    assert peer.process(request.encode()).status is EapStatus.FAILURE


def test_nothing_goes_on_after_the_end() -> None:
    methods = registry(BARE)
    server, peer = EapServer(methods, PLAN, 1), EapPeer(methods, PeerPlan(b"sun", b"carol"))
    assert talk(server, peer) == (EapStatus.SUCCESS, EapStatus.SUCCESS)
    success = EapPacket(EapCode.SUCCESS, 1).encode()
    assert peer.process(success).status is EapStatus.FAILURE
    assert server.process(success).status is EapStatus.FAILURE


packets = st.builds(
    lambda code, identifier, kind, data: EapPacket(
        code, identifier, kind if code in {EapCode.REQUEST, EapCode.RESPONSE} else None,
        data if code in {EapCode.REQUEST, EapCode.RESPONSE} else b"",
    ).encode(),
    st.sampled_from(EapCode),
    st.integers(0, 4),
    st.sampled_from([IDENTITY, NOTIFICATION, NAK, MUTUAL, BARE, VENDOR]),
    st.binary(max_size=70),
)  # fmt: skip


@given(st.lists(st.one_of(packets, st.binary(max_size=12)), max_size=8))
def test_no_sequence_of_packets_convinces_anybody(sequence: list[bytes]) -> None:
    """Whatever a side sends that does not know the password, the other one never believes it."""
    methods = registry(MUTUAL, BARE)
    server = EapServer(methods, PLAN, 1, lambda _: PLAN)
    peer = EapPeer(methods, PeerPlan(b"sun", b"carol", MUTUAL))
    server.begin()
    for octets in sequence:
        assert server.process(octets).status is not EapStatus.SUCCESS
        assert peer.process(octets).status is not EapStatus.SUCCESS
