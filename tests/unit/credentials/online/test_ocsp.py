"""What OCSP responses prove, and all that does not count as one."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.credentials.online import ocsp as module
from charon_core.credentials.online.ocsp import OcspStatus, verify_response
from charon_core.credentials.online.ocsp_message import (
    MAX_RESPONSE,
    CertId,
    OcspError,
    decode_response,
    encode_request,
)
from tests.unit.credentials import pki
from tests.unit.credentials.online.responder import delegate, refusal, response
from tests.unit.credentials.pki import DAY, NOW, Node

ROOT = pki.authority("C=CH, CN=Root")
OTHER = pki.authority("C=CH, CN=Other root")
MOON = pki.issue("C=CH, CN=moon", ROOT)
SUN = pki.issue("C=CH, CN=sun", ROOT)
NONCE = bytes(range(32))
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def verify(data: bytes, leaf: Node = MOON, issuer: Node = ROOT, **fields: object) -> OcspStatus:
    asked = CertId.of(leaf.certificate, issuer.certificate)
    return verify_response(data, asked, issuer.certificate, fields.pop("now", NOW), **fields)


def refused(data: bytes, **fields: object) -> str:
    with pytest.raises(OcspError) as caught:
        verify(data, **fields)
    return str(caught.value)


# -- the request ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec256", "rsa2048", "ed25519"])
def test_the_request_as_the_library_reads_it(kind: str) -> None:
    root = pki.authority("C=CH, O=Ünïcode, CN=Root", kind=kind)
    leaf = pki.issue("CN=leaf", root, serial=0x80FF)
    data = encode_request(CertId.of(leaf.certificate, root.certificate), NONCE)
    read = ocsp.load_der_ocsp_request(data)
    expected = ocsp.OCSPRequestBuilder().add_certificate(leaf.x509, root.x509, hashes.SHA1())
    built = expected.build()
    assert read.issuer_name_hash == built.issuer_name_hash
    assert read.issuer_key_hash == built.issuer_key_hash
    assert read.serial_number == 0x80FF
    assert read.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE


def test_the_request_without_nonce() -> None:
    data = encode_request(CertId.of(MOON.certificate, ROOT.certificate), b"")
    assert not list(ocsp.load_der_ocsp_request(data).extensions)


# -- who may sign -----------------------------------------------------------------------------


@pytest.mark.parametrize("by_key", [False, True])
def test_good_by_the_issuer(by_key: bool) -> None:
    status = verify(response(MOON, ROOT, by_key=by_key))
    assert not status.is_revoked
    assert status.this_update == NOW - 60
    assert status.fresh_until == NOW + DAY


@pytest.mark.parametrize("kind", ["rsa2048", "ec384"])
def test_signatures_of_every_kind(kind: str) -> None:
    root = pki.authority("CN=Root", kind=kind)
    leaf = pki.issue("CN=leaf", root)
    assert not verify(response(leaf, root), leaf, root).is_revoked


def test_revoked() -> None:
    status = verify(response(MOON, ROOT, "revoked"))
    assert status.is_revoked
    assert "keyCompromise" in status.detail
    assert "by OCSP" in status.detail


def test_unknown() -> None:
    assert "does not know the certificate" in refused(response(MOON, ROOT, "unknown"))


@pytest.mark.parametrize("by_key", [False, True])
def test_good_by_a_delegate(by_key: bool) -> None:
    responder = delegate(ROOT)
    assert not verify(response(MOON, ROOT, signer=responder, by_key=by_key)).is_revoked


@pytest.mark.parametrize(
    ("responder", "reason"),
    [
        (pki.issue("CN=responder", ROOT), "lacks the extended key usage"),
        (delegate(ROOT, purposes=("2.5.29.37.0",)), "lacks the extended key usage"),
        (delegate(ROOT, purposes=("1.3.6.1.5.5.7.3.1",)), "lacks the extended key usage"),
        (delegate(OTHER), "is of another CA"),
        (delegate(OTHER, issuer_name="C=CH, CN=Root"), "not acceptably signed"),
        (delegate(ROOT, not_after=NOW - 1), "has expired"),
        (delegate(ROOT, not_before=NOW + 1), "not valid before"),
        (delegate(ROOT, key_usage=pki.usage("key_agreement")), "not be used for signatures"),
        (
            delegate(
                ROOT,
                extensions=((STRANGE, True),),
            ),
            "not understood",
        ),
        (OTHER, "lacks the extended key usage"),
        (MOON, "lacks the extended key usage"),
    ],
)  # fmt: skip
def test_others_may_not_sign(responder: Node, reason: str) -> None:
    assert reason in refused(response(MOON, ROOT, signer=responder))


def test_a_delegate_whose_certificate_is_not_sent() -> None:
    assert "not signed by" in refused(response(MOON, ROOT, signer=delegate(ROOT), send=()))


def test_a_delegate_whose_certificate_is_another_one() -> None:
    assert "not signed by" in refused(response(MOON, ROOT, signer=delegate(ROOT), send=(MOON,)))


def test_a_forged_signature() -> None:
    mallory = pki.authority("C=CH, CN=Root", owner="mallory")
    assert "not acceptable" in refused(response(MOON, ROOT, signer=mallory, send=()))
    true = delegate(ROOT)
    mallory = delegate(ROOT, owner="mallory", key_ids=False)
    assert "not acceptable" in refused(response(MOON, ROOT, signer=mallory, send=(true,)))


def test_a_weak_signature() -> None:
    # The library does not sign with SHA-1 any more: the algorithm is named by hand.
    data = response(MOON, ROOT)
    ecdsa_sha256, ecdsa_sha1 = b"\x2a\x86\x48\xce\x3d\x04\x03\x02", b"\x2a\x86\x48\xce\x3d\x04\x01"
    named = bytes((6, 8)) + ecdsa_sha256
    assert data.count(named) == 1
    assert "not acceptable" in refused(data.replace(named, bytes((6, 8)) + ecdsa_sha1 + b"\x01"))


def test_every_octet_is_signed_or_structure() -> None:
    data = response(MOON, ROOT, "revoked", nonce=NONCE)
    good = response(MOON, ROOT)
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 0x01
        with pytest.raises(OcspError):
            verify(bytes(changed))
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 0x80
        with pytest.raises(OcspError):
            verify(bytes(changed), nonce=NONCE)


# -- about whom -------------------------------------------------------------------------------


def test_about_another_certificate() -> None:
    assert "other certificates" in refused(response(SUN, ROOT))


def test_about_one_of_the_same_number_of_another_ca() -> None:
    other = pki.issue("CN=other", OTHER, serial=MOON.x509.serial_number)
    assert "other certificates" in refused(response(other, OTHER, signer=ROOT))


def test_named_by_another_hash() -> None:
    assert "other certificates" in refused(response(MOON, ROOT, algorithm=hashes.SHA256()))


# -- when -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("this_update", "next_update", "reason"),
    [
        (NOW + 299, NOW + DAY, ""),
        (NOW + 301, NOW + DAY, "of the future"),
        (NOW - DAY, NOW - 299, ""),
        (NOW - DAY, NOW - 301, "a newer response was due"),
        (NOW - 3599, None, ""),
        (NOW - 3601, None, "does not say how long it counts"),
    ],
)
def test_times(this_update: float, next_update: float | None, reason: str) -> None:
    data = response(MOON, ROOT, this_update=this_update, next_update=next_update)
    if reason:
        assert reason in refused(data)
    else:
        status = verify(data)
        assert status.fresh_until >= NOW + module.SHORTEST_VALIDITY


def test_a_revocation_counts_even_in_an_old_response() -> None:
    old = response(MOON, ROOT, "revoked", this_update=NOW - 9 * DAY, next_update=NOW - 8 * DAY)
    assert verify(old).is_revoked


def test_nothing_is_relied_on_for_ever() -> None:
    data = response(MOON, ROOT, next_update=NOW + 1000 * DAY)
    assert verify(data).fresh_until == NOW + module.LONGEST_VALIDITY


# -- nonces -----------------------------------------------------------------------------------


def test_the_nonce_has_to_be_ours() -> None:
    assert not verify(response(MOON, ROOT, nonce=NONCE), nonce=NONCE).is_revoked
    for wrong in (bytes(32), b"", NONCE[:-1]):
        if wrong:
            assert "replay" in refused(response(MOON, ROOT, nonce=wrong), nonce=NONCE)


def test_responders_may_leave_the_nonce_out() -> None:
    assert not verify(response(MOON, ROOT), nonce=NONCE).is_revoked


# -- refusals and rubbish ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (ocsp.OCSPResponseStatus.MALFORMED_REQUEST, "malformedRequest"),
        (ocsp.OCSPResponseStatus.INTERNAL_ERROR, "internalError"),
        (ocsp.OCSPResponseStatus.TRY_LATER, "tryLater"),
        (ocsp.OCSPResponseStatus.SIG_REQUIRED, "sigRequired"),
        (ocsp.OCSPResponseStatus.UNAUTHORIZED, "unauthorized"),
    ],
)
def test_the_responder_refuses(status: ocsp.OCSPResponseStatus, word: str) -> None:
    assert refused(refusal(status)) == f"the responder says {word}"


def test_critical_extensions_that_are_not_understood() -> None:
    assert not verify(response(MOON, ROOT, extensions=((STRANGE, False),))).is_revoked
    assert "1.2.3.4" in refused(response(MOON, ROOT, extensions=((STRANGE, True),)))


def test_too_large() -> None:
    assert "at most" in refused(bytes(MAX_RESPONSE + 1))


def test_truncated_at_every_length() -> None:
    data = response(MOON, ROOT, "revoked", signer=delegate(ROOT), nonce=NONCE)
    for length in range(len(data)):
        with pytest.raises(OcspError):
            decode_response(data[:length])
    with pytest.raises(OcspError):
        decode_response(data + b"\0")


def test_as_the_library_reads_it() -> None:
    responder = delegate(ROOT)
    for status in ("good", "revoked", "unknown"):
        data = response(MOON, ROOT, status, signer=responder, nonce=NONCE)
        ours, theirs = decode_response(data), ocsp.load_der_ocsp_response(data)
        assert ours.tbs == theirs.tbs_response_bytes
        assert ours.signature == theirs.signature
        assert ours.nonce == NONCE
        assert ours.certificates == (responder.der,)
        (single,) = ours.singles
        assert single.status.upper() == theirs.certificate_status.name
        assert single.this_update == theirs.this_update_utc.timestamp()
        assert single.next_update == theirs.next_update_utc.timestamp()
        assert single.cert_id == CertId.of(MOON.certificate, ROOT.certificate)


SAMPLE = response(MOON, ROOT, "revoked", signer=delegate(ROOT), nonce=NONCE)


@pytest.mark.parametrize("seed", range(8))
def test_fuzz(seed: int) -> None:
    """Whatever comes: a response, or the one exception; never anything else."""
    chance = random.Random(seed)
    for _ in range(400):
        sample = bytearray(SAMPLE)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(sample))
            kind = chance.choice(("set", "length", "cut", "insert"))
            if kind == "set":
                sample[at] = chance.randrange(256)
            elif kind == "length":
                sample[at] = chance.choice((0, 1, 0x7F, 0x80, 0x81, 0x84, 0xFF))
            elif kind == "cut":
                del sample[at : at + chance.randint(1, 40)]
            else:
                sample[at:at] = chance.randbytes(chance.randint(1, 8))
        with suppress(OcspError):
            verify(bytes(sample), nonce=NONCE)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_rubbish(data: bytes) -> None:
    with pytest.raises(OcspError):
        decode_response(data)
