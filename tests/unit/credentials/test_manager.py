"""The credential manager: our own keys, sets that fail, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthConfig
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet, SecretKind, SharedSecret
from charon_core.crypto.secret import Secret
from tests.unit.credentials.pki import NOW, authority, demands, issue

ID = Identification.parse
ROOT = authority("CN=root")
SUB = authority("CN=sub", ROOT)
MOON = issue("CN=moon", SUB, names=("dns:moon",))


def manager(*, anchors=(), certificates=(), keys=(), raw=()):
    store = MemorySet()
    for node in anchors:
        store.add_trust_anchor(node.certificate)
    for node in certificates:
        store.add_certificate(node.certificate)
    for node in keys:
        store.add_private_key(node.private_key)
    for who, node in raw:
        store.add_public_key(ID(who), node.public_key)
    made = CredentialManager()
    made.add(store)
    return made


def ours(identity="moon", *nodes, **fields):
    return AuthConfig(
        identity=ID(identity), certificates=tuple(node.der for node in nodes), **fields
    )


def sent(found):
    key, chain = found
    return key.fingerprint, [str(certificate.subject) for certificate in chain]


class TestOurOwnKey:
    def test_of_the_configured_certificate_with_what_leads_to_the_root(self):
        known = manager(anchors=[ROOT], certificates=[SUB], keys=[MOON])
        assert sent(known.private_key_for(ours("moon", MOON))) == (
            MOON.public_key.fingerprint,
            ["CN=moon", "CN=sub"],
        )

    def test_intermediates_from_the_bundle_and_from_the_trusted(self):
        from_bundle = manager(keys=[MOON]).private_key_for(ours("moon", MOON, SUB, ROOT))
        assert sent(from_bundle)[1] == ["CN=moon", "CN=sub"]
        trusted = manager(anchors=[SUB, ROOT], keys=[MOON])
        assert sent(trusted.private_key_for(ours("moon", MOON)))[1] == ["CN=moon", "CN=sub"]

    def test_an_impostor_of_an_intermediate_is_not_sent(self):
        impostor = authority("CN=sub", ROOT, owner="mallory", key_ids=False)
        known = manager(certificates=[impostor], keys=[MOON])
        assert sent(known.private_key_for(ours("moon", MOON)))[1] == ["CN=moon"]

    def test_a_self_signed_certificate_is_sent_alone(self):
        alone = issue("CN=alone")
        known = manager(keys=[alone])
        assert sent(known.private_key_for(ours("CN=alone", alone)))[1] == ["CN=alone"]

    def test_a_long_chain_is_sent_up_to_its_limit(self):
        nodes = [authority("CN=ca0")]
        for number in range(1, 12):
            nodes.append(authority(f"CN=ca{number}", nodes[-1]))
        leaf = issue("CN=x", nodes[-1])
        chain = sent(manager(certificates=nodes, keys=[leaf]).private_key_for(ours("x", leaf)))[1]
        assert chain == ["CN=x", *(f"CN=ca{number}" for number in range(11, 4, -1))]

    def test_the_first_certificate_with_a_key_counts(self):
        other = issue("CN=other")
        known = manager(keys=[MOON])
        assert sent(known.private_key_for(ours("moon", other, MOON)))[1] == ["CN=moon"]
        assert sent(
            known.private_key_for(AuthConfig(certificates=(b"garbage", MOON.der)))
        )[1] == ["CN=moon"]  # fmt: skip

    def test_any_certificate_that_names_us(self):
        known = manager(certificates=[MOON, SUB], keys=[MOON])
        assert sent(known.private_key_for(ours("moon")))[1] == ["CN=moon", "CN=sub"]
        assert known.private_key_for(ours("sun")) is None
        assert known.private_key_for(ours("%any")) is None

    def test_raw_keys(self):
        known = manager(keys=[MOON])
        raw = ours("10.0.0.1", public_keys=(b"garbage", MOON.public_key.spki))
        assert sent(known.private_key_for(raw)) == (MOON.public_key.fingerprint, [])
        bound = manager(keys=[MOON], raw=[("10.0.0.1", MOON)])
        assert sent(bound.private_key_for(ours("10.0.0.1"))) == (MOON.public_key.fingerprint, [])

    def test_no_key(self):
        """Class 12: a missing secret is an answer, not an exception."""
        known = manager(anchors=[ROOT], certificates=[MOON, SUB])
        assert known.private_key_for(ours("moon", MOON)) is None
        assert known.private_key_for(ours("moon")) is None
        assert CredentialManager().private_key_for(ours("moon", MOON)) is None
        assert CredentialManager().shared_secret(SecretKind.IKE, ID("a"), ID("b")) is None


def test_hashes_of_the_trusted_cas():
    known = manager(anchors=[ROOT, SUB], certificates=[MOON])
    assert known.ca_hashes() == tuple(bytes.fromhex(node.public_key.keyid) for node in (ROOT, SUB))
    same_key = authority("CN=renamed", owner="CN=root")
    assert len(manager(anchors=[ROOT, same_key]).ca_hashes()) == 1


class Failing:
    """A set of a plugin that has lost its database, password and all."""

    name = "sql"

    def __getattr__(self, _name):
        def fail(*_args):
            message = "connect failed: password=sesame"
            raise RuntimeError(message)

        return fail


class HalfFailing(MemorySet):
    """A set that fails while it is being read."""

    def nearest_secrets(self, kind, me, other):
        return self.shared_secrets(kind, me, other)

    def shared_secrets(self, kind, me, other):
        yield from super().shared_secrets(kind, me, other)
        raise KeyError


class TestFailingSets:
    def test_the_others_are_asked_and_nothing_secret_is_reported(self):
        lines = []
        credentials = CredentialManager(lines.append)
        good = MemorySet()
        good.add_secret(SharedSecret(SecretKind.IKE, Secret(b"x"), (ID("moon"),)))
        good.add_trust_anchor(ROOT.certificate)
        good.add_private_key(MOON.private_key)
        credentials.add(Failing())
        credentials.add(good)
        assert credentials.shared_secret(SecretKind.IKE, ID("moon"), None)
        assert credentials.shared_secrets(SecretKind.IKE, ID("moon"), None)
        assert credentials.private_key_for(ours("moon", MOON))
        assert credentials.trusted_keys(
            ID("moon"), [MOON.certificate, SUB.certificate], demands(), NOW
        )
        assert credentials.ca_hashes()
        assert list(credentials.certificates())
        assert set(lines) == {"credential set 'sql' failed: RuntimeError"}

    def test_what_came_before_the_failure_counts(self):
        lines = []
        half = HalfFailing("half")
        half.add_secret(SharedSecret(SecretKind.IKE, Secret(b"x"), (ID("moon"),)))
        credentials = CredentialManager(lines.append)
        credentials.add(half)
        assert credentials.shared_secret(SecretKind.IKE, ID("moon"), None).secret == Secret(b"x")
        assert lines == ["credential set 'half' failed: KeyError"]


def test_sets_are_added_once_and_removed():
    credentials = CredentialManager()
    store = MemorySet()
    store.add_private_key(MOON.private_key)
    credentials.add(store)
    credentials.add(store)
    assert credentials.sets == (store,)
    assert len(list(credentials.private_keys())) == 1
    credentials.remove(store)
    credentials.remove(store)
    assert list(credentials.private_keys()) == []


PSK = """
import sys
from charon_core.config.backend import BackendManager
from charon_core.config.child import ChildConfig
from charon_core.config.identification import Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.memory import ConnectionTable
from charon_core.config.peer import AuthClass, AuthConfig, PeerConfig
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet, SecretKind, SharedSecret
from charon_core.crypto.secret import Secret

me = Identification.parse("C=CH, CN=moon")
credentials, store = CredentialManager(), MemorySet()
store.add_secret(SharedSecret(SecretKind.IKE, Secret(b"x"), (me,)))
credentials.add(store)
auth = AuthConfig(auth_class=AuthClass.PSK, identity=me)
table = ConnectionTable()
table.add(PeerConfig(name="a", ike=IkeConfig(name="a"), local=(auth,), remote=(auth,),
                     children=(ChildConfig(name="a"),)))
manager = BackendManager()
manager.add(table)
assert manager.find_ike_config("10.0.0.1", "10.0.0.2")
assert manager.find_peer_configs("10.0.0.1", "10.0.0.2", me, me)
assert credentials.shared_secret(SecretKind.IKE, me, me)
assert credentials.ca_hashes() == ()
print(*sorted(name for name in sys.modules if name.startswith("cryptography")))
"""


def test_pre_shared_keys_need_no_library_of_certificates():
    done = subprocess.run(
        [sys.executable, "-c", PSK], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["certificates", "trust", "peer_trust", "revocation", "loading"])
def test_certificates_need_no_library_of_certificates_either(module):
    program = (
        f"import sys, charon_core.credentials.{module}; print('cryptography.x509' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
