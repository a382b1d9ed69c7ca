"""What we and strongSwan agree on, and how we part where there is nothing to agree on."""

from __future__ import annotations

from itertools import count, cycle
from typing import TYPE_CHECKING

import pytest

from tests.interop.lab import Path
from tests.interop.pair import both_roles, paired
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)

IKE = [
    "aes256gcm16-prfsha384-ecp384",
    "aes128gcm8-prfsha512-modp2048",
    "aes192gcm12-prfsha256-ecp521",
    "aes128ccm12-prfaescmac-ecp256",
    "chacha20poly1305-prfsha256-x448",
    "aes128-sha1-modp3072",
    "aes192-sha384-ecp256bp",
    "aes256-sha512-ecp384bp",
    "aes128-aesxcbc-ecp512bp",
    "aes128-aescmac-modp1536",
    "aes192ctr-sha256-modp4096",
    "3des-sha1-modp1024",
]
ESP = [
    "aes192gcm16",
    "aes256gcm12",
    "aes128gcm8",
    "aes128ccm16",
    "aes256ctr-sha256",
    "aes128-sha1",
    "aes192-sha384",
    "aes256-sha512",
    "aes128-aesxcbc",
]

# Each end does the same with an algorithm in either role, so one role for each is enough.
BY_IKE = [
    Tunnel(f"ike{number}", next(_numbers), initiator, ike=ike)
    for number, (ike, initiator) in enumerate(zip(IKE, cycle(Side), strict=False), 1)
]
BY_ESP = [
    Tunnel(f"esp{number}", next(_numbers), initiator, esp=esp)
    for number, (esp, initiator) in enumerate(zip(ESP, cycle(Side), strict=False), 1)
]

# A responder takes the proposals of any connection between the two addresses until it knows who
# asks. Connections that shall not help each other out have paths for themselves.
OTHER_KEY_EXCHANGE = [
    Tunnel(
        f"other-ke-{initiator.value}",
        next(_numbers),
        initiator,
        path,
        ike=ike,
        their_ike=their_ike,
    )
    for initiator, path, ike, their_ike in (
        (Side.OURS, Path.IPV6, "aes128-sha256-x25519-ecp256", "aes128-sha256-ecp256"),
        (Side.THEIRS, Path.NAT, "aes128-sha256-ecp256", "aes128-sha256-x25519-ecp256"),
    )
]
SEVERAL_SELECTORS = both_roles("selectors", _numbers, selectors=2)
NARROWED = both_roles("narrowed", _numbers, wide=True)
SECOND_CHILD = both_roles("second", _numbers, second_esp="aes256-sha256")
SECOND_CHILD_PFS = both_roles("second-pfs", _numbers, second_esp="aes256gcm16-ecp256")
SECOND_CHILD_OTHER_KE = [
    Tunnel(
        f"second-ke-{initiator.value}",
        next(_numbers),
        initiator,
        second_esp=esp,
        their_second_esp=their_esp,
    )
    for initiator, esp, their_esp in (
        (Side.OURS, "aes128gcm16-x25519-ecp256", "aes128gcm16-ecp256"),
        (Side.THEIRS, "aes128gcm16-ecp256", "aes128gcm16-x25519-ecp256"),
    )
]

WRONG_SECRET = both_roles("wrong-secret", _numbers, our_secret="something else")
NO_IKE_PROPOSAL = both_roles("no-ike", _numbers, path=Path.IPV6, their_ike="aes256-sha512-ecp521")
NO_ESP_PROPOSAL = both_roles("no-esp", _numbers, their_esp="aes256-sha512")
NO_SELECTOR = both_roles("no-selector", _numbers, far_network="10.200.0.0/24")

TUNNELS = [
    *BY_IKE, *BY_ESP, *OTHER_KEY_EXCHANGE, *SEVERAL_SELECTORS, *NARROWED, *SECOND_CHILD,
    *SECOND_CHILD_PFS, *SECOND_CHILD_OTHER_KE, *WRONG_SECRET, *NO_IKE_PROPOSAL, *NO_ESP_PROPOSAL,
    *NO_SELECTOR,
]  # fmt: skip


def each(*tunnels: list[Tunnel]) -> pytest.MarkDecorator:
    """Run a test with each of these tunnels."""
    flat = [tunnel for some in tunnels for tunnel in some]
    return pytest.mark.parametrize("tunnel", flat, ids=lambda tunnel: tunnel.name)


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log]) -> Iterator[Pair]:
    with paired(lab, folder, reported, TUNNELS) as made:
        yield made


@pytest.mark.parametrize("tunnel", BY_IKE, ids=lambda t: f"{t.ike}-{t.initiator.value}")
def test_ike_algorithms(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.take_down(tunnel, tunnel.initiator.other)


@pytest.mark.parametrize("tunnel", BY_ESP, ids=lambda t: f"{t.esp}-{t.initiator.value}")
def test_esp_algorithms(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    pair.check_pings(tunnel)
    # Larger than the device's MTU: packets that are fragments inside of the tunnel.
    pair.check_pings(tunnel, size=3000)
    pair.take_down(tunnel, tunnel.initiator.other)


@each(OTHER_KEY_EXCHANGE)
def test_initiator_changes_its_key_exchange(pair: Pair, tunnel: Tunnel) -> None:
    output = pair.bring_up(tunnel)
    assert "N(INVAL_KE)" in output
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(SEVERAL_SELECTORS)
def test_several_selectors(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    for index in (1, 2):
        pair.check_pings(tunnel, index)
    # Any network of one end reaches any of the other.
    assert pair.lab.ours.ping(tunnel.inside(Side.OURS, 1), tunnel.inside(Side.THEIRS, 2))
    pair.take_down(tunnel, tunnel.initiator)


@each(NARROWED)
def test_responder_narrows_selectors(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    ours, theirs = tunnel.network(Side.OURS), tunnel.network(Side.THEIRS)
    assert f"{ours} === {theirs}" in pair.ours.sas(tunnel.name)
    pair.check_pings(tunnel)
    pair.take_down(tunnel, tunnel.initiator)


@each(SECOND_CHILD, SECOND_CHILD_PFS)
def test_second_child_sa(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    worked, output = pair.at(tunnel.initiator).up(tunnel.second)
    assert worked, output
    assert "CREATE_CHILD_SA" in output
    # One IKE_SA with both.
    assert pair.ours.sas().count("ESTABLISHED") == 1
    assert pair.theirs.sas().count("ESTABLISHED") == 1
    for index in (1, 2):
        pair.check_pings(tunnel, index)

    done, output = pair.at(tunnel.initiator.other).down_child(tunnel.second)
    assert done, output
    assert pair.ours.sas().count("INSTALLED") == 1
    assert pair.theirs.sas().count("INSTALLED") == 1
    pair.check_pings(tunnel, 1)
    pair.take_down(tunnel, tunnel.initiator.other)


@each(SECOND_CHILD_OTHER_KE)
def test_second_child_sa_with_another_key_exchange(pair: Pair, tunnel: Tunnel) -> None:
    pair.bring_up(tunnel)
    worked, output = pair.at(tunnel.initiator).up(tunnel.second)
    assert worked, output
    assert "CREATE_CHILD_SA response 2 [ N(INVAL_KE) ]" in output
    pair.check_pings(tunnel, 2)
    pair.take_down(tunnel, tunnel.initiator)


@each(WRONG_SECRET)
def test_wrong_secret(pair: Pair, tunnel: Tunnel) -> None:
    worked, output = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    assert "received AUTHENTICATION_FAILED notify error" in output
    pair.check_nothing_left()


@each(NO_IKE_PROPOSAL)
def test_no_common_ike_proposal(pair: Pair, tunnel: Tunnel) -> None:
    worked, output = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    assert "received NO_PROPOSAL_CHOSEN notify error" in output
    pair.check_nothing_left()


@each(NO_ESP_PROPOSAL)
def test_no_common_esp_proposal(pair: Pair, tunnel: Tunnel) -> None:
    worked, output = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    assert "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built" in output
    assert "failed to establish CHILD_SA, keeping IKE_SA" in output
    pair.take_down(tunnel, tunnel.initiator)


@each(NO_SELECTOR)
def test_no_common_selector(pair: Pair, tunnel: Tunnel) -> None:
    worked, output = pair.at(tunnel.initiator).up(tunnel.name)
    assert not worked
    assert "received TS_UNACCEPTABLE notify, no CHILD_SA built" in output
    assert "failed to establish CHILD_SA, keeping IKE_SA" in output
    pair.take_down(tunnel, tunnel.initiator)
