"""Certificates: what is read, checked against the library; whom they name; what is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.config import der
from charon_core.config.identification import Identification
from charon_core.credentials.certificates import (
    Certificate,
    CertificateError,
    format_time,
    load_certificates,
)
from charon_core.credentials.extensions import KeyUsage
from tests.unit.credentials import pki

ID = Identification.parse

CA = pki.authority("C=CH, O=Test, CN=ca", path_length=3)
FULL = pki.issue(
    "C=CH, O=Test, CN=moon",
    CA,
    names=(
        "dns:moon.example.org", "email:moon@example.org", "ip:10.0.0.1", "ip:fec0::1",
        "dn:C=CH, CN=other", "uri:http://moon/", "other:",
    ),
    key_usage=pki.usage("digital_signature", "content_commitment"),
    policies=("1.2.3.4", "2.5.29.32.0"),
    purposes=("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.8.2.2"),
    extensions=(
        (
            x509.CRLDistributionPoints(
                [x509.DistributionPoint([pki.general("uri:http://a/crl")], None, None, None),
                 x509.DistributionPoint(
                     [pki.general("uri:http://b/crl")], None, None, [pki.general("dn:CN=x")])]
            ),
            False,
        ),
        (
            x509.AuthorityInformationAccess(
                [x509.AccessDescription(
                    x509.AuthorityInformationAccessOID.OCSP, pki.general("uri:http://ocsp/")),
                 x509.AccessDescription(
                    x509.AuthorityInformationAccessOID.CA_ISSUERS, pki.general("uri:http://ca/"))]
            ),
            False,
        ),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), False),
    ),
)  # fmt: skip


def test_fields_are_those_that_the_library_reads():
    certificate, oracle = FULL.certificate, FULL.x509
    assert certificate.tbs == oracle.tbs_certificate_bytes
    assert certificate.signature == oracle.signature
    assert certificate.subject.data == oracle.subject.public_bytes()
    assert certificate.issuer.data == oracle.issuer.public_bytes()
    assert int.from_bytes(certificate.serial, "big") == oracle.serial_number
    assert certificate.not_before == oracle.not_valid_before_utc.timestamp()
    assert certificate.not_after == oracle.not_valid_after_utc.timestamp()
    assert certificate.public_key.spki == pki.spki(FULL.private)
    assert certificate.scheme().keyword == "ecdsa-sha256"


def test_extensions_are_those_that_the_library_reads():
    extensions = FULL.certificate.extensions
    assert extensions.key_usage == KeyUsage.DIGITAL_SIGNATURE | KeyUsage.NON_REPUDIATION
    assert extensions.policies == ("1.2.3.4", "2.5.29.32.0")
    assert extensions.extended_key_usage == ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.8.2.2")
    assert extensions.crl_uris == ("http://a/crl", "http://b/crl")
    assert extensions.ocsp_uris == ("http://ocsp/",)
    assert extensions.unknown_critical == ()
    assert extensions.critical == {"2.5.29.15", "2.5.29.37"}
    assert not FULL.certificate.is_ca
    oracle = FULL.x509.extensions
    own = oracle.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    theirs = oracle.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert FULL.certificate.subject_key_id == own
    assert FULL.certificate.authority_key_id == theirs == CA.certificate.subject_key_id


def test_a_ca():
    assert CA.certificate.is_ca
    assert CA.certificate.path_length == 3
    assert CA.certificate.is_self_issued
    assert CA.certificate.extensions.key_usage == KeyUsage.KEY_CERT_SIGN | KeyUsage.CRL_SIGN
    assert CA.certificate.flags == ("CA", "CRLSign", "self-signed")
    assert FULL.certificate.flags == ("serverAuth", "ikeIntermediate")


@pytest.mark.parametrize("kind", ["ec256", "ec384", "rsa2048", "ed25519", "ed448"])
def test_keys_of_every_kind(kind):
    node = pki.issue("CN=x", kind=kind)
    assert node.certificate.public_key.type == node.private_key.type
    node.certificate.public_key.verify(
        node.certificate.scheme(), node.certificate.tbs, node.certificate.signature
    )


def test_unset_extensions():
    node = pki.issue("CN=x", key_ids=False)
    extensions = node.certificate.extensions
    assert extensions.key_usage is None
    assert extensions.policies is None
    assert extensions.name_constraints is None
    assert node.certificate.path_length is None
    assert node.certificate.version == 3


NAMED = [
    ("C=CH, O=Test, CN=moon", 20),
    ("C=ch, O=test, CN=MOON", 20),
    ("C=CH, O=Test, CN=*", 19),
    ("moon.example.org", 20),
    ("MOON.example.org", 20),
    ("*.example.org", 19),
    ("moon@example.org", 20),
    ("*@example.org", 19),
    ("10.0.0.1", 20),
    ("fec0::1", 20),
    ("10.0.0.0/8", 2),
    ("C=CH, CN=other", 20),
    ("%any", 1),
    # never: the CN alone, other types of the same text, other names
    ("moon", 0),
    ("CN=moon", 0),
    ("fqdn:10.0.0.1", 0),
    ("keyid:moon.example.org", 0),
    ("fqdn:moon@example.org", 0),
    ("email:moon.example.org", 0),
    ("sun.example.org", 0),
    ("10.0.0.2", 0),
    ("http://moon/", 0),
]


@pytest.mark.parametrize(("identity", "score"), NAMED)
def test_whom_a_certificate_names(identity, score):
    assert FULL.certificate.has_identity(ID(identity)) == score
    assert FULL.certificate.confirms(ID(identity)) == (score == 20)


class TestHardening:
    """Class 8: identity and certificate."""

    @pytest.mark.parametrize("claim", ["*.example.org", "*@example.org", "C=CH, O=Test, CN=*"])
    def test_wildcards_of_a_peer_prove_nothing(self, claim):
        assert not FULL.certificate.confirms(ID(claim))

    def test_wildcards_in_a_certificate_are_letters(self):
        certificate = pki.issue("CN=x", names=("dns:*.example.org",)).certificate
        assert not certificate.confirms(ID("moon.example.org"))
        assert not certificate.has_identity(ID("moon.example.org"))
        assert certificate.confirms(ID("*.example.org"))

    def test_the_common_name_is_no_host_name(self):
        certificate = pki.issue("CN=moon.example.org").certificate
        assert not certificate.confirms(ID("moon.example.org"))
        assert not certificate.has_identity(ID("*.example.org"))

    def test_an_empty_subject_names_nobody(self):
        certificate = pki.issue("", names=("dns:moon",)).certificate
        assert certificate.identities == (ID("moon"),)
        assert not certificate.confirms(Identification.from_dn(b"\x30\x00"))
        assert str(certificate) == "'moon'"
        assert str(pki.issue("", serial=258).certificate) == "serial 01:02"

    def test_anybody_is_nobody(self):
        assert not FULL.certificate.confirms(Identification.any())

    @pytest.mark.parametrize("octet", [0, 10, 32, 127, 200])
    @pytest.mark.parametrize("tag", [0x81, 0x82, 0x86])
    def test_odd_octets_in_alternative_names(self, tag, octet):
        good = pki.issue("CN=x", names=("dns:moon.example.org",)).der
        old = der.encode(0x82, b"moon.example.org")
        new = der.encode(tag, b"moon" + bytes([octet]) + b"example.org")
        assert good.count(old) == 1
        with pytest.raises(CertificateError, match="not printable ASCII"):
            Certificate(good.replace(old, new))

    def test_addresses_of_odd_lengths(self):
        good = pki.issue("CN=x", names=("ip:fec0::1",)).der
        address = ID("fec0::1").data
        bad = good.replace(b"\x87\x10" + address, b"\x82\x00\x87\x0e" + address[2:])
        assert bad != good
        with pytest.raises(CertificateError, match="IP address of 14 octets"):
            Certificate(bad)


GOOD = FULL.der


def test_truncation_at_every_length():
    for length in range(len(GOOD)):
        with pytest.raises(CertificateError):
            Certificate(GOOD[:length])


def test_octets_behind_a_certificate():
    with pytest.raises(CertificateError, match="behind"):
        Certificate(GOOD + b"\0")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_wrong_octet_is_read_or_refused(position, octet):
    damaged = GOOD[:position] + bytes([octet]) + GOOD[position + 1 :]
    try:
        certificate = Certificate(damaged)
    except CertificateError as error:
        reason = str(error)
    else:
        reason = f"{certificate} {certificate.identities} {certificate.flags}"
    assert reason.isprintable()


@given(st.binary(max_size=200))
def test_any_octets_are_a_certificate_or_refused(data):
    for text in (data, b"\x30\x82" + len(data).to_bytes(2, "big") + data):
        with pytest.raises(CertificateError):
            Certificate(text)


class Parts:
    """A certificate put together by hand, so that each part can be wrong."""

    def __init__(self):
        self.version = der.encode(0xA0, b"\x02\x01\x02")
        self.serial = b"\x02\x01\x05"
        self.algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        self.issuer = self.subject = pki.name("CN=x").public_bytes()
        self.validity = der.encode(
            der.SEQUENCE,
            der.encode(0x17, b"260101000000Z") + der.encode(0x18, b"20990101000000Z"),
        )
        self.spki = pki.spki(pki.key())
        self.unique = b""
        self.extensions = []
        self.wrapper = 0xA3
        self.signature = der.encode(der.BIT_STRING, b"\0sig")
        self.signer = None
        self.outer_algorithm = None
        self.tail = b""

    def extension(self, oid, value, critical=b""):
        content = der.encode(der.OBJECT_IDENTIFIER, der.encode_oid(oid)) + critical
        content += der.encode(der.OCTET_STRING, value)
        self.extensions.append(der.encode(der.SEQUENCE, content))

    def der(self):
        extensions = b""
        if self.extensions:
            inner = der.encode(der.SEQUENCE, b"".join(self.extensions))
            extensions = der.encode(self.wrapper, inner)
        tbs = der.encode(
            der.SEQUENCE,
            self.version + self.serial + self.algorithm + self.issuer + self.validity
            + self.subject + self.spki + self.unique + extensions + self.tail,
        )  # fmt: skip
        if self.signer:
            self.signature = der.encode(der.BIT_STRING, b"\0" + self.signer(tbs))
        return der.encode(
            der.SEQUENCE, tbs + (self.outer_algorithm or self.algorithm) + self.signature
        )


def test_the_parts_make_a_certificate():
    parts = Parts()
    parts.unique = b"\x81\x02\0\1\x82\x02\0\1"
    certificate = Certificate(parts.der())
    assert certificate.not_before == 1767225600
    assert certificate.not_after == 4070908800


TIME = [
    (b"\x17\x0d500101000000Z", -631152000),
    (b"\x17\x0d491231235959Z", 2524607999),
    (b"\x18\x0f20500101000000Z", 2524608000),
]


@pytest.mark.parametrize(("written", "seconds"), TIME)
def test_times(written, seconds):
    parts = Parts()
    parts.validity = der.encode(der.SEQUENCE, written * 2)
    assert Certificate(parts.der()).not_after == seconds


BOOLEAN_TRUE = b"\x01\x01\xff"
WRONG = [
    ("version", der.encode(0xA0, b"\x02\x01\x03"), "version 03"),
    ("version", der.encode(0xA0, b"\x02\x01\x02\x05\0"), "behind"),
    ("serial", b"\x02\x00", "serial number of 0"),
    ("serial", der.encode(2, b"\x01" * 22), "serial number of 22"),
    ("serial", b"\x04\x01\x05", "0x04"),
    ("outer_algorithm", bytes.fromhex("300a06082a8648ce3d040303"), "differ"),
    ("issuer", b"\x30\x02\x30\x00", "RDN"),
    ("subject", b"\x30\x02\x30\x00", "RDN"),
    ("subject", b"\x31\x00", "0x31"),
    ("validity", der.encode(der.SEQUENCE, TIME[0][0]), "time"),
    ("validity", der.encode(der.SEQUENCE, TIME[0][0] * 3), "behind"),
    ("validity", der.encode(der.SEQUENCE, b"\x17\x0b2601010000Z" * 2), "not of the form"),
    ("validity", der.encode(der.SEQUENCE, b"\x17\x11260101000000+0100" * 2), "not of the form"),
    ("validity", der.encode(der.SEQUENCE, b"\x17\x0d261301000000Z" * 2), "does not exist"),
    ("validity", der.encode(der.SEQUENCE, b"\x17\x0d260132000000Z" * 2), "does not exist"),
    ("validity", der.encode(der.SEQUENCE, b"\x17\x0d260101240000Z" * 2), "does not exist"),
    ("validity", der.encode(der.SEQUENCE, b"\x18\x0f00000101000000Z" * 2), "does not exist"),
    ("validity", der.encode(der.SEQUENCE, b"\x05\0\x05\0"), "time should be"),
    ("signature", b"\x03\x00", "BIT STRING"),
    ("signature", b"\x03\x02\x01\x80", "BIT STRING"),
    ("tail", b"\x05\x00", "behind"),
]


@pytest.mark.parametrize(("part", "value", "reason"), WRONG)
def test_wrong_parts_are_named(part, value, reason):
    parts = Parts()
    setattr(parts, part, value)
    with pytest.raises(CertificateError, match=reason):
        Certificate(parts.der())


WRONG_EXTENSIONS = [
    ("2.5.29.19", b"\x30\x03\x01\x01\x01", "BOOLEAN"),
    ("2.5.29.19", b"\x30\x03\x02\x01\x01", "basic constraints"),
    ("2.5.29.19", b"\x30\x06\x01\x01\xff\x02\x01\x80", "basic constraints"),
    ("2.5.29.19", b"\x30\x06\x01\x01\xff\x01\x01\xff", "basic constraints"),
    ("2.5.29.19", b"\x30\x00\x00", "behind"),
    ("2.5.29.15", b"\x03\x00", "key usage"),
    ("2.5.29.15", b"\x03\x02\x08\x00", "key usage"),
    ("2.5.29.15", b"\x03\x04\x00\x00\x00\x00", "key usage"),
    ("2.5.29.17", b"\x30\x02\x82\x05", "too far"),
    ("2.5.29.17", b"\x30\x02\xa4\x00", "ends"),
    ("2.5.29.17", bytes.fromhex("3006a40430023000"), "RDN 1"),
    ("2.5.29.17", der.encode(der.SEQUENCE, b"\x82\0" * 257), "more than 256"),
    ("2.5.29.30", b"\x30\x02\xa2\x00", "name constraints"),
    ("2.5.29.30", b"\x30\x04\xa0\x00\xa0\x00", "name constraints"),
    ("2.5.29.30", b"\x30\x04\xa0\x02\x05\x00", "subtree"),
    ("2.5.29.30", b"\x30\x0a\xa0\x08\x30\x06\x82\x01a\x80\x01\x01", "minimum"),
    ("2.5.29.30", b"\x30\x0a\xa0\x08\x30\x06\x87\x04\1\2\3\4", "IP address of 4"),
    ("2.5.29.31", b"\x30\x02\x05\x00", "distribution point"),
    ("2.5.29.32", b"\x30\x02\x05\x00", "policy"),
    ("2.5.29.37", b"\x30\x02\x05\x00", "object identifier"),
    ("2.5.29.37", b"\x30\x02\x06\x00", "object identifier"),
    ("2.5.29.14", b"\x05\x00", "0x05"),
    ("1.3.6.1.5.5.7.1.1", b"\x30\x02\x05\x00", "access description"),
]


@pytest.mark.parametrize(("oid", "value", "reason"), WRONG_EXTENSIONS)
def test_wrong_extensions_are_named(oid, value, reason):
    parts = Parts()
    parts.extension(oid, value)
    with pytest.raises(CertificateError, match=reason):
        Certificate(parts.der())


def test_extensions_occur_once():
    parts = Parts()
    parts.extension("2.5.29.19", b"\x30\x00")
    parts.extension("2.5.29.19", b"\x30\x03\x01\x01\xff")
    with pytest.raises(CertificateError, match=r"2\.5\.29\.19 occurs twice"):
        Certificate(parts.der())


def test_extensions_are_limited():
    parts = Parts()
    for number in range(70):
        parts.extension(f"1.2.3.{number}", b"")
    with pytest.raises(CertificateError, match="too many"):
        Certificate(parts.der())


def test_unknown_critical_extensions_are_remembered():
    parts = Parts()
    parts.extension("1.2.3.4", b"", BOOLEAN_TRUE)
    parts.extension("1.2.3.5", b"", b"\x01\x01\x00")
    assert Certificate(parts.der()).extensions.unknown_critical == ("1.2.3.4",)


def test_version_one_has_no_extensions():
    parts = Parts()
    parts.version = b""
    assert Certificate(parts.der()).version == 1
    parts.extension("2.5.29.19", b"\x30\x03\x01\x01\xff")
    with pytest.raises(CertificateError, match="behind"):
        Certificate(parts.der())


def test_endless_certificates_are_refused():
    with pytest.raises(CertificateError, match="at most"):
        Certificate(bytes(70000))


class TestWeakSignatures:
    """Class 7: what a certificate may be signed with."""

    @pytest.mark.parametrize(
        ("algorithm", "reason"),
        [
            ("300d06092a864886f70d0101040500", "MD5 with RSA"),
            ("300d06092a864886f70d0101020500", "MD2 with RSA"),
            ("300906072a8648ce380403", "SHA-1 with DSA"),
            ("300a06082a8648ce3d04030a", "none of the signature schemes"),
            ("300c06082a8648ce3d0403020500", "none of the signature schemes"),
        ],
    )
    def test_names(self, algorithm, reason):
        from charon_core.crypto.errors import InvalidSignature

        parts = Parts()
        parts.algorithm = bytes.fromhex(algorithm)
        with pytest.raises(InvalidSignature, match=reason):
            Certificate(parts.der()).scheme()


class TestBundles:
    def test_whole_bundles_are_read(self):
        text = b"# a comment\n" + b"".join(
            node.x509.public_bytes(Encoding.PEM) for node in (FULL, CA)
        )
        assert load_certificates(text) == [FULL.certificate, CA.certificate]

    def test_der(self):
        assert load_certificates(FULL.der) == [FULL.certificate]

    def test_labels_are_free_but_keys_are_passed_over(self):
        pem = FULL.x509.public_bytes(Encoding.PEM).replace(b" CERTIFICATE-", b" TRUSTED THING-")
        other = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        assert load_certificates(other + pem) == [FULL.certificate]

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not a certificate"),
            (b"-----BEGIN X-----\n", "no complete PEM block"),
            (b"-----BEGIN X-----\nA\n-----END X-----", "not base64"),
            (b"-----BEGIN X-----\nAAAA\n-----END X-----", r"block 1 \(X\): not a certificate"),
            (b"-----BEGIN X CRL-----\nAAAA\n-----END X CRL-----", "no certificate among"),
        ],
    )
    def test_garbage(self, data, reason):
        with pytest.raises(CertificateError, match=reason):
            load_certificates(data)

    def test_a_file_without_end(self):
        block = b"-----BEGIN X-----\n-----END X-----\n"
        with pytest.raises(CertificateError, match="more than 2000"):
            load_certificates(block * 2001)

    @given(st.binary(max_size=60))
    def test_any_text(self, data):
        for text in (data, b"-----BEGIN X-----\n" + data + b"\n-----END X-----\n"):
            with pytest.raises(CertificateError):
                load_certificates(text)


def test_equality_and_repr():
    again = Certificate.from_der(FULL.der)
    assert again == FULL.certificate
    assert hash(again) == hash(FULL.certificate)
    assert again != CA.certificate
    assert repr(again) == "Certificate('C=CH, O=Test, CN=moon')"
    assert again.digest == FULL.certificate.digest != CA.certificate.digest


def test_times_as_text():
    assert format_time(0) == "1970-01-01 00:00:00 UTC"
    assert format_time(1e20) == "1e+20 s since 1970"
    assert FULL.certificate.is_valid_at(pki.NOW)
    assert not FULL.certificate.is_valid_at(pki.NOW + 2 * pki.YEAR)
