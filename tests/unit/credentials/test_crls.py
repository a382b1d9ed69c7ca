"""Revocation lists: reading, replacing, and what counts."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.credentials.crls import Crl, CrlError, load_crls
from charon_core.credentials.revocation import RevocationStatus, check
from charon_core.credentials.sets import MemorySet
from tests.unit.credentials import pki
from tests.unit.credentials.pki import DAY, NOW, authority, crl, issue, usage

CA = authority("C=CH, CN=ca")
LEAF = issue("CN=x", CA, serial=0x1122)
OTHER = issue("CN=y", CA, serial=0x80)
REASONS = x509.ReasonFlags


def status(*lists, of=LEAF, issuer=CA, now=NOW):
    return check(of.certificate, issuer.certificate, lists, now)


def test_fields():
    made = crl(CA, (0x1122, 5), number=7, reason=REASONS.superseded)
    assert str(made.issuer) == "C=CH, CN=ca"
    assert made.issuer == CA.certificate.subject
    assert (made.number, made.base_number, made.is_delta) == (7, None, False)
    assert made.authority_key_id == CA.certificate.subject_key_id
    assert made.this_update == NOW - DAY
    assert made.next_update == NOW + DAY
    assert [entry.serial for entry in made.entries()] == [0x1122, 5]
    assert made.find(LEAF.certificate.serial) == (0x1122, NOW - DAY, "superseded")
    assert made.find(OTHER.certificate.serial) is None
    assert repr(made) == "Crl(C=CH, CN=ca, number 7)"


def test_serial_numbers_with_a_high_first_octet():
    assert OTHER.certificate.serial == b"\x00\x80"
    assert status(crl(CA, (0x80,)), of=OTHER)[0] is RevocationStatus.REVOKED


def test_good_and_revoked():
    assert status(crl(CA)) == (RevocationStatus.GOOD, "")
    found, detail = status(crl(CA, (0x1122,), reason=REASONS.key_compromise))
    assert found is RevocationStatus.REVOKED
    assert detail == "revoked at 2027-01-14 08:00:00 UTC, reason keyCompromise"
    assert status() == (RevocationStatus.UNKNOWN, "no revocation list of its issuer")


def test_old_lists():
    old = crl(CA, next_update=NOW - 1)
    assert status(old)[0] is RevocationStatus.STALE
    assert "was due at" in status(old)[1]
    assert status(crl(CA, next_update=NOW))[0] is RevocationStatus.GOOD
    assert status(old, crl(CA, number=2))[0] is RevocationStatus.GOOD
    assert status(crl(CA, (0x1122,), next_update=NOW - 1))[0] is RevocationStatus.REVOKED


class TestOnlyTheIssuerCounts:
    """Class 9: nothing is believed that is not verified."""

    def test_the_signature_is_verified(self):
        forged = crl(CA, private=pki.key(owner="mallory"))
        assert status(forged)[0] is RevocationStatus.UNKNOWN
        good = crl(CA)
        damaged = Crl(good.der[:-1] + bytes([good.der[-1] ^ 1]))
        assert not damaged.is_signed_by(CA.public_key)
        assert good.is_signed_by(CA.public_key)

    def test_another_ca(self):
        other = authority("C=CH, CN=other")
        assert status(crl(other))[0] is RevocationStatus.UNKNOWN

    def test_another_ca_of_that_name(self):
        other = authority("C=CH, CN=ca", owner="other")
        assert status(crl(other))[0] is RevocationStatus.UNKNOWN

    def test_key_usage(self):
        silent = authority("CN=silent", key_usage=usage("key_cert_sign"))
        leaf = issue("CN=x", silent)
        assert status(crl(silent), of=leaf, issuer=silent)[0] is RevocationStatus.UNKNOWN

    def test_weak_keys(self):
        weak = authority("CN=weak", kind="rsa1024")
        assert not crl(weak).is_signed_by(weak.public_key)

    def test_lists_for_part_of_the_certificates(self):
        part = x509.IssuingDistributionPoint(
            None, None, only_contains_user_certs=True, only_contains_ca_certs=False,
            only_some_reasons=None, indirect_crl=False, only_contains_attribute_certs=False,
        )  # fmt: skip
        partial = crl(CA, extensions=((part, True),))
        assert "2.5.29.28" in partial.unusable
        assert status(partial)[0] is RevocationStatus.UNKNOWN


class TestDeltas:
    def test_a_delta_adds(self):
        delta = crl(CA, (0x1122,), number=3, base=1, this_update=NOW - 5)
        assert delta.is_delta
        assert status(crl(CA), delta)[0] is RevocationStatus.REVOKED

    def test_a_delta_takes_back(self):
        base = crl(CA, (0x1122,), reason=REASONS.certificate_hold)
        delta = crl(CA, (0x1122,), number=3, base=1, this_update=NOW - 5,
                    reason=REASONS.remove_from_crl)  # fmt: skip
        assert status(base, delta)[0] is RevocationStatus.GOOD
        assert status(base)[0] is RevocationStatus.REVOKED

    def test_a_delta_alone_says_nothing_good(self):
        assert status(crl(CA, number=3, base=1))[0] is RevocationStatus.UNKNOWN


class TestReplacing:
    def test_newer_replaces_older(self):
        store = MemorySet()
        first, second = crl(CA, number=1), crl(CA, number=2)
        assert store.add_crl(first)
        assert store.add_crl(second)
        assert not store.add_crl(first)
        assert store.crls(CA.certificate.subject) == [second]
        assert store.all_crls() == [second]

    def test_time_decides_between_equal_numbers(self):
        assert crl(CA, this_update=NOW - 5).is_newer_than(crl(CA, this_update=NOW - 9))

    def test_delta_and_complete_lists_and_other_keys_live_together(self):
        store = MemorySet()
        other = authority("C=CH, CN=ca", owner="other")
        lists = [crl(CA), crl(CA, number=2, base=1), crl(other)]
        for made in lists:
            assert store.add_crl(made)
        assert store.crls(CA.certificate.subject) == lists


class TestFiles:
    def test_pem_and_der(self):
        made = crl(CA)
        loaded = x509.load_der_x509_crl(made.der)
        assert [c.der for c in load_crls(loaded.public_bytes(Encoding.PEM))] == [made.der]
        assert load_crls(made.der)[0].der == made.der

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not a revocation list"),
            (b"\x30\x00", "not a revocation list"),
            (LEAF.der, "not a revocation list"),
            (b"-----BEGIN X-----\n", "no complete"),
            (b"-----BEGIN X-----\nAAAA\n-----END X-----", "not a revocation list"),
            (bytes(17 * 2**20), "at most"),
        ],
    )
    def test_garbage(self, data, reason):
        with pytest.raises(CrlError, match=reason):
            load_crls(data)

    GOOD = crl(CA, (0x1122,), reason=REASONS.superseded).der

    def test_truncation_at_every_length(self):
        for length in range(len(self.GOOD)):
            with pytest.raises(CrlError):
                Crl(self.GOOD[:length])

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
    def test_one_wrong_octet(self, position, octet):
        damaged = self.GOOD[:position] + bytes([octet]) + self.GOOD[position + 1 :]
        try:
            made = Crl(damaged)
            made.entries()
            made.find(b"\x11\x22")
        except CrlError:
            return
        assert damaged == self.GOOD or not made.is_signed_by(CA.public_key)


@pytest.mark.parametrize(
    "number", [1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0x00FF00FF, (1 << 159) - 1, 1 << 158]
)
def test_every_serial_number_is_found(number):
    length = number.bit_length() // 8 + 1
    serial = number.to_bytes(length, "big")
    assert crl(CA, (5, number, 6)).find(serial).serial == number
    assert crl(CA, (number // 2 + 3, 6)).find(serial) is None


def test_a_signature_that_was_good_for_one_key_is_not_for_another():
    made = crl(CA)
    assert made.is_signed_by(CA.public_key)
    assert not made.is_signed_by(LEAF.public_key)
    assert made.is_signed_by(CA.public_key)
