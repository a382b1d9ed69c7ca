"""Shared secrets and the set in memory: selection as ipsec.secrets has it, indexes, replacing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.identification import Identification
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet, SecretKind, SharedSecret
from charon_core.crypto.secret import Secret
from tests.unit.credentials import pki

ID = Identification.parse
LOCAL, REMOTE = "10.77.0.1", "10.77.0.2"


def secret(selectors, value, kind=SecretKind.IKE):
    """A line of ipsec.secrets; no selector at all is one of ANY."""
    owners = tuple(ID(text) for text in selectors.split()) or (Identification.any(),)
    return SharedSecret(kind, Secret(value.encode()), owners)


def store(*entries):
    made = MemorySet()
    for selectors, value in entries:
        made.add_secret(secret(selectors, value))
    return made


def manager(*sets):
    made = CredentialManager()
    for credential_set in sets:
        made.add(credential_set)
    return made


def used(entries, me=LOCAL, other=REMOTE):
    found = manager(store(*entries)).shared_secret(SecretKind.IKE, ID(me), ID(other))
    return found and found.secret.reveal().decode()


# The table of the reference, then more of the rule: highest score of the other side, then of
# ours, then the later one.
SELECTION = [
    ([("10.77.0.1", "A"), ("", "B")], "B"),
    ([("", "A"), ("10.77.0.1", "B")], "A"),
    ([("10.77.0.1 %any", "B"), ("", "A")], "B"),
    ([("10.77.0.1 %any", "A"), ("10.77.0.2", "B")], "B"),
    ([("10.77.0.2", "A"), ("10.77.0.1 10.77.0.2", "B")], "B"),
    ([("10.77.0.1 10.77.0.2", "B"), ("10.77.0.2", "A")], "B"),
    ([("", "A"), ("", "B")], "B"),
    ([("1.2.3.4", "A")], None),
    ([], None),
    ([("10.77.0.1", "A")], "A"),
    ([("10.77.0.2", "A")], "A"),
    ([("10.77.0.0/16", "A"), ("10.77.0.2", "B")], "B"),
    ([("10.77.0.2", "B"), ("10.77.0.0/16", "A")], "B"),
    ([("10.77.0.0/16", "A"), ("", "B")], "A"),
    ([("%any", "A"), ("%any6", "B"), ("0.0.0.0", "C"), ("*", "D"), ("::", "E")], "E"),
    ([("10.77.0.2 10.77.0.1", "A"), ("10.77.0.1 10.77.0.2", "B")], "B"),
    ([("1.1.1.1 2.2.2.2 10.77.0.2", "A"), ("", "B")], "A"),
]


@pytest.mark.parametrize(("entries", "expected"), SELECTION)
def test_which_secret_is_used(entries, expected):
    assert used(entries) == expected


NAMES = [
    ([("moon.example.org", "A"), ("*.example.org", "B")], "moon.example.org", "sun", "A"),
    ([("*.example.org", "A"), ("sun", "B")], "moon.example.org", "sun", "B"),
    ([("*.example.org", "A")], "moon", "sun.example.org", "A"),
    ([("C=CH,CN=*", "A"), ("%any", "B")], "moon", "C=CH, CN=sun", "A"),
    ([("MOON.example.ORG", "A")], "moon.example.org", "sun", "A"),
    ([("CN=MOON", "A")], "cn=moon", "sun", "A"),
    ([("@moon", "A")], "keyid:moon", "sun", None),
    ([("moon", "A")], "%any", "sun", None),
    ([("", "A")], "%any", "sun", "A"),
]


@pytest.mark.parametrize(("entries", "me", "other", "expected"), NAMES)
def test_selection_by_name(entries, me, other, expected):
    assert used(entries, me, other) == expected


def test_verification_tries_every_candidate_best_first():
    entries = [
        ("", "any early"),
        ("10.77.0.2", "theirs"),
        ("10.77.0.1", "ours"),
        ("1.2.3.4", "nobody"),
        ("10.77.0.1 10.77.0.2", "both"),
        ("", "any late"),
    ]
    found = manager(store(*entries)).shared_secrets(SecretKind.IKE, ID(LOCAL), ID(REMOTE))
    values = [entry.secret.reveal().decode() for entry in found]
    assert values == ["both", "theirs", "any late", "any early", "ours"]


PROVING = [
    # Who has a secret of the gateway's must not pass for somebody else.
    ([("gate alice", "A"), ("gate bob", "B")], "alice", ["A"]),
    ([("gate bob", "B")], "alice", []),
    ([("bob", "B"), ("gate bob carol", "C")], "alice", []),
    # A secret of one's own counts more than that of a group or of everybody.
    ([("alice", "A"), ("", "any")], "alice", ["A"]),
    ([("alice.x", "A"), ("gate *.x", "group"), ("%any", "any")], "alice.x", ["A"]),
    ([("gate *.x", "group"), ("%any", "any")], "alice.x", ["group"]),
    # Among equals every one is tried: secrets change at one end first.
    ([("gate alice", "old"), ("gate alice", "new")], "alice", ["new", "old"]),
    ([("alice", "A"), ("gate alice", "B")], "alice", ["B", "A"]),
    ([("", "1"), ("gate %any", "2")], "alice", ["2", "1"]),
    # Selectors of our side alone.
    ([("gate", "A")], "alice", ["A"]),
    ([("gate", "A"), ("", "any")], "alice", ["any"]),
    ([], "alice", []),
]


@pytest.mark.parametrize(("entries", "peer", "expected"), PROVING)
def test_a_secret_only_proves_who_it_names(entries, peer, expected):
    found = manager(store(*entries)).proving_secrets(SecretKind.IKE, ID("gate"), ID(peer))
    assert [entry.secret.reveal().decode() for entry in found] == expected


def test_kinds_are_kept_apart():
    made = store(("carol", "ike"))
    made.add_secret(secret("carol", "eap", SecretKind.EAP))
    made.add_secret(secret("carol", "ntlm", SecretKind.NTLM))
    credentials = manager(made)
    for kind in (SecretKind.IKE, SecretKind.EAP, SecretKind.NTLM):
        found = credentials.shared_secret(kind, ID("aaa"), ID("carol"))
        assert found.secret.reveal().decode() == kind.value.lower()
    assert credentials.shared_secret(SecretKind.PIN, ID("aaa"), ID("carol")) is None


def test_one_side_alone():
    made = store(("carol", "A"), ("dave", "B"), ("", "C"))
    credentials = manager(made)
    assert credentials.shared_secret(SecretKind.IKE, None, ID("carol")).secret.reveal() == b"A"
    assert credentials.shared_secret(SecretKind.IKE, ID("dave"), None).secret.reveal() == b"B"
    everything = credentials.shared_secrets(SecretKind.IKE, None, None)
    assert [entry.secret.reveal() for entry in everything] == [b"C", b"B", b"A"]


def test_equal_scores_in_several_sets():
    first, second = store(("", "A")), store(("", "B"))
    assert manager(first, second).shared_secret(
        SecretKind.IKE, ID(LOCAL), ID(REMOTE)
    ).secret.reveal() == b"B"  # fmt: skip


OWNERS = st.sampled_from(["%any", LOCAL, REMOTE, "10.0.0.0/8", "moon", "*.x", "CN=a", "CN=*"])
ENTRIES = st.lists(st.lists(OWNERS, min_size=1, max_size=3).map(" ".join), max_size=8)
PARTIES = st.sampled_from([LOCAL, REMOTE, "moon", "a.x", "CN=a", "1.2.3.4", "%any"])


@given(ENTRIES, PARTIES, PARTIES)
def test_the_index_finds_what_going_through_all_would_find(entries, me, other):
    made = store(*((selectors, str(number)) for number, selectors in enumerate(entries)))
    expected = []
    for number, selectors in enumerate(entries):
        entry = secret(selectors, str(number))
        mine, theirs = entry.score(ID(me)), entry.score(ID(other))
        if mine or theirs:
            expected.append((entry, mine, theirs))
    assert made.shared_secrets(SecretKind.IKE, ID(me), ID(other)) == expected


class Unindexed:
    """A set that only has what every set must have."""

    name = "unindexed"

    def __init__(self, store):
        self.shared_secrets = store.shared_secrets


@given(ENTRIES, PARTIES, PARTIES)
def test_the_nearest_secrets_are_those_that_matter(entries, me, other):
    made = store(*((selectors, str(number)) for number, selectors in enumerate(entries)))
    indexed, plain = manager(made), manager(Unindexed(made))
    for ask in (CredentialManager.shared_secret, CredentialManager.proving_secrets):
        found = [ask(credentials, SecretKind.IKE, ID(me), ID(other)) for credentials in
                 (indexed, plain)]  # fmt: skip
        assert found[0] == found[1]


def test_lookups_do_not_slow_down_with_ten_thousand_secrets(monkeypatch):
    counts = []
    original = Identification.matches
    calls = {"n": 0}

    def counting(self, pattern):
        calls["n"] += 1
        return original(self, pattern)

    monkeypatch.setattr(Identification, "matches", counting)
    for size in (100, 10_000):
        made = store(*((f"p{number} gate", str(number)) for number in range(size)))
        calls["n"] = 0
        found = manager(made).shared_secret(SecretKind.IKE, ID("gate"), ID("p7"))
        assert found.secret.reveal() == b"7"
        assert manager(made).proving_secrets(SecretKind.IKE, ID("gate"), ID("p7")) == [found]
        counts.append(calls["n"])
    assert counts[0] == counts[1] < 20


class TestNoSecretIsShown:
    entry = secret("moon sun", "open sesame")

    @pytest.mark.parametrize("form", [repr, str, "{}".format, "{!r}".format, "%s".__mod__])
    def test_text_forms(self, form):
        assert "sesame" not in form(self.entry)
        assert "sesame" not in form((self.entry,))

    def test_what_log_lines_say(self):
        assert str(self.entry) == "IKE secret for moon sun"
        assert str(SharedSecret(SecretKind.EAP, Secret(b"x"), ())) == "EAP secret for %any"

    def test_sets_and_managers(self):
        made = store(("moon", "open sesame"))
        for thing in (made, manager(made), vars(made)):
            assert "sesame" not in repr(thing)


class TestReplacing:
    def test_all_secrets_and_keys_at_once(self):
        made = store(("moon", "A"))
        old, new = (pki.issue("CN=x", kind=kind).private_key for kind in ("ec256", "ec384"))
        made.add_private_key(old)
        made.replace_secrets([secret("sun", "B"), secret("carol", "C", SecretKind.EAP)], [new])
        assert made.shared_secrets(SecretKind.IKE, ID("moon"), None) == []
        assert len(made.shared_secrets(SecretKind.IKE, ID("sun"), None)) == 1
        assert len(made.shared_secrets(SecretKind.EAP, ID("carol"), None)) == 1
        assert made.private_keys() == [new]
        assert made.private_keys(old.fingerprint) == []
        assert made.private_keys(new.fingerprint) == [new]

    def test_trust_anchors(self):
        made = MemorySet("stroke")
        first, second = pki.authority("CN=one"), pki.authority("CN=two")
        made.add_trust_anchor(first.certificate)
        made.replace_trust_anchors([second.certificate])
        assert made.name == "stroke"
        assert made.trust_anchors() == [second.certificate]
        assert made.trust_anchors(ID("CN=one")) == []
        assert made.certificates() == [second.certificate]
        made.replace_trust_anchors([second.certificate, first.certificate])
        assert made.trust_anchors(ID("CN=two")) == [second.certificate]

    def test_clear(self):
        made = store(("moon", "A"))
        node = pki.authority("CN=one")
        made.add_trust_anchor(node.certificate)
        made.add_private_key(node.private_key)
        made.add_crl(pki.crl(node))
        made.add_public_key(ID("moon"), node.public_key)
        made.clear()
        assert made.shared_secrets(SecretKind.IKE, None, None) == []
        assert not made.certificates() + made.trust_anchors() + made.private_keys()
        assert not made.all_crls() + made.all_public_keys()


class TestCertificates:
    def test_by_subject_alternative_name_and_key(self):
        made = MemorySet()
        node = pki.issue("C=CH, CN=moon", names=("dns:moon", "email:moon@x"))
        made.add_certificate(node.certificate)
        other = pki.issue("C=CH, CN=sun")
        made.add_certificate(other.certificate)
        for text in ("moon", "MOON", "moon@x", "c=ch, cn=moon", "*@x"):
            assert made.certificates(ID(text)) == [node.certificate]
        assert made.certificates(ID("C=CH, CN=*")) == [node.certificate, other.certificate]
        assert made.certificates(ID("sun")) == []
        keyid = node.public_key.keyid
        assert made.certificates(keyid=keyid) == [node.certificate]
        assert made.certificates(ID("moon"), keyid) == [node.certificate]
        assert made.certificates(other.certificate.subject, keyid) == []
        assert made.certificates(keyid="00") == []
        assert made.trust_anchors() == []

    def test_the_same_certificate_is_kept_once(self):
        made = MemorySet()
        node = pki.issue("CN=moon")
        again = type(node.certificate)(node.der)
        assert made.add_certificate(node.certificate) is node.certificate
        assert made.add_trust_anchor(again) is node.certificate
        assert made.certificates() == [node.certificate]
        assert made.remove_certificate(again)
        assert not made.remove_certificate(again)
        assert made.certificates(ID("CN=moon")) == []
        assert made.trust_anchors() == []
        assert not made._by_name
        assert not made._by_keyid

    def test_anchors_are_found_by_their_subject_alone(self):
        made = MemorySet()
        node = pki.authority("CN=ca", names=("dn:CN=alias",))
        made.add_trust_anchor(node.certificate)
        assert made.trust_anchors(ID("CN=ca")) == [node.certificate]
        assert made.trust_anchors(ID("CN=alias")) == []

    def test_raw_keys_of_patterns(self):
        made = MemorySet()
        key = pki.issue("CN=x").public_key
        made.add_public_key(ID("*.x"), key)
        made.add_public_key(ID("*.x"), key)
        assert made.public_keys(ID("a.x")) == [key]
        assert made.public_keys(ID("a.y")) == []
        assert made.all_public_keys() == [(ID("*.x"), key)]
