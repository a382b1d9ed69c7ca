"""Trust chains: every way that leads to a trusted CA, and every reason why none does."""

from __future__ import annotations

from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from charon_core.config.identification import Identification
from charon_core.config.peer import RevocationPolicy
from charon_core.credentials import trust
from charon_core.credentials.certificates import Certificate
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet
from charon_core.credentials.trust import RelationCache
from charon_core.credentials.verdict import MAX_PROBLEMS, ProblemKind
from charon_core.crypto.errors import InvalidSignature
from tests.unit.credentials import pki
from tests.unit.credentials.pki import DAY, NOW, YEAR, authority, demands, issue, usage
from tests.unit.credentials.test_certificates import Parts

ROOT = authority("C=CH, CN=root")
SUB = authority("C=CH, CN=sub", ROOT)
MOON = issue("C=CH, CN=moon", SUB, names=("dns:moon",))
ID = Identification.parse


def credentials(*anchors, others=(), crls=()):
    """A manager that trusts some CAs and knows some other certificates."""
    store = MemorySet()
    for node in anchors:
        store.add_trust_anchor(node.certificate)
    for node in others:
        store.add_certificate(node.certificate)
    for crl in crls:
        store.add_crl(crl)
    manager = CredentialManager()
    manager.add(store)
    return manager


def verdict(manager, *presented, who="moon", auth=None, now=NOW):
    certificates = [node.certificate for node in presented]
    return manager.trusted_keys(ID(who), certificates, auth or demands(), now)


def chain_of(result):
    """The names of the one trusted chain."""
    (trusted,) = result.keys
    return [str(certificate.subject).rpartition("=")[2] for certificate in trusted.chain]


def refused(result, kind, *words):
    """Check that nothing is trusted, for a reason of that kind with those words."""
    assert result.keys == ()
    assert not result
    texts = [problem.text for problem in result.problems if problem.kind is kind]
    assert any(all(word in text for word in words) for text in texts), result.text
    return True


class TestChains:
    def test_intermediates_are_presented(self):
        result = verdict(credentials(ROOT), MOON, SUB)
        assert chain_of(result) == ["moon", "sub", "root"]
        assert result
        assert list(result) == list(result.keys)
        assert str(result.keys[0]) == "certificate 'C=CH, CN=moon'"
        assert result.keys[0].public_key == MOON.public_key

    def test_intermediates_are_known(self):
        assert chain_of(verdict(credentials(ROOT, others=[SUB]), MOON)) == ["moon", "sub", "root"]

    def test_intermediates_are_trusted_themselves(self):
        assert chain_of(verdict(credentials(SUB), MOON)) == ["moon", "sub"]
        assert chain_of(verdict(credentials(SUB, ROOT), MOON)) == ["moon", "sub"]

    def test_the_presented_root_is_not_believed(self):
        assert refused(
            verdict(credentials(), MOON, SUB, ROOT),
            ProblemKind.UNTRUSTED, "self-signed", "CN=root", "not among the trusted CAs",
        )  # fmt: skip

    def test_a_missing_intermediate_is_named(self):
        assert refused(
            verdict(credentials(ROOT), MOON),
            ProblemKind.UNTRUSTED, "no trusted CA 'C=CH, CN=sub'", "CN=moon",
        )  # fmt: skip

    def test_a_certificate_that_is_trusted_itself(self):
        alone = issue("CN=alone", names=("dns:moon",))
        assert chain_of(verdict(credentials(alone), alone)) == ["alone"]

    def test_the_peer_sent_none_but_it_is_known(self):
        assert chain_of(verdict(credentials(ROOT, others=[SUB, MOON]))) == ["moon", "sub", "root"]

    def test_nothing_is_known(self):
        assert refused(
            verdict(credentials(ROOT)), ProblemKind.UNTRUSTED, "the peer sent no", "rightcert"
        )
        assert refused(
            verdict(credentials()), ProblemKind.UNTRUSTED, "no CA is trusted", "ipsec.d/cacerts"
        )

    def test_order_and_repetition_of_presented_certificates_do_not_matter(self):
        for presented in ([MOON, MOON, SUB, SUB, ROOT], [SUB, ROOT, MOON]):
            assert chain_of(verdict(credentials(ROOT), *presented)) == ["moon", "sub", "root"]

    def test_old_roots_without_basic_constraints(self):
        old = authority("CN=old", ca=None, key_usage=None)
        leaf = issue("CN=x", old, names=("dns:moon",))
        assert chain_of(verdict(credentials(old), leaf)) == ["x", "old"]


class TestSeveralIssuers:
    """CAs of one name: renewed, cross-signed, impostors."""

    def test_a_renewed_ca_with_another_key(self):
        new = authority("C=CH, CN=root", owner="new root", key_ids=False)
        leaf = issue("CN=x", new, names=("dns:moon",), key_ids=False)
        assert chain_of(verdict(credentials(ROOT, new), leaf)) == ["x", "root"]
        assert refused(
            verdict(credentials(ROOT), leaf), ProblemKind.UNTRUSTED, "not acceptably signed"
        )

    def test_key_identifiers_choose_the_issuer_without_a_signature_check(self):
        new = authority("C=CH, CN=root", owner="new root")
        leaf = issue("CN=x", new, names=("dns:moon",))
        assert refused(verdict(credentials(ROOT), leaf), ProblemKind.UNTRUSTED, "no trusted CA")
        assert chain_of(verdict(credentials(ROOT, new), leaf)) == ["x", "root"]

    def test_an_expired_ca_beside_a_valid_one_of_the_same_key(self):
        expired = authority("C=CH, CN=sub", ROOT, not_after=NOW - DAY)
        assert chain_of(verdict(credentials(ROOT), MOON, expired, SUB)) == ["moon", "sub", "root"]

    def test_cross_signed_cas(self):
        other = authority("CN=other root")
        crossed = authority("C=CH, CN=sub", other)
        assert chain_of(verdict(credentials(other), MOON, SUB, crossed)) == [
            "moon", "sub", "other root"
        ]  # fmt: skip
        assert chain_of(verdict(credentials(ROOT), MOON, crossed, SUB)) == ["moon", "sub", "root"]

    def test_cas_that_sign_each_other(self):
        one = authority("CN=one")
        two = authority("CN=two", one)
        one_by_two = authority("CN=one", two)
        leaf = issue("CN=x", two, names=("dns:moon",))
        assert refused(
            verdict(credentials(), leaf, two, one_by_two), ProblemKind.UNTRUSTED, "no trusted CA"
        )
        assert chain_of(verdict(credentials(one), leaf, two, one_by_two)) == ["x", "two", "one"]

    def test_an_impostor_with_the_name_of_a_ca(self):
        impostor = authority("C=CH, CN=sub", ROOT, owner="mallory", private=None)
        forged = issue("CN=evil", impostor, names=("dns:moon",), key_ids=False)
        assert refused(
            verdict(credentials(ROOT), forged, SUB),
            ProblemKind.UNTRUSTED, "CN=evil", "not acceptably signed", "CN=sub",
        )  # fmt: skip

    def test_the_key_of_the_issuer_under_another_name(self):
        renamed = authority("CN=renamed", ROOT, owner="C=CH, CN=sub")
        assert refused(
            verdict(credentials(ROOT), MOON, renamed), ProblemKind.UNTRUSTED, "no trusted CA"
        )

    def test_many_copies_of_the_same_cas_do_not_make_endless_chains(self, monkeypatch):
        steps = []
        original = trust.ChainBuilder._may_issue
        monkeypatch.setattr(
            trust.ChainBuilder,
            "_may_issue",
            lambda self, *a, **k: steps.append(a) or original(self, *a, **k),
        )
        top = authority("CN=l0")
        levels = [[top]]
        for level in range(1, 7):
            levels.append(
                [authority(f"CN=l{level}", levels[-1][0], serial=n + 1) for n in range(4)]
            )
        leaf = issue("CN=x", levels[-1][0], names=("dns:moon",))
        known = [node for copies in levels for node in copies]
        assert not verdict(credentials(others=known), leaf)
        assert len(steps) <= 5 * trust.MAX_STEPS

    def test_the_work_for_one_authentication_is_bounded(self, monkeypatch):
        checks = []
        original = trust.check_signature
        monkeypatch.setattr(trust, "check_signature", lambda *a: checks.append(a) or original(*a))
        impostors = [
            authority("C=CH, CN=root", owner=f"i{n % 4}", key_ids=False, serial=n + 1)
            for n in range(40)
        ]
        leaf = issue("CN=x", ROOT, names=("dns:moon",), key_ids=False)
        result = verdict(credentials(ROOT, others=impostors), *[leaf, *impostors])
        assert result
        checks.clear()
        result = verdict(credentials(others=impostors), *[leaf, *impostors])
        assert not result
        assert len(checks) <= trust.MAX_SIGNATURE_CHECKS
        assert len(result.problems) <= MAX_PROBLEMS


class TestValidity:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"not_after": NOW - DAY}, ["has expired at", "2027-01-14", "now it is 2027-01-15"]),
            ({"not_before": NOW + DAY}, ["is not valid before", "2027-01-16"]),
        ],
    )
    def test_each_certificate_must_be_valid_now(self, fields, words):
        sub = authority("CN=sub", ROOT, **fields)
        leaf = issue("CN=x", sub, names=("dns:moon",))
        assert refused(verdict(credentials(ROOT), leaf, sub), ProblemKind.EXPIRED, "sub", *words)
        root = authority("CN=r", **fields)
        leaf = issue("CN=x", root, names=("dns:moon",))
        assert refused(verdict(credentials(root), leaf), ProblemKind.EXPIRED, "CN=r", *words)
        leaf = issue("CN=x", ROOT, names=("dns:moon",), **fields)
        assert refused(verdict(credentials(ROOT), leaf), ProblemKind.EXPIRED, "CN=x", *words)

    def test_the_time_is_the_callers(self):
        manager = credentials(ROOT)
        assert verdict(manager, MOON, SUB, now=NOW)
        assert not verdict(manager, MOON, SUB, now=NOW + 2 * YEAR)
        assert not verdict(manager, MOON, SUB, now=0)
        for edge, beyond in ((NOW + YEAR, 1), (NOW - YEAR, -1)):
            assert verdict(manager, MOON, SUB, now=edge)
            assert not verdict(manager, MOON, SUB, now=edge + beyond)


class TestWhoMayIssue:
    @pytest.mark.parametrize("fields", [{"ca": False}, {"ca": None}])
    def test_only_cas(self, fields):
        fake = issue("CN=fake", ROOT, names=("dns:fake",), **fields)
        leaf = issue("CN=x", fake, names=("dns:moon",))
        assert refused(
            verdict(credentials(ROOT), leaf, fake), ProblemKind.UNTRUSTED, "CN=fake", "is not a CA"
        )

    def test_a_trusted_end_entity_is_no_ca(self):
        fake = issue("CN=fake", ca=False)
        leaf = issue("CN=x", fake, names=("dns:moon",))
        assert refused(verdict(credentials(fake), leaf), ProblemKind.UNTRUSTED, "is not a CA")

    def test_key_usage(self):
        fake = authority("CN=ca", ROOT, key_usage=usage("crl_sign", "digital_signature"))
        leaf = issue("CN=x", fake, names=("dns:moon",))
        assert refused(
            verdict(credentials(ROOT), leaf, fake), ProblemKind.CONSTRAINT, "keyCertSign"
        )

    @pytest.mark.parametrize(("limit", "allowed"), [(0, False), (1, True), (None, True)])
    def test_path_length(self, limit, allowed):
        root = authority("CN=r", path_length=limit)
        sub = authority("CN=s", root)
        leaf = issue("CN=x", sub, names=("dns:moon",))
        result = verdict(credentials(root), leaf, sub)
        assert bool(result) == allowed
        if not allowed:
            refused(result, ProblemKind.CONSTRAINT, "CN=r", "allows 0 CA levels", "there are 1")

    def test_self_issued_certificates_do_not_count_for_the_path_length(self):
        root = authority("CN=r", path_length=0)
        rollover = authority("CN=r", root, owner="next key of r")
        leaf = issue("CN=x", rollover, names=("dns:moon",))
        assert verdict(credentials(root), leaf, rollover)

    def test_unknown_critical_extensions(self):
        extension = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)
        strange = authority("CN=ca", ROOT, extensions=(extension,))
        leaf = issue("CN=x", strange, names=("dns:moon",))
        assert refused(
            verdict(credentials(ROOT), leaf, strange),
            ProblemKind.CONSTRAINT, "CN=ca", "not understood", "1.2.3.4",
        )  # fmt: skip
        leaf = issue("CN=x", ROOT, names=("dns:moon",), extensions=(extension,))
        assert refused(verdict(credentials(ROOT), leaf), ProblemKind.CONSTRAINT, "1.2.3.4")

    @pytest.mark.parametrize(("levels", "allowed"), [(7, True), (8, False)])
    def test_depth(self, levels, allowed):
        nodes = [authority("CN=ca0")]
        for number in range(1, levels):
            nodes.append(authority(f"CN=ca{number}", nodes[-1]))
        leaf = issue("CN=x", nodes[-1], names=("dns:moon",))
        result = verdict(credentials(nodes[0]), leaf, *reversed(nodes[1:]))
        assert bool(result) == allowed
        if not allowed:
            refused(result, ProblemKind.UNTRUSTED, "more than 7 CA levels")


class TestWhatMayAuthenticate:
    def test_key_usage_of_the_peer(self):
        for word in ("digital_signature", "content_commitment"):
            leaf = issue("CN=x", ROOT, names=("dns:moon",), key_usage=usage(word))
            assert verdict(credentials(ROOT), leaf)
        leaf = issue("CN=x", ROOT, names=("dns:moon",), key_usage=usage("key_encipherment"))
        assert refused(verdict(credentials(ROOT), leaf), ProblemKind.CONSTRAINT, "digitalSignature")

    @pytest.mark.parametrize(
        ("purpose", "allowed"),
        [("1.3.6.1.5.5.7.3.17", True), ("1.3.6.1.5.5.7.3.1", True), ("2.5.29.37.0", True),
         ("1.3.6.1.5.5.7.3.3", False)],
    )  # fmt: skip
    def test_critical_extended_key_usage(self, purpose, allowed):
        leaf = issue("CN=x", ROOT, names=("dns:moon",), purposes=(purpose,))
        result = verdict(credentials(ROOT), leaf)
        assert bool(result) == allowed
        if not allowed:
            refused(result, ProblemKind.CONSTRAINT, "extended key usage only has", purpose)


class TestIdentity:
    """Class 8: the certificate must name who the peer claims to be."""

    @pytest.mark.parametrize("who", ["moon", "MOON", "C=CH, CN=moon", "c=ch, cn=Moon"])
    def test_named(self, who):
        assert verdict(credentials(ROOT), MOON, SUB, who=who)

    @pytest.mark.parametrize("who", ["sun", "CN=moon", "keyid:moon", "moon@moon", "*", "fqdn:*"])
    def test_not_named(self, who):
        result = verdict(credentials(ROOT), MOON, SUB, who=who)
        assert result.keys == ()
        assert result.problems[0].kind is ProblemKind.IDENTITY

    def test_the_message_says_whom_it_names(self):
        assert refused(
            verdict(credentials(ROOT), MOON, SUB, who="sun"),
            ProblemKind.IDENTITY, "CN=moon", "does not name 'sun' (ID_FQDN)",
            "it names 'C=CH, CN=moon', 'moon'",
        )  # fmt: skip

    def test_the_connection_expects_somebody_else(self):
        result = verdict(credentials(ROOT), MOON, SUB, auth=demands("sun"))
        assert refused(result, ProblemKind.IDENTITY, "claims to be 'moon'", "expects 'sun'")
        assert verdict(credentials(ROOT), MOON, SUB, auth=demands("*"))

    def test_a_second_certificate_may_be_the_peers(self):
        sun = issue("CN=sun", ROOT, names=("dns:sun",))
        assert chain_of(verdict(credentials(ROOT), sun, MOON, SUB)) == ["moon", "sub", "root"]

    def test_loose_identities_are_those_we_insist_on(self):
        loose = demands("moon", loose_identity=True)
        assert verdict(credentials(ROOT), MOON, SUB, who="10.0.0.1", auth=loose)
        sun = issue("CN=sun", ROOT, names=("dns:sun", "ip:10.0.0.1"))
        result = verdict(credentials(ROOT), sun, who="10.0.0.1", auth=loose)
        assert refused(result, ProblemKind.IDENTITY, "does not name 'moon'")
        anybody = demands("%any", loose_identity=True)
        assert not verdict(credentials(ROOT), MOON, SUB, who="10.0.0.1", auth=anybody)

    def test_groups_cannot_be_proved(self):
        result = verdict(credentials(ROOT), MOON, SUB, auth=demands(groups=("admin",)))
        assert refused(result, ProblemKind.CONSTRAINT, "groups admin")


class TestStrength:
    """Class 7: weak keys and signatures anywhere in the chain."""

    @pytest.mark.parametrize("kind", ["rsa1024", "rsa2048e3", "ec192"])
    def test_weak_keys(self, kind):
        leaf = issue("CN=x", ROOT, kind=kind, names=("dns:moon",))
        assert refused(verdict(credentials(ROOT), leaf), ProblemKind.WEAK, "CN=x", "expected")
        weak = authority("CN=weak", ROOT, kind=kind)
        leaf = issue("CN=x", weak, names=("dns:moon",))
        assert refused(verdict(credentials(ROOT), leaf, weak), ProblemKind.WEAK, "CN=weak")

    def test_sha1_signatures(self):
        root = authority("CN=x", owner="")
        parts = Parts()
        parts.algorithm = bytes.fromhex("300906072a8648ce3d0401")
        parts.subject = pki.name("CN=y").public_bytes()
        parts.signer = lambda tbs: root.private.sign(tbs, ec.ECDSA(hashes.SHA1()))
        leaf = Certificate(parts.der())
        leaf_is_signed = partial(trust.check_signature, leaf, root.certificate)
        leaf_is_signed(allow_sha1=True)
        with pytest.raises(InvalidSignature, match="SHA-1"):
            leaf_is_signed()
        result = credentials(root).trusted_keys(ID("CN=y"), [leaf], demands(), NOW)
        assert refused(result, ProblemKind.UNTRUSTED, "SHA-1", "not accepted")

    def test_md5_signatures(self):
        root = authority("CN=r", kind="rsa2048")
        leaf = issue("CN=x", root, names=("dns:moon",))
        sha256 = bytes.fromhex("300d06092a864886f70d01010b0500")
        md5 = bytes.fromhex("300d06092a864886f70d0101040500")
        assert leaf.der.count(sha256) == 2
        forged = Certificate(leaf.der.replace(sha256, md5))
        result = credentials(root).trusted_keys(ID("moon"), [forged], demands(), NOW)
        assert refused(result, ProblemKind.UNTRUSTED, "MD5 with RSA", "not safe")

    def test_changed_certificates(self):
        changed = Certificate(MOON.der.replace(b"\x0c\x04moon", b"\x0c\x04noon").replace(
            b"\x13\x04moon", b"\x13\x04noon"))  # fmt: skip
        assert changed != MOON.certificate
        result = credentials(ROOT).trusted_keys(
            ID("moon"), [changed, SUB.certificate], demands(), NOW
        )
        assert refused(result, ProblemKind.UNTRUSTED, "does not verify")

    @pytest.mark.parametrize(
        ("constraint", "allowed", "words"),
        [
            ("pubkey-sha256", True, []),
            ("ecdsa-256-sha256", True, []),
            ("rsa-2048-ecdsa-256", True, []),
            ("ike:rsa-sha512", True, []),
            ("pubkey-sha384", False, ["signed with ecdsa-sha256", "only accepts"]),
            ("rsa-2048", False, ["ecdsa key", "only accepts rsa"]),
            ("ecdsa-384", False, ["256 bits", "demands 384"]),
            ("rsa-sha256", False, ["signed with ecdsa-sha256"]),
        ],
    )
    def test_constraints_of_the_connection(self, constraint, allowed, words):
        auth = demands(signature_constraints=(constraint,))
        result = verdict(credentials(ROOT), MOON, SUB, auth=auth)
        assert bool(result) == allowed
        if not allowed:
            refused(result, ProblemKind.WEAK, *words)

    def test_the_kind_of_key_is_demanded_of_the_peer_alone(self):
        leaf = issue("CN=x", ROOT, kind="rsa2048", names=("dns:moon",))
        auth = demands(signature_constraints=("rsa-2048",))
        assert verdict(credentials(ROOT), leaf, auth=auth)

    def test_the_signature_of_the_root_proves_nothing_and_is_free(self):
        root = authority("CN=r", digest=hashes.SHA512())
        leaf = issue("CN=x", root, names=("dns:moon",), digest=hashes.SHA256())
        auth = demands(signature_constraints=("pubkey-sha256",))
        assert verdict(credentials(root), leaf, auth=auth)

    def test_key_sizes_hold_for_the_whole_chain(self):
        big = issue("CN=x", ROOT, kind="ec384", names=("dns:moon",))
        auth = demands(signature_constraints=("ecdsa-384",))
        assert refused(verdict(credentials(ROOT), big, auth=auth), ProblemKind.WEAK, "CN=root")
        assert not verdict(credentials(ROOT), MOON, SUB, auth=demands(min_key_bits=257))
        assert verdict(credentials(ROOT), MOON, SUB, auth=demands(min_key_bits=256))


class TestConstraints:
    def test_name_constraints_of_every_ca_above(self):
        root = authority("CN=r", permitted=("dns:example.org",))
        sub = authority("CN=s", root)
        good = issue("CN=x", sub, names=("dns:moon.example.org",))
        evil = issue("CN=x", sub, names=("dns:moon.example.org", "dns:evil.com"))
        manager = credentials(root)
        assert verdict(manager, good, sub, who="moon.example.org")
        assert refused(
            verdict(manager, evil, sub, who="moon.example.org"),
            ProblemKind.CONSTRAINT, "CN=x", "name constraints of CA 'CN=r'", "'evil.com'",
        )  # fmt: skip

    def test_name_constraints_hold_for_cas_below(self):
        root = authority("C=CH, CN=r", excluded=("dn:C=DE",))
        sub = authority("C=DE, CN=s", root)
        leaf = issue("C=CH, CN=x", sub, names=("dns:moon",))
        assert refused(
            verdict(credentials(root), leaf, sub), ProblemKind.CONSTRAINT, "C=DE, CN=s", "excluded"
        )

    def test_the_ca_that_the_connection_demands(self):
        manager = credentials(ROOT)
        for ca in ("C=CH, CN=root", "C=CH, CN=sub", "C=CH, CN=*"):
            assert verdict(manager, MOON, SUB, auth=demands(ca=ID(ca)))
        result = verdict(manager, MOON, SUB, auth=demands(ca=ID("CN=other")))
        assert refused(result, ProblemKind.CONSTRAINT, "below the CA 'CN=other'", "'C=CH, CN=sub'")

    def test_the_peers_own_certificate_is_not_its_ca(self):
        alone = issue("CN=alone", names=("dns:moon",))
        auth = demands(ca=ID("CN=alone"))
        assert refused(
            verdict(credentials(alone), alone, auth=auth), ProblemKind.CONSTRAINT, "itself alone"
        )

    def test_name_of_the_demanded_ca_is_not_enough_where_its_key_is_known(self):
        """Any other trusted CA could issue an intermediate of that name."""
        rogue = authority("CN=rogue root")
        double = authority("C=CH, CN=root", rogue, owner="CN=rogue sub")
        forged = issue("CN=moon", double, names=("dns:moon",))
        auth = demands(ca=ID("C=CH, CN=root"))
        result = verdict(credentials(ROOT, rogue), forged, double, auth=auth)
        assert refused(result, ProblemKind.CONSTRAINT, "not below the CA 'C=CH, CN=root'")
        assert verdict(credentials(rogue), forged, double, auth=auth)

    def test_raw_keys_under_a_loose_identity_are_those_we_insist_on(self):
        """Who claims another name must not come with the key of that name."""
        known = credentials()
        known.sets[0].add_public_key(ID("moon"), MOON.public_key)
        known.sets[0].add_public_key(ID("mallory"), ROOT.public_key)
        loose = demands("moon", loose_identity=True)
        found = known.trusted_keys(ID("mallory"), [], loose, NOW)
        assert [trusted.public_key for trusted in found.keys] == [MOON.public_key]

    def test_another_chain_may_meet_the_demand(self):
        other = authority("CN=other root")
        crossed = authority("C=CH, CN=sub", other)
        auth = demands(ca=ID("CN=other root"))
        result = verdict(credentials(ROOT, other), MOON, SUB, crossed, auth=auth)
        assert chain_of(result) == ["moon", "sub", "other root"]

    @pytest.mark.parametrize(
        ("leaf_policies", "sub_policies", "words"),
        [
            (("1.2.3",), ("1.2.3",), None),
            (("1.2.3",), ("1.2.9", "2.5.29.32.0"), None),
            (("1.2.4",), ("1.2.3",), ["CN=x", "lacks the policy 1.2.3"]),
            ((), ("1.2.3",), ["CN=x", "lacks the policy 1.2.3"]),
            (("2.5.29.32.0",), ("1.2.3",), ["CN=x", "lacks the policy 1.2.3"]),
            (("1.2.3",), ("1.2.4",), ["CN=s", "does not pass the policy 1.2.3 on"]),
            (("1.2.3",), (), ["CN=s", "does not pass the policy 1.2.3 on"]),
        ],
    )
    def test_certificate_policies(self, leaf_policies, sub_policies, words):
        sub = authority("CN=s", ROOT, policies=sub_policies)
        leaf = issue("CN=x", sub, names=("dns:moon",), policies=leaf_policies)
        auth = demands(cert_policies=("1.2.3",))
        result = verdict(credentials(ROOT), leaf, sub, auth=auth)
        assert bool(result) == (words is None)
        if words:
            refused(result, ProblemKind.CONSTRAINT, *words)


class TestPinned:
    """rightcert and rightsigkey: trusted for being configured, and nothing else is."""

    def test_a_pinned_certificate_needs_no_ca(self):
        auth = demands("moon", certificates=(MOON.der,))
        assert chain_of(verdict(credentials(), MOON, auth=auth)) == ["moon"]
        assert chain_of(verdict(credentials(), auth=auth)) == ["moon"]

    def test_another_certificate_of_the_same_ca_is_refused(self):
        other = issue("C=CH, CN=moon", SUB, owner="other", names=("dns:moon",))
        result = verdict(credentials(ROOT), other, SUB, auth=demands(certificates=(MOON.der,)))
        assert [trusted.public_key for trusted in result.keys] == [MOON.public_key]
        assert "only accepts 'C=CH, CN=moon'" in result.text

    def test_pinned_certificates_still_name_and_expire(self):
        auth = demands(certificates=(MOON.der,))
        assert refused(
            verdict(credentials(), auth=auth, now=NOW + 2 * YEAR), ProblemKind.EXPIRED, "CN=moon"
        )
        assert refused(verdict(credentials(), auth=auth, who="sun"), ProblemKind.IDENTITY, "'sun'")
        weak = issue("CN=w", kind="rsa1024", names=("dns:moon",))
        auth = demands(certificates=(weak.der,))
        assert refused(verdict(credentials(), auth=auth), ProblemKind.WEAK, "1024")
        wrong = issue("CN=w", names=("dns:moon",), key_usage=usage("key_agreement"))
        auth = demands(certificates=(wrong.der,))
        assert refused(verdict(credentials(), auth=auth), ProblemKind.CONSTRAINT, "key usage")

    def test_a_pinned_certificate_below_a_demanded_ca_needs_its_chain(self):
        auth = demands(certificates=(MOON.der,), ca=ID("C=CH, CN=root"))
        assert refused(verdict(credentials(), MOON, SUB, auth=auth), ProblemKind.UNTRUSTED)
        assert verdict(credentials(ROOT), MOON, SUB, auth=auth)

    def test_several_pinned_certificates(self):
        other = issue("CN=other", names=("dns:moon",))
        auth = demands(certificates=(MOON.der, b"garbage", other.der))
        result = verdict(credentials(), other, auth=auth)
        assert [str(trusted) for trusted in result] == [
            "certificate 'CN=other'", "certificate 'C=CH, CN=moon'"
        ]  # fmt: skip

    def test_raw_keys(self):
        raw = pki.spki(pki.key("ed25519"))
        auth = demands("moon", public_keys=(raw,))
        result = verdict(credentials(ROOT), MOON, SUB, auth=auth)
        (trusted,) = result.keys
        assert trusted.public_key.spki == raw
        assert trusted.chain == ()
        assert str(trusted).startswith("raw public key ")
        assert refused(
            verdict(credentials(), auth=auth, who="sun"), ProblemKind.IDENTITY, "expects 'moon'"
        )

    def test_anybody_is_nobody(self):
        for auth in (
            demands(public_keys=(pki.spki(pki.key("ed25519")),)),
            demands(certificates=(MOON.der,)),
        ):
            assert refused(
                verdict(credentials(), MOON, auth=auth, who="%any"),
                ProblemKind.IDENTITY, "has not said who it is",
            )  # fmt: skip

    @pytest.mark.parametrize(
        ("fields", "kind", "word"),
        [
            ({"ca": ID("CN=x")}, ProblemKind.CONSTRAINT, "below the CA"),
            ({"cert_policies": ("1.2.3",)}, ProblemKind.CONSTRAINT, "policy"),
            ({"signature_constraints": ("rsa-2048",)}, ProblemKind.WEAK, "ed25519"),
            ({"min_key_bits": 300}, ProblemKind.WEAK, "300"),
        ],
    )
    def test_raw_keys_must_meet_demands_too(self, fields, kind, word):
        auth = demands(public_keys=(pki.spki(pki.key("ed25519")),), **fields)
        assert refused(verdict(credentials(), auth=auth), kind, word)

    def test_weak_or_broken_raw_keys(self):
        for raw in (pki.spki(pki.key("rsa1024")), b"garbage"):
            auth = demands(public_keys=(raw,))
            assert refused(verdict(credentials(), auth=auth), ProblemKind.WEAK, "raw public key")

    def test_raw_keys_of_a_set_belong_to_their_owner(self):
        store = MemorySet()
        store.add_public_key(ID("moon"), MOON.public_key)
        manager = CredentialManager()
        manager.add(store)
        assert [trusted.chain for trusted in verdict(manager)] == [()]
        assert not verdict(manager, who="sun")
        pinned = demands(certificates=(ROOT.der,))
        assert not verdict(manager, auth=pinned)


class TestRevocation:
    POINT = (
        x509.CRLDistributionPoints(
            [x509.DistributionPoint([pki.general("uri:http://ca/crl")], None, None, None)]
        ),
        False,
    )

    def test_a_revoked_certificate(self):
        lists = [pki.crl(SUB, (MOON.x509.serial_number,), reason=x509.ReasonFlags.key_compromise)]
        result = verdict(credentials(ROOT, crls=lists), MOON, SUB)
        assert refused(
            result, ProblemKind.REVOKED, "CN=moon", "revoked at 2027-01-14", "keyCompromise"
        )

    def test_a_revoked_ca(self):
        lists = [pki.crl(ROOT, (SUB.x509.serial_number,)), pki.crl(SUB)]
        result = verdict(credentials(ROOT, crls=lists), MOON, SUB)
        assert refused(result, ProblemKind.REVOKED, "CN=sub", "unspecified")

    def test_a_list_of_somebody_else_proves_nothing(self):
        forged = pki.crl(SUB, (MOON.x509.serial_number,), private=pki.key(owner="mallory"))
        assert verdict(credentials(ROOT, crls=[forged]), MOON, SUB)

    @pytest.mark.parametrize(
        ("policy", "uri", "lists", "allowed"),
        [
            (RevocationPolicy.RELAXED, True, "none", True),
            (RevocationPolicy.IF_URI, False, "none", True),
            (RevocationPolicy.IF_URI, True, "none", False),
            (RevocationPolicy.IF_URI, True, "good", True),
            (RevocationPolicy.IF_URI, False, "stale", False),
            (RevocationPolicy.STRICT, False, "none", False),
            (RevocationPolicy.STRICT, False, "good", True),
            (RevocationPolicy.STRICT, False, "stale", False),
            (RevocationPolicy.RELAXED, False, "stale", True),
        ],
    )
    def test_policies(self, policy, uri, lists, allowed):
        leaf = issue("CN=x", ROOT, names=("dns:moon",), extensions=(self.POINT,) if uri else ())
        due = NOW - 1 if lists == "stale" else NOW + DAY
        crls = [] if lists == "none" else [pki.crl(ROOT, next_update=due)]
        auth = demands(revocation=policy)
        result = verdict(credentials(ROOT, crls=crls), leaf, auth=auth)
        assert bool(result) == allowed
        if not allowed:
            refused(result, ProblemKind.REVOKED, "CN=x", f"strictcrlpolicy={policy.value}")

    def test_an_old_list_still_revokes(self):
        old = pki.crl(SUB, (MOON.x509.serial_number,), next_update=NOW - 1)
        assert not verdict(credentials(ROOT, crls=[old]), MOON, SUB)

    @pytest.mark.parametrize(("due", "good"), [(NOW + DAY, True), (NOW - 1, False)])
    def test_a_newer_list_takes_a_revocation_back(self, due, good):
        """A certificate that was on hold; the older list may lie in another credential set."""
        old = pki.crl(SUB, (MOON.x509.serial_number,), this_update=NOW - 9 * DAY)
        newer = pki.crl(SUB, number=2, next_update=due)
        source = credentials(ROOT, crls=[old])
        other = MemorySet("other")
        other.add_crl(newer)
        source.add(other)
        assert bool(verdict(source, MOON, SUB)) is good


class TestRelations:
    def test_good_signatures_are_verified_once(self, monkeypatch):
        checks = []
        original = trust.check_signature
        monkeypatch.setattr(trust, "check_signature", lambda *a: checks.append(a) or original(*a))
        manager = credentials(ROOT)
        for _ in range(3):
            assert verdict(manager, MOON, SUB)
        assert len(checks) == 2
        manager.flush()
        assert verdict(manager, MOON, SUB)
        assert len(checks) == 4

    def test_bad_signatures_are_not_remembered(self):
        manager = credentials(ROOT)
        impostor = authority("C=CH, CN=sub", owner="mallory")
        forged = issue("CN=evil", impostor, names=("dns:moon",), key_ids=False)
        for _ in range(2):
            assert not verdict(manager, forged, SUB)

    def test_remembered_relations_still_expire(self):
        manager = credentials(ROOT)
        assert verdict(manager, MOON, SUB)
        assert not verdict(manager, MOON, SUB, now=NOW + 2 * YEAR)

    def test_the_cache_is_bounded(self):
        cache = RelationCache(limit=2)
        nodes = [issue(f"CN=n{number}", ROOT) for number in range(3)]
        for node in nodes:
            cache.remember(node.certificate, ROOT.certificate)
        assert len(cache) == 2
        assert not cache.knows(nodes[0].certificate, ROOT.certificate)
        assert cache.knows(nodes[1].certificate, ROOT.certificate)
        assert not cache.knows(nodes[1].certificate, SUB.certificate)
        cache.remember(nodes[0].certificate, ROOT.certificate)
        assert cache.knows(nodes[1].certificate, ROOT.certificate)
        assert not cache.knows(nodes[2].certificate, ROOT.certificate)
        cache.clear()
        assert len(cache) == 0
