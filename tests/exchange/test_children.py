"""Further CHILD_SAs by CREATE_CHILD_SA: with and without a key exchange of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charon_core.config.child import ChildMode
from charon_core.config.keywords import parse_proposals
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.encoding.message import open_message, seal_message
from charon_core.encoding.payloads import Notify, SecurityAssociation, TrafficSelectorsInitiator
from charon_core.encoding.registry import NotifyType, ProtocolId
from charon_core.sa.tasks.child_respond import ChildRespond
from charon_core.sa.tasks.task import Outcome
from tests.exchange.world import World, child, connection, establish, share_secret, tunnel


def two_children(world: World, esp: str = "aes128gcm16!", second: str | None = None, **more):
    share_secret(world.moon)
    share_secret(world.sun)
    here, there = ("10.1.0.0/16", "10.2.0.0/16")
    other_here, other_there = ("10.11.0.0/16", "10.12.0.0/16")
    connection(
        world,
        world.sun,
        children=(
            child("net", local=(there,), remote=(here,)),
            child("other", local=(other_there,), remote=(other_here,), esp=second or esp, **more),
        ),
    )
    return connection(
        world,
        world.moon,
        children=(
            child("net", local=(here,), remote=(there,)),
            child("other", local=(other_here,), remote=(other_there,), esp=esp),
        ),
    )


@pytest.mark.parametrize(
    "esp",
    [
        "aes128gcm16!",
        "aes256-sha256!",
        "aes192-sha384!",
        "aes128-sha1!",
        "chacha20poly1305!",
        "aes128ccm16!",
        "aes128gcm16-x25519!",
        "aes256-sha512-ecp384!",
        "aes128gcm16-esn!",
        "aes128-sha256-modp2048-noesn-esn!",
    ],
)
def test_a_second_child_in_the_same_ike_sa(esp: str) -> None:
    world = World()
    peer = two_children(world, esp)
    world.moon.initiate(peer)
    world.run()
    outcome: list[bool] = []
    world.moon.initiate(peer, "other", outcome)
    world.run()
    assert outcome == [True], world.moon.recorder.lines
    assert len(world.moon.sas[0].children) == len(world.sun.sas[0].children) == 2
    for (spi, *_), state in world.moon.backend.states.items():
        twin = next(s for (other, *_), s in world.sun.backend.states.items() if other == spi)
        assert state.encryption_key == twin.encryption_key
        assert state.integrity_key == twin.integrity_key
        assert (state.encryption, state.key_bits, state.integrity, state.esn) == (
            twin.encryption,
            twin.key_bits,
            twin.integrity,
            twin.esn,
        )
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


def test_responder_initiates_the_second_child() -> None:
    world = World()
    peer = two_children(world, "aes128gcm16-ecp256!")
    world.moon.initiate(peer)
    world.run()
    outcome: list[bool] = []
    world.sun.initiate(world.sun.connections.get("net"), "other", outcome)
    world.run()
    assert outcome == [True]
    assert len(world.moon.sas[0].children) == 2


def test_wrong_key_exchange_is_corrected() -> None:
    world = World()
    peer = two_children(world, "aes128gcm16-x25519-ecp256!", "aes128gcm16-ecp256!")
    world.moon.initiate(peer)
    world.run()
    outcome: list[bool] = []
    world.moon.initiate(peer, "other", outcome)
    world.run()
    assert outcome == [True], world.moon.recorder.lines
    assert world.moon.recorder.said("it requested ECP_256")
    assert not world.moon.backend.reserved


def test_no_common_proposal_keeps_the_ike_sa() -> None:
    world = World()
    peer = two_children(world, "aes128gcm16!", "aes256gcm16!")
    world.moon.initiate(peer)
    world.run()
    outcome: list[bool] = []
    world.moon.initiate(peer, "other", outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.states == ["ESTABLISHED"]
    assert not world.moon.backend.reserved
    assert any("AES_GCM_16_256" in text for text in world.sun.recorder.alerts)


def test_children_of_both_sides_cross() -> None:
    world = World()
    peer = two_children(world, "aes128gcm16-x25519!")
    world.moon.initiate(peer)
    world.run()
    outcome: list[bool] = []
    world.moon.initiate(peer, "other", outcome)
    world.sun.initiate(world.sun.connections.get("net"), "other", outcome)
    world.run()
    assert outcome == [True, True]
    assert len(world.moon.sas[0].children) == len(world.sun.sas[0].children) == 3
    world.moon.delete_ike()
    world.run()
    world.assert_nothing_left()


@pytest.mark.parametrize(
    ("moon", "sun", "agreed"),
    [
        (("10.1.0.0/16",), ("10.1.0.0/16",), "10.1.0.0/16"),
        (("0.0.0.0/0",), ("10.1.0.0/24",), "10.1.0.0/24"),
        (("10.1.0.0/24",), ("10.0.0.0/8",), "10.1.0.0/24"),
        (("10.1.0.0/24", "10.3.0.0/24"), ("0.0.0.0/0",), "10.1.0.0/24 10.3.0.0/24"),
        (("10.1.0.0/24", "10.3.0.0/24"), ("10.3.0.0/16",), "10.3.0.0/24"),
        (("10.1.0.0/16[tcp/80]",), ("10.1.0.0/16[tcp]",), "10.1.0.0/16[tcp/http]"),
    ],
)
def test_selectors_are_narrowed(moon: tuple[str, ...], sun: tuple[str, ...], agreed: str) -> None:
    world = World()
    establish_with(world, moon, sun)
    for host, ours in ((world.moon, "local_ts"), (world.sun, "remote_ts")):
        (snapshot,) = host.sas[0].children
        assert " ".join(map(str, getattr(snapshot, ours))) == agreed


def test_nothing_in_common_fails_with_a_verdict() -> None:
    world = World()
    establish_with(world, ("10.1.0.0/16",), ("192.168.0.0/24",), works=False)
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert not world.sun.backend.states
    (verdict,) = [t for t in world.sun.recorder.alerts if "traffic selectors" in t]
    assert "peer offers" in verdict
    assert "10.1.0.0/16" in verdict
    assert "192.168.0.0/24" in verdict


def establish_with(
    world: World, moon: tuple[str, ...], sun: tuple[str, ...], *, works: bool = True
) -> None:
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, children=(child(local=("10.2.0.0/16",), remote=sun),))
    peer = connection(world, world.moon, children=(child(local=moon, remote=("10.2.0.0/16",)),))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [works]


def test_kernel_that_refuses_leaves_nothing_behind() -> None:
    world = World()
    peer = two_children(world)
    world.moon.initiate(peer)
    world.run()
    before = dict(world.moon.backend.states)

    def refuse(spec: object) -> None:
        from charon_core.kernel.interface import KernelError

        raise KernelError("adding a policy", "no buffer space")

    world.moon.backend.add_policy = refuse
    outcome: list[bool] = []
    world.moon.initiate(peer, "other", outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.backend.states == before
    assert not world.moon.backend.reserved
    assert any("no buffer space" in text for text in world.moon.recorder.alerts)
    # The responder had installed it: it is told, and keeps the first one only.
    assert len(world.sun.sas[0].children) == 1
    assert len(world.sun.backend.states) == 2


def test_establish_is_not_needed_twice() -> None:
    world = World()
    peer = establish(world)
    world.moon.initiate(peer)
    world.run()
    assert len(world.moon.states) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, selectors=selectors_of("0.0.0.0/0")),
        lambda p: replace(p, selectors=selectors_of("10.1.0.0/16[tcp]", "10.9.0.0/16")),
    ],
)
def test_answer_that_widens_the_selectors_is_not_installed(change) -> None:
    world = World()
    establish_pending(world)
    (entry,) = world.sun.manager._by_spi.values()
    packet = world.drop()
    message = open_message(packet.data, entry.ike.keying.outbound)
    payloads = tuple(
        change(p) if isinstance(p, TrafficSelectorsInitiator) else p for p in message.payloads
    )
    data = seal_message(replace(message, payloads=payloads), entry.ike.keying.outbound)
    world.deliver(replace(packet, data=data))
    assert not world.moon.backend.states
    assert world.moon.recorder.said("widens the traffic selectors")
    world.run()
    assert not world.sun.backend.states
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]


@pytest.mark.parametrize("spi", [1, 0xFF])
def test_reserved_spi_in_an_answer_is_refused(spi: int) -> None:
    world = World()
    establish_pending(world)
    (entry,) = world.sun.manager._by_spi.values()
    packet = world.drop()
    message = open_message(packet.data, entry.ike.keying.outbound)

    def with_spi(payload):
        (proposal,) = payload.proposals
        return replace(payload, proposals=(replace(proposal, spi=spi.to_bytes(4, "big")),))

    payloads = tuple(
        with_spi(p) if isinstance(p, SecurityAssociation) else p for p in message.payloads
    )
    data = seal_message(replace(message, payloads=payloads), entry.ike.keying.outbound)
    world.deliver(replace(packet, data=data))
    assert not world.moon.backend.states
    assert world.moon.states == ["ESTABLISHED"]


def establish_pending(world: World) -> None:
    """Bring everything to where the last message, the IKE_AUTH response, is in flight."""
    world.moon.initiate(tunnel(world))
    for _ in range(3):
        world.step()


def selectors_of(*texts: str):
    return tuple(TrafficSelector.parse(text).to_wire() for text in texts)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"mode": ChildMode.BEET}, "BEET mode"),
        ({"mode": ChildMode.TRANSPORT, "proxy_mode": True}, "TRANSPORT_PROXY mode"),
        ({"mode": ChildMode.DROP}, "DROP mode"),
        ({"proposals": parse_proposals("sha256!", ProtocolId.AH)}, "AH"),
    ],
)
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_what_cannot_be_negotiated_is_refused_and_the_ike_sa_lives(
    settings: dict[str, object], reason: str, role: str
) -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    mine, theirs = (settings, {}) if role == "initiator" else ({}, settings)
    remote = child(local=("10.2.0.0/16",), remote=("10.1.0.0/16",))
    connection(world, world.sun, children=(replace(remote, **theirs),))
    peer = connection(world, world.moon, children=(replace(child(), **mine),))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert not world.moon.backend.states
    assert not world.sun.backend.states
    if role == "initiator":
        assert world.moon.recorder.said(reason)


def test_of_children_with_the_same_selectors_the_one_whose_proposal_fits_is_taken() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    suns = {"local": ("10.2.0.0/16",), "remote": ("10.1.0.0/16",)}
    connection(
        world,
        world.sun,
        children=(child("x", esp="aes256gcm16!", **suns), child("y", esp="aes128gcm16!", **suns)),
    )
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon), outcome=outcome)
    world.run()
    assert outcome == [True]
    assert [c.config.name for c in world.sun.children] == ["y"]


@pytest.mark.parametrize("kind", [NotifyType.CHILD_SA_NOT_FOUND, 8000])
def test_any_error_is_a_refusal(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    peer = establish(world)

    def refuse(_task: ChildRespond, out: list[object]) -> Outcome:
        out.append(Notify.of(kind))
        return Outcome.DONE

    monkeypatch.setattr(ChildRespond, "build_response", refuse)
    world.sent.clear()
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [False]
    assert len(world.sent) == 2, "there is nothing to be deleted"
    assert not world.moon.backend.reserved
