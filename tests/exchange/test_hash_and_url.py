"""Certificates as a hash and a URL: followed only where that is allowed, and by their hash."""

from __future__ import annotations

from hashlib import sha1

import pytest

from charon_core.config.der import encode
from charon_core.config.peer import AuthClass
from charon_core.credentials.online.request import Failure, FetchError, FetchRequest
from charon_core.credentials.sets import AuthorityUris
from charon_core.encoding.payloads import Certificate as CertificatePayload
from charon_core.encoding.registry import CertEncoding
from charon_core.sa.authenticators import certificates, references
from tests.exchange.world import EPOCH, Host, World, auth, connection
from tests.unit.credentials import pki
from tests.unit.credentials.online.servers import Servers

BASE = "http://certs.test/"
ROOT = pki.authority("C=CH, CN=Root")
both_roles = pytest.mark.parametrize("judge", ["moon", "sun"])


class Scene:
    """A tunnel by certificates; one side publishes its own, the other one (`judge`) looks it up."""

    def __init__(self, judge: str, *, allowed: bool = True) -> None:
        world = self.world = World()
        self.judge = world.moon if judge == "moon" else world.sun
        self.other = world.sun if judge == "moon" else world.moon
        self.servers = Servers(lambda: EPOCH + world.now)
        self.servers.attach(self.judge.credentials)
        self.judge.credentials.look_up_certificates(allowed)
        self.leaves = {host: self._certify(host) for host in (world.moon, world.sun)}
        self.other.secrets.set_authority_uris(
            "root", ROOT.certificate, AuthorityUris(cert_base=BASE)
        )
        self.leaf = self.leaves[self.other]
        self.uri = BASE + sha1(self.leaf.der).hexdigest()
        self.outcome: list[bool] = []
        self._connect(world.sun)
        self.peer = self._connect(world.moon)

    def _certify(self, host: Host) -> pki.Node:
        name = f"{host.name}.example.org"
        node = pki.issue(f"C=CH, CN={name}", ROOT, names=(f"dns:{name}",))
        host.secrets.add_trust_anchor(ROOT.certificate)
        host.secrets.add_certificate(node.certificate)
        host.secrets.add_private_key(node.private_key)
        return node

    def _connect(self, host: Host):
        other = self.world.sun if host is self.world.moon else self.world.moon
        own = auth(f"{host.name}.example.org", AuthClass.PUBKEY,
                   certificates=(self.leaves[host].der,))  # fmt: skip
        remote = auth(f"{other.name}.example.org", AuthClass.PUBKEY)
        return connection(self.world, host, local=own, remote=remote)

    def run(self) -> bool:
        self.world.moon.initiate(self.peer, outcome=self.outcome)
        self.world.run()
        while self.servers.work():
            self.world.elapse(0)
        (came_up,) = self.outcome
        return came_up


@both_roles
def test_a_certificate_is_looked_up(judge: str) -> None:
    scene = Scene(judge)
    scene.servers.answers[scene.uri] = scene.leaf.der
    assert scene.run()
    assert scene.servers.asked == [scene.uri]
    assert not scene.servers.requests[0].configured
    assert scene.other.recorder.said(f'sending hash-and-url "{scene.uri}"')
    assert scene.judge.recorder.said(f'received hash-and-url "{scene.uri}"')
    # The next time it is here.
    scene.world.moon.delete_ike()
    scene.world.run()
    scene.outcome.clear()
    assert scene.run()
    assert len(scene.servers.requests) == 1


@both_roles
def test_who_does_not_ask_for_it_is_sent_the_certificate(judge: str) -> None:
    scene = Scene(judge, allowed=False)
    assert scene.run()
    assert scene.servers.jobs == []
    assert scene.other.recorder.said("sending certificate")


@both_roles
def test_unasked_for_references_are_not_followed(
    judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(judge, allowed=False)
    send = references.url_to_send

    def send_unasked(ike, certificate) -> str:
        return scene.uri if ike.env is scene.other.env else send(ike, certificate)

    monkeypatch.setattr(references, "url_to_send", send_unasked)
    assert not scene.run()
    assert scene.servers.jobs == []
    assert scene.judge.recorder.said("ignoring certificate with encoding HASH_AND_URL_X509")


@both_roles
@pytest.mark.parametrize(
    "answer",
    [
        FetchError(Failure.TIMEOUT, "no answer"),
        b"rubbish",
        pki.issue("C=CH, CN=sun.example.org", ROOT).der,
    ],
    ids=["dead", "rubbish", "other"],
)
def test_what_is_not_there_counts_as_not_sent(judge: str, answer: object) -> None:
    scene = Scene(judge)
    scene.servers.answers[scene.uri] = answer
    assert not scene.run()
    assert scene.servers.asked == [scene.uri]


def test_the_hash_is_checked_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("sun")
    scene.servers.answers[scene.uri] = scene.leaf.der + b"\0"
    module = "charon_core.credentials.online.lookup.Certificate"
    monkeypatch.setattr(module, lambda data: pytest.fail("parsed"))
    assert not scene.run()
    assert any("does not have the hash" in line for line in scene.servers.lines)


def test_references_of_one_message_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("sun")
    add_own = certificates.add_own

    def add_many(ike, own, out) -> None:
        if ike.env is scene.other.env:
            for number in range(10):
                data = bytes(19) + bytes((number,)) + f"http://victim{number}.test/".encode()
                out.append(CertificatePayload(encoding=CertEncoding.HASH_AND_URL_X509, data=data))
        add_own(ike, own, out)

    monkeypatch.setattr(certificates, "add_own", add_many)
    assert not scene.run()
    assert len(scene.servers.requests) == references.MAX_FOLLOWED


def bundle(*certificates: bytes) -> bytes:
    return encode(0x30, b"".join(encode(0xA0, der) for der in certificates))


@both_roles
def test_a_bundle(judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(judge)
    data = bundle(scene.leaf.der, ROOT.der)

    def refer(_certificate: object, _url: str) -> CertificatePayload:
        digest = sha1(data).digest()
        return CertificatePayload(
            encoding=CertEncoding.HASH_AND_URL_BUNDLE, data=digest + b"http://certs.test/bundle"
        )

    monkeypatch.setattr(references, "payload", refer)
    scene.servers.answers["http://certs.test/bundle"] = data
    assert scene.run()


def test_strangers_do_not_bring_servers_into_disrepute() -> None:
    """What a peer refers to is fetched apart: it could name the OCSP responder of a CA."""
    scene = Scene("sun")
    assert not scene.run()
    assert scene.servers.asked == [scene.uri]
    online = scene.judge.credentials.online
    scene.servers.answers[scene.uri] = b"data"
    assert online.fetcher.fetch(FetchRequest(scene.uri)) == b"data"
    assert online.desk is not online.certificates.desk
