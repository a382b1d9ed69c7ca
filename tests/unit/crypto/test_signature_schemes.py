from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from charon_core.crypto.errors import InvalidSignature
from charon_core.crypto.signature_schemes import (
    CLASSIC_SCHEMES,
    SCHEMES_BY_KEYWORD,
    SignatureScheme,
    decode_algorithm,
    encode_algorithm,
)
from charon_core.encoding.registry import AuthMethod, HashId
from tests.unit.crypto.support import octets

S = SignatureScheme
DIGITAL = [scheme for scheme in SignatureScheme if not scheme.is_classic]
CLASSIC = [scheme for scheme in SignatureScheme if scheme.is_classic]

SHA256 = "300d06096086480165030402010500"
SHA256_BARE = "300b0609608648016503040201"
SHA384 = "300d06096086480165030402020500"
SHA1 = "300906052b0e03021a0500"
MGF1 = "06092a864886f70d010108"


def der(tag: int, *contents: str) -> str:
    content = "".join(contents)
    assert len(content) < 256
    return f"{tag:02x}{len(content) // 2:02x}{content}"


def pss(*parameters: str) -> bytes:
    return octets(der(0x30, "06092a864886f70d01010a", der(0x30, *parameters)))


def digest(algorithm: str) -> str:
    return der(0xA0, algorithm)


def mgf(algorithm: str, oid: str = MGF1) -> str:
    return der(0xA1, der(0x30, oid, algorithm))


def salt(integer: str) -> str:
    return der(0xA2, der(0x02, integer))


TRAILER = "a303020101"


def test_no_two_schemes_are_the_same():
    """Members of an Enum that are equal would silently become one."""
    assert len(SignatureScheme) == 23
    assert len(SCHEMES_BY_KEYWORD) == len(DIGITAL)


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        # RFC 7427 appendix A.1, A.3, A.4.3; RFC 8420 appendix A
        (S.RSA_SHA1, "300d06092a864886f70d0101050500"),
        (S.RSA_SHA2_256, "300d06092a864886f70d01010b0500"),
        (S.RSA_SHA2_384, "300d06092a864886f70d01010c0500"),
        (S.RSA_SHA2_512, "300d06092a864886f70d01010d0500"),
        (S.ECDSA_SHA1, "300906072a8648ce3d0401"),
        (S.ECDSA_SHA2_256, "300a06082a8648ce3d040302"),
        (S.ECDSA_SHA2_384, "300a06082a8648ce3d040303"),
        (S.ECDSA_SHA2_512, "300a06082a8648ce3d040304"),
        (
            S.RSA_PSS_SHA2_256,
            (
                "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
                "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
            ),
        ),
        (S.ED25519, "300506032b6570"),
        (S.ED448, "300506032b6571"),
        (S.ML_DSA_65, "300b0609608648016503040312"),
    ],
)
def test_algorithm_identifier_is_the_published_one(scheme, text):
    assert encode_algorithm(scheme) == octets(text)
    assert decode_algorithm(octets(text)) is scheme


@pytest.mark.parametrize("scheme", DIGITAL)
def test_identifiers_round_trip(scheme):
    assert decode_algorithm(encode_algorithm(scheme)) is scheme


HASHES = {
    HashId.SHA2_256: hashes.SHA256(),
    HashId.SHA2_384: hashes.SHA384(),
    HashId.SHA2_512: hashes.SHA512(),
}


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "scheme",
    [scheme for scheme in DIGITAL if scheme.hash is not HashId.SHA1 and "ML" not in scheme.name],
)
def test_certificates_of_the_library_carry_the_same_identifier(scheme, rsa_key):
    """An independent encoder: the AlgorithmIdentifier of X.509 signatures is the same."""
    key, pad, algorithm = rsa_key, None, HASHES.get(scheme.hash)
    if scheme.value.is_pss:
        pad = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    elif scheme.name.startswith("ECDSA"):
        key = ec.generate_private_key(ec.SECP256R1())
    elif scheme is S.ED25519:
        key = ed25519.Ed25519PrivateKey.generate()
    elif scheme is S.ED448:
        key = ed448.Ed448PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .sign(key, algorithm, rsa_padding=pad)
    )
    # Once in what is signed, once beside the signature; EdDSA names its keys alike.
    times = 3 if scheme in (S.ED25519, S.ED448) else 2
    assert certificate.public_bytes(Encoding.DER).count(encode_algorithm(scheme)) == times


@pytest.mark.parametrize("scheme", CLASSIC)
def test_classic_schemes_have_no_identifier(scheme):
    with pytest.raises(ValueError, match=scheme.name):
        encode_algorithm(scheme)


def test_classic_auth_methods():
    assert CLASSIC_SCHEMES[AuthMethod.RSA_DIGITAL_SIGNATURE][0] is S.CLASSIC_RSA_SHA1
    assert CLASSIC_SCHEMES[AuthMethod.ECDSA_SHA2_256_P256] == (S.CLASSIC_ECDSA_256,)
    assert CLASSIC_SCHEMES[AuthMethod.ECDSA_SHA2_384_P384] == (S.CLASSIC_ECDSA_384,)
    assert CLASSIC_SCHEMES[AuthMethod.ECDSA_SHA2_512_P521] == (S.CLASSIC_ECDSA_521,)
    assert set(CLASSIC_SCHEMES) == {1, 9, 10, 11}


@pytest.mark.parametrize(
    ("scheme", "keyword"),
    [
        (S.RSA_SHA2_256, "rsa-sha256"),
        (S.RSA_PSS_SHA2_512, "rsa/pss-sha512"),
        (S.ECDSA_SHA2_384, "ecdsa-sha384"),
        (S.ED25519, "ed25519"),
        (S.ML_DSA_87, "mldsa87"),
    ],
)
def test_keywords_are_those_of_ipsec_conf(scheme, keyword):
    assert scheme.keyword == keyword
    assert SCHEMES_BY_KEYWORD[keyword] is scheme


# Variants that RFC 4055 has everybody accept.


@pytest.mark.parametrize(
    ("variant", "scheme"),
    [
        ("300b06092a864886f70d01010b", S.RSA_SHA2_256),
        (pss(digest(SHA256), mgf(SHA256), salt("20"), TRAILER).hex(), S.RSA_PSS_SHA2_256),
        (pss(digest(SHA256_BARE), mgf(SHA256), salt("20")).hex(), S.RSA_PSS_SHA2_256),
        (pss(digest(SHA256), mgf(SHA256_BARE), salt("20")).hex(), S.RSA_PSS_SHA2_256),
        (pss(digest(SHA256_BARE), mgf(SHA256_BARE), salt("20")).hex(), S.RSA_PSS_SHA2_256),
        (pss(digest(SHA384), mgf(SHA384), salt("30")).hex(), S.RSA_PSS_SHA2_384),
    ],
)
def test_legal_variants_are_accepted(variant, scheme):
    assert decode_algorithm(octets(variant)) is scheme


# Hardening class 7: absent, negative, odd parameters.


@pytest.mark.parametrize(
    "identifier",
    [
        octets("300b06092a864886f70d01010a"),  # RFC 7427 A.4.1: absent, which means SHA-1
        octets("300d06092a864886f70d01010a3000"),  # RFC 7427 A.4.2: empty, likewise
        octets("300d06092a864886f70d01010a0500"),  # NULL
        pss(digest(SHA1), mgf(SHA1), salt("14")),
        pss(digest(SHA256)),
        pss(mgf(SHA256), salt("20")),
        pss(digest(SHA256), salt("20")),
        pss(digest(SHA256), mgf(SHA256)),  # salt of 20 octets by default
        pss(digest(SHA256), mgf(SHA384), salt("20")),
        pss(digest(SHA256), mgf(SHA1), salt("20")),
        pss(digest(SHA256), mgf(SHA256, "06092a864886f70d010109"), salt("20")),
        pss(digest(SHA256), mgf(SHA256), salt("00")),
        pss(digest(SHA256), mgf(SHA256), salt("1f")),
        pss(digest(SHA256), mgf(SHA256), salt("21")),
        pss(digest(SHA256), mgf(SHA256), salt("ff")),  # negative
        pss(digest(SHA256), mgf(SHA256), salt("80000020")),  # negative
        pss(digest(SHA256), mgf(SHA256), salt("0020")),  # not minimal
        pss(digest(SHA256), mgf(SHA256), salt("7fffffff")),
        pss(digest(SHA256), mgf(SHA256), salt("")),
        pss(digest(SHA256), mgf(SHA256), salt("20"), "a303020102"),
        pss(digest(SHA256), mgf(SHA256), salt("20"), "a303020100"),
        pss(digest(SHA256), mgf(SHA256), salt("20"), TRAILER, TRAILER),
        pss(mgf(SHA256), digest(SHA256), salt("20")),
        pss(digest(SHA256), digest(SHA256), mgf(SHA256), salt("20")),
        pss(digest(SHA256), mgf(SHA256), salt("20"), "0500"),
        pss(digest(SHA256), mgf(SHA256), salt("20")) + b"\0",
    ],
    ids=bytes.hex,
)
def test_pss_parameters_that_are_not_exact_are_refused(identifier):
    with pytest.raises(InvalidSignature, match=r"RSASSA-PSS parameters|none of the signature"):
        decode_algorithm(identifier)


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "30",
        "3000",
        "0500",
        "06092a864886f70d01010b",
        "300a06082a8648ce3d0403020500",  # trailing octets
        "300c06082a8648ce3d0403020500",  # ECDSA has no parameters
        "300706032b65700500",  # nor has Ed25519
        "300f06092a864886f70d01010b05000500",  # something behind the NULL
        "300d06092a864886f70d01010b0400",  # OCTET STRING instead of NULL
        "300e06092a864886f70d01010b050100",  # NULL with a content
        "30810d06092a864886f70d01010b0500",  # length in BER's long form
        "308006092a864886f70d01010b05000000",  # indefinite length
        "300d06092a864886f70d0101040500",  # MD5 with RSA
        "300d06092a864886f70d0101010500",  # rsaEncryption
        "300a06082a8648ce3d040301",  # ECDSA with SHA-224
        "300a06082a8648ce3d040305",
    ],
)
def test_other_identifiers_are_refused(identifier):
    with pytest.raises(InvalidSignature, match="none of the signature schemes"):
        decode_algorithm(octets(identifier))


@pytest.mark.parametrize("scheme", DIGITAL)
def test_every_truncation_and_every_altered_octet_is_refused_or_another_scheme(scheme):
    identifier = encode_algorithm(scheme)
    for length in range(len(identifier)):
        with pytest.raises(InvalidSignature):
            decode_algorithm(identifier[:length])
    for position in range(len(identifier)):
        for bit in range(8):
            altered = bytearray(identifier)
            altered[position] ^= 1 << bit
            try:
                other = decode_algorithm(bytes(altered))
            except InvalidSignature:
                continue
            # One bit lies between the numbers of some neighbours, whole identifiers all of them.
            assert other is not scheme
            assert encode_algorithm(other) == bytes(altered)


@given(st.binary(max_size=80))
def test_arbitrary_octets_only_raise_invalid_signature(identifier):
    with pytest.raises(InvalidSignature):
        decode_algorithm(identifier)
