"""Additional key exchanges in IKE_INTERMEDIATE (RFC 9242, RFC 9370)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from charon_core.bus.events import IkeKeysDerived
from charon_core.encoding.payloads import KeyExchange
from charon_core.encoding.registry import ExchangeType
from tests.exchange.orders import orders
from tests.exchange.world import World, child, connection, share_secret

HYBRID = "aes256gcm16-prfsha384-x25519-ke1_mlkem768!"


def hybrid(moon: str = HYBRID, sun: str = "", *, seed: int = 1) -> tuple[World, list[bool]]:
    world = World(seed=seed)
    share_secret(world.moon)
    share_secret(world.sun)
    connection(world, world.sun, ike=sun or moon)
    outcome: list[bool] = []
    world.moon.initiate(connection(world, world.moon, ike=moon), outcome=outcome)
    return world, outcome


def exchanges(world: World) -> list[int]:
    return [packet.data[18] for packet in world.sent]


@pytest.mark.parametrize(
    ("ike", "number"),
    [
        (HYBRID, 1),
        ("aes128-sha256-x25519-ke1_mlkem768-ke2_mlkem1024!", 2),
        ("aes128gcm16-prfsha256-ecp256-ke1_x448-ke2_mlkem768-ke3_modp2048!", 3),
        ("aes256-sha512-mlkem768-ke1_x25519!", 1),
    ],
)
def test_keys_are_made_of_every_exchange(ike: str, number: int) -> None:
    world, outcome = hybrid(ike)
    world.run()
    assert outcome == [True], world.moon.recorder.lines
    assert exchanges(world).count(ExchangeType.IKE_INTERMEDIATE) >= 2 * number
    assert "KE1_" in world.moon.sas[0].proposal
    assert len(world.moon.children) == len(world.sun.children) == 1
    for (spi, *_), state in world.moon.backend.states.items():
        twin = next(s for (other, *_), s in world.sun.backend.states.items() if other == spi)
        assert state.encryption_key == twin.encryption_key
    world.sun.delete_ike()
    world.run()
    world.assert_nothing_left()


class Keys:
    """A listener that may see keys."""

    name = "keys"
    events = (IkeKeysDerived,)
    private = True

    def __init__(self) -> None:
        self.seen: list[IkeKeysDerived] = []

    def on_event(self, event: IkeKeysDerived) -> None:
        self.seen.append(event)


def test_each_exchange_changes_all_keys() -> None:
    world, _ = hybrid("aes128-sha256-x25519-ke1_mlkem768-ke2_mlkem1024!")
    moon, sun = Keys(), Keys()
    world.moon.bus.add_listener(moon)
    world.sun.bus.add_listener(sun)
    world.run()
    assert len(moon.seen) == len(sun.seen) == 3
    for ours, theirs in zip(moon.seen, sun.seen, strict=True):
        assert ours.keys == theirs.keys
    for name in moon.seen[0].keys:
        assert len({event.keys[name] for event in moon.seen}) == 3


def test_the_key_schedule_is_that_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    """SKEYSEED(1) = prf(SK_d(0), SK(1) | Ni | Nr), computed here by hand (RFC 9370 2.2.2)."""
    from charon_core.sa.tasks import ike_intermediate

    secrets: list[bytes] = []
    add = ike_intermediate._add_key

    def note(ike, shared: bytes) -> None:
        secrets.append(shared)
        add(ike, shared)

    monkeypatch.setattr(ike_intermediate, "_add_key", note)
    world, _ = hybrid("aes128-sha256-x25519-ke1_mlkem768!")
    keys = Keys()
    world.moon.bus.add_listener(keys)
    world.step()
    (entry,) = world.moon.manager._by_number.values()
    ni = entry.ike.handshake.own_nonce
    world.step()
    nr = entry.ike.handshake.peer_nonce
    spis = entry.ike.initiator_spi + entry.ike.responder_spi
    world.run()
    before, after = keys.seen
    skeyseed = hmac.digest(before.keys["SK_d"], secrets[0] + ni + nr, hashlib.sha256)
    first = hmac.digest(skeyseed, ni + nr + spis + b"\x01", hashlib.sha256)
    assert after.keys["SK_d"] == first


def test_large_key_exchanges_go_in_fragments() -> None:
    world, outcome = hybrid("aes128gcm16-prfsha256-x25519-ke1_mlkem1024!")
    world.run()
    assert outcome == [True]
    sizes = [len(p.data) for p in world.sent if p.data[18] == ExchangeType.IKE_INTERMEDIATE]
    assert len(sizes) == 4
    assert max(sizes) <= 1280


def test_each_message_may_be_lost_or_come_late() -> None:
    number = 0
    for world in orders(lambda: hybrid()[0], losses=1):
        number += 1
        assert world.moon.states == world.sun.states == ["ESTABLISHED"]
    assert number > 5


@pytest.mark.parametrize(
    ("moon", "sun", "works"),
    [
        (HYBRID, "aes256gcm16-prfsha384-x25519!", False),
        ("aes256gcm16-prfsha384-x25519!", HYBRID, False),
        (
            HYBRID.replace("!", "-ke1_none!"),
            "aes256gcm16-prfsha384-x25519!",
            True,
        ),
        (HYBRID, "aes256gcm16-prfsha384-x25519-ke1_mlkem1024!", False),
    ],
)
def test_agreement(moon: str, sun: str, works: bool) -> None:
    world, outcome = hybrid(moon, sun)
    world.run()
    assert outcome == [works]
    assert world.moon.states == (["ESTABLISHED"] if works else [])


def test_who_skips_the_exchange_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from charon_core.sa.tasks import ike_intermediate

    world, outcome = hybrid()
    world.step()
    monkeypatch.setattr(ike_intermediate, "additional_methods", lambda _proposal: ())
    world.run()
    assert world.sun.states == []
    world.elapse(600)
    assert outcome == [False]
    assert world.sun.recorder.said("before the key exchange ML_KEM_768 is done")


def test_a_changed_message_is_noticed_by_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can read and forge IKE_INTERMEDIATE still cannot change it unseen (RFC 9242 3.3)."""
    from charon_core.sa import wire
    from charon_core.sa.tasks import ike_intermediate

    world, outcome = hybrid()
    original = ike_intermediate.cover

    def cover(ike, message, *, is_ours: bool) -> None:
        original(ike, message, is_ours=is_ours)
        if not is_ours and not ike.is_initiator:
            ike.handshake.peer_int_auth = bytes(48)

    monkeypatch.setattr(wire, "cover", cover)
    world.run()
    assert outcome == [False]
    assert world.sun.states == []


@pytest.mark.parametrize("data", [bytes(1), bytes(1184), bytes(1088), b"\xff" * 1184])
def test_a_bad_key_exchange_ends_it(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from charon_core.sa.tasks import ike_intermediate

    world, outcome = hybrid()
    build = ike_intermediate.IkeIntermediate.build_request

    def spoil(task, out):
        result = build(task, out)
        if task.ike.tasks.exchange == ExchangeType.IKE_INTERMEDIATE:
            out[:] = [KeyExchange(method=out[0].method, data=data)]
        return result

    monkeypatch.setattr(ike_intermediate.IkeIntermediate, "build_request", spoil)
    world.run()
    world.elapse(600)
    assert world.sun.states == world.moon.states == []
    assert outcome == [False]


def test_a_client_gets_its_address_after_the_exchange() -> None:
    world = World()
    share_secret(world.moon)
    share_secret(world.sun)
    world.sun.env.attributes.memory.add("10.3.0.0/24")
    suns = child(local=("10.2.0.0/16",), remote=())
    connection(world, world.sun, ike=HYBRID, children=(suns,), pools=("10.3.0.0/24",))
    moons = child(local=(), remote=("10.2.0.0/16",))
    peer = connection(world, world.moon, ike=HYBRID, children=(moons,), virtual_ips=("0.0.0.0",))
    outcome: list[bool] = []
    world.moon.initiate(peer, outcome=outcome)
    world.run()
    assert outcome == [True]
    assert str(world.moon.children[0].local_ts[0]) == "10.3.0.1/32"
