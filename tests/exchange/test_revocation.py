"""Revocation by servers during IKE_AUTH: both roles, every policy, and nobody is kept waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from charon_core.config.peer import AuthClass, RevocationPolicy
from charon_core.sa.postponed import is_waiting
from tests.exchange.world import EPOCH, Host, World, auth, connection
from tests.unit.credentials import pki
from tests.unit.credentials.online.responder import response
from tests.unit.credentials.online.servers import Servers

if TYPE_CHECKING:
    from tests.unit.credentials.pki import Node

OCSP, CRL = "http://ocsp.test/", "http://crl.test/root.crl"
SUB_CRL = "http://crl.test/sub.crl"
ROOT = pki.authority("C=CH, CN=Root")
RELAXED, IF_URI, STRICT = (
    RevocationPolicy.RELAXED,
    RevocationPolicy.IF_URI,
    RevocationPolicy.STRICT,
)

both_roles = pytest.mark.parametrize("judge", ["moon", "sun"])
"""Who checks the other's certificate."""


def places(*, ocsp: str = "", crl: str = "") -> tuple[tuple[x509.ExtensionType, bool], ...]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if ocsp:
        description = x509.AccessDescription(
            x509.oid.AuthorityInformationAccessOID.OCSP, pki.general(f"uri:{ocsp}")
        )
        found.append((x509.AuthorityInformationAccess([description]), False))
    if crl:
        point = x509.DistributionPoint([pki.general(f"uri:{crl}")], None, None, None)
        found.append((x509.CRLDistributionPoints([point]), False))
    return tuple(found)


def certificate(name: str, issuer: Node = ROOT, *, owner: str | None = None, **uris: str) -> Node:
    return pki.issue(
        f"C=CH, CN={name}", issuer, owner=owner, names=(f"dns:{name}",), extensions=places(**uris)
    )


class Scene:
    """A tunnel by certificates; one side checks the other's with what the servers say."""

    def __init__(
        self,
        judge: str,
        policy: RevocationPolicy,
        *,
        ocsp: str = "",
        crl: str = "",
        issuer: Node = ROOT,
        anchor: Node = ROOT,
        chain: tuple[Node, ...] = (),
        key_of: str | None = None,
        padding: int = 0,
    ) -> None:
        world = self.world = World()
        self.judge = world.moon if judge == "moon" else world.sun
        self.other = world.sun if judge == "moon" else world.moon
        self.servers = Servers(lambda: EPOCH + world.now)
        self.servers.attach(self.judge.credentials)
        names = {host: f"{host.name}.example.org" for host in (world.moon, world.sun)}
        extra = tuple(f"dns:{n:04}.{'x' * 50}.example" for n in range(padding // 64))
        self.leaf = pki.issue(
            f"C=CH, CN={names[self.other]}", issuer,
            names=(f"dns:{names[self.other]}", *extra), extensions=places(ocsp=ocsp, crl=crl),
        )  # fmt: skip
        own = certificate(names[self.judge])
        local = {self.judge: own, self.other: self.leaf}
        for host, node in local.items():
            private = node.private_key
            if host is self.other and key_of is not None:
                private = pki.PrivateKey(pki.key(owner=key_of))
            host.secrets.add_trust_anchor(anchor.certificate)
            host.secrets.add_trust_anchor(ROOT.certificate)
            host.secrets.add_certificate(node.certificate)
            host.secrets.add_private_key(private)
        for node in chain:
            self.other.secrets.add_certificate(node.certificate)
        configured = {}
        for host in (world.sun, world.moon):
            peer = self.other if host is self.judge else self.judge
            wanted = policy if host is self.judge else RELAXED
            configured[host] = connection(
                world, host,
                local=auth(names[host], AuthClass.PUBKEY, certificates=(local[host].der,)),
                remote=auth(names[peer], AuthClass.PUBKEY, revocation=wanted),
            )  # fmt: skip
        self.configured = configured
        self.outcome: list[bool] = []

    def begin(self) -> None:
        self.world.moon.initiate(self.configured[self.world.moon], outcome=self.outcome)
        self.world.run()

    def serve(self) -> None:
        """Have the servers answer, as often as it takes."""
        while self.servers.work():
            self.world.elapse(0)

    def run(self) -> bool:
        self.begin()
        self.serve()
        self.world.elapse(0)
        (came_up,) = self.outcome
        return came_up

    @property
    def refusal(self) -> str:
        return "\n".join(self.judge.recorder.alerts)

    @property
    def waits(self) -> bool:
        found: list[bool] = []
        self.judge.with_ike(lambda ike: found.append(is_waiting(ike)))
        return found[0]


@both_roles
@pytest.mark.parametrize("policy", [RELAXED, IF_URI, STRICT])
@pytest.mark.parametrize(("status", "let_in"), [("good", True), ("revoked", False)])
def test_ocsp(judge: str, policy: RevocationPolicy, status: str, let_in: bool) -> None:
    scene = Scene(judge, policy, ocsp=OCSP)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT, status)
    assert scene.run() is let_in
    assert scene.servers.asked == [OCSP]
    if not let_in:
        assert "CN=" in scene.refusal
        assert "keyCompromise" in scene.refusal


@both_roles
@pytest.mark.parametrize("policy", [RELAXED, IF_URI, STRICT])
@pytest.mark.parametrize("let_in", [True, False])
def test_lists(judge: str, policy: RevocationPolicy, let_in: bool) -> None:
    scene = Scene(judge, policy, crl=CRL)
    revoked = () if let_in else (scene.leaf.x509.serial_number,)
    scene.servers.answers[CRL] = pki.crl(ROOT, revoked).der
    assert scene.run() is let_in
    assert scene.servers.asked == [CRL]


@both_roles
def test_ocsp_comes_first_and_then_lists(judge: str) -> None:
    scene = Scene(judge, STRICT, ocsp=OCSP, crl=CRL)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT, "unknown")
    scene.servers.answers[CRL] = pki.crl(ROOT).der
    assert scene.run()
    assert scene.servers.asked == [OCSP, CRL]


@both_roles
@pytest.mark.parametrize(("policy", "let_in"), [(RELAXED, True), (IF_URI, False), (STRICT, False)])
def test_dead_servers(judge: str, policy: RevocationPolicy, let_in: bool) -> None:
    scene = Scene(judge, policy, ocsp=OCSP, crl=CRL)
    assert scene.run() is let_in
    assert scene.servers.asked == [OCSP, CRL]
    told = scene.refusal if not let_in else "\n".join(scene.servers.lines)
    for part in (f"'C=CH, CN={scene.other.name}.example.org'", OCSP, CRL, "no answer in time"):
        assert part in told
    if not let_in:
        assert f"strictcrlpolicy={policy.value}" in told


@both_roles
@pytest.mark.parametrize(("policy", "let_in"), [(RELAXED, True), (IF_URI, True), (STRICT, False)])
def test_nobody_to_ask(judge: str, policy: RevocationPolicy, let_in: bool) -> None:
    scene = Scene(judge, policy)
    scene.begin()
    assert scene.outcome == [let_in]
    assert scene.servers.jobs == []


@both_roles
@pytest.mark.parametrize(("policy", "let_in"), [(RELAXED, True), (STRICT, False)])
def test_servers_that_never_answer(judge: str, policy: RevocationPolicy, let_in: bool) -> None:
    scene = Scene(judge, policy, ocsp=OCSP)
    scene.begin()
    assert scene.waits
    scene.world.elapse(9.9)
    assert scene.outcome == []
    scene.world.elapse(0.2)
    assert scene.outcome == [let_in]
    # The answer comes all the same, for the next time.
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT, next_update=pki.NOW + pki.DAY)
    scene.serve()
    if not let_in:
        scene.world.elapse(31)
        scene.world.assert_nothing_left()
        scene.outcome.clear()
        scene.begin()
        assert scene.outcome == [True]


@both_roles
def test_answers_are_remembered(judge: str) -> None:
    scene = Scene(judge, STRICT, ocsp=OCSP)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT)
    assert scene.run()
    scene.world.moon.delete_ike()
    scene.world.run()
    scene.outcome.clear()
    scene.begin()
    assert scene.outcome == [True]
    assert scene.servers.asked == [OCSP]
    scene.world.moon.delete_ike()
    scene.world.run()
    scene.world.elapse(pki.DAY)
    assert scene.outcome == [True]
    scene.outcome.clear()
    scene.begin()
    assert scene.waits, "a day later it has to be asked again"


@both_roles
def test_a_dead_server_costs_one_wait(judge: str) -> None:
    scene = Scene(judge, STRICT, ocsp=OCSP)
    assert not scene.run()
    scene.outcome.clear()
    scene.world.elapse(15)
    scene.begin()
    assert scene.outcome == [False]
    assert scene.servers.asked == [OCSP]
    assert "no answer in time" in scene.refusal
    scene.world.elapse(30)
    scene.outcome.clear()
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT)
    assert scene.run()


# -- only for certificates that are trusted ---------------------------------------------------


@both_roles
def test_an_untrusted_certificate_leads_nowhere(judge: str) -> None:
    """CVE-2022-40617: whoever makes a certificate himself must not make us connect."""
    mallory = pki.authority("C=CH, CN=Root", owner="mallory")
    other = pki.authority("C=CH, CN=Unknown root")
    for issuer in (mallory, other):
        scene = Scene(judge, RELAXED, ocsp=OCSP, crl=CRL, issuer=issuer)
        scene.begin()
        assert scene.outcome == [False]
        assert scene.servers.jobs == []
        assert scene.servers.requests == []


@both_roles
def test_an_untrusted_intermediate_leads_nowhere(judge: str) -> None:
    mallory = pki.authority("C=CH, CN=Root", owner="mallory")
    sub = pki.authority("C=CH, CN=Sub", mallory, extensions=places(ocsp=OCSP, crl=CRL))
    scene = Scene(judge, RELAXED, crl=SUB_CRL, issuer=sub, chain=(sub,))
    scene.begin()
    assert scene.outcome == [False]
    assert scene.servers.jobs == []


@both_roles
def test_an_expired_certificate_leads_nowhere(judge: str) -> None:
    sub = pki.authority("C=CH, CN=Sub", ROOT, extensions=places(crl=CRL), not_after=pki.NOW - 1)
    scene = Scene(judge, RELAXED, crl=SUB_CRL, issuer=sub, chain=(sub,))
    scene.begin()
    assert scene.outcome == [False]
    assert scene.servers.jobs == []


@both_roles
def test_who_shows_the_certificate_of_another_leads_nowhere(judge: str) -> None:
    """Certificates are public: only the signature shows whose it is."""
    scene = Scene(judge, RELAXED, ocsp=OCSP, crl=CRL)
    peer = scene.other.secrets
    # The key that the connection of the other side finds is not the one of the certificate.
    find = scene.other.credentials.private_key_for

    def forged(wanted: object) -> object:
        found = find(wanted)
        return None if found is None else (pki.PrivateKey(pki.key(owner="mallory")), found[1])

    scene.other.credentials.private_key_for = forged
    assert peer is not None
    scene.begin()
    assert scene.outcome == [False]
    assert scene.servers.jobs == []


# -- chains -----------------------------------------------------------------------------------


def chained(judge: str, policy: RevocationPolicy) -> tuple[Scene, Node]:
    sub = pki.authority("C=CH, CN=Sub", ROOT, extensions=places(crl=CRL))
    return Scene(judge, policy, crl=SUB_CRL, issuer=sub, chain=(sub,)), sub


@both_roles
def test_from_the_root_to_the_leaf(judge: str) -> None:
    scene, sub = chained(judge, STRICT)
    scene.servers.answers = {CRL: pki.crl(ROOT).der, SUB_CRL: pki.crl(sub).der}
    scene.begin()
    scene.servers.work()
    assert scene.servers.asked == [CRL]
    scene.world.elapse(0)
    scene.serve()
    assert scene.servers.asked == [CRL, SUB_CRL]
    assert scene.outcome == [True]


@both_roles
def test_below_a_revoked_ca_nothing_is_asked(judge: str) -> None:
    scene, sub = chained(judge, STRICT)
    revoked = pki.crl(ROOT, (sub.x509.serial_number,)).der
    scene.servers.answers = {CRL: revoked, SUB_CRL: pki.crl(sub).der}
    assert not scene.run()
    assert scene.servers.asked == [CRL]
    assert "CN=Sub" in scene.refusal


@both_roles
def test_all_certificates_of_a_chain_share_one_patience(judge: str) -> None:
    scene, _ = chained(judge, RELAXED)
    scene.begin()
    scene.world.elapse(6)
    scene.servers.work()
    scene.world.elapse(0)
    assert scene.waits
    scene.world.elapse(3.9)
    assert scene.outcome == []
    scene.world.elapse(0.2)
    assert scene.outcome == [True]


# -- the message that waits -------------------------------------------------------------------


@both_roles
def test_a_message_in_fragments_waits_as_a_whole(judge: str) -> None:
    scene = Scene(judge, STRICT, ocsp=OCSP, padding=6000)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT)
    assert scene.run()


@both_roles
def test_the_ike_sa_may_end_while_servers_are_asked(judge: str) -> None:
    scene = Scene(judge, STRICT, ocsp=OCSP)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT)
    scene.begin()
    scene.judge.delete_ike()
    scene.serve()
    scene.world.elapse(200)
    # An initiator that hears nothing tries again, and then the answer is there.
    assert scene.outcome == [judge == "sun"]
    if judge == "moon":
        scene.world.assert_nothing_left()


def test_many_peers_share_one_fetch() -> None:
    """Half-open IKE_SAs of one certificate ask once."""
    scene = Scene("sun", STRICT, ocsp=OCSP)
    scene.servers.answers[OCSP] = response(scene.leaf, ROOT)
    moon = scene.world.moon
    peer = scene.configured[moon]
    outcomes: list[bool] = []
    for _ in range(3):
        from charon_core.network.packet import Endpoint

        local, remote = Endpoint(moon.address, 500), Endpoint(scene.world.sun.address, 500)
        with moon.manager.working_on(moon.manager.create_initiator(local, remote)) as ike:
            ike.begin(peer)
            ike.initiate_child(peer.children[0], outcomes.append)
    scene.world.run()
    scene.serve()
    assert outcomes.count(True) == 3
    assert scene.servers.asked == [OCSP]


def test_each_connection_has_its_own_policy() -> None:
    """The first connection that fits is strict, the second is not: the peer is let in by that."""
    scene = Scene("sun", STRICT, ocsp=OCSP)
    sun: Host = scene.world.sun
    connection(
        scene.world, sun, name="relaxed",
        local=auth("sun.example.org", AuthClass.PUBKEY,
                   certificates=scene.configured[sun].local[0].certificates),
        remote=auth("moon.example.org", AuthClass.PUBKEY, revocation=RELAXED),
    )  # fmt: skip
    assert scene.run()
    assert scene.servers.asked == [OCSP]
    names: list[str] = []
    sun.with_ike(lambda ike: names.append(ike.name))
    assert names == ["relaxed"]
