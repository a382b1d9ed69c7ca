from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    ed448,
    ed25519,
    mldsa,
    padding,
    rsa,
    x25519,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from hypothesis import given
from hypothesis import strategies as st

from charon_core.crypto.errors import CryptoError, InvalidSignature, UnsupportedAlgorithm, WeakKey
from charon_core.crypto.signature_schemes import encode_algorithm
from charon_core.crypto.signatures import (
    SUPPORTED_HASHES,
    KeyType,
    SignatureScheme,
    choose_scheme,
    key_type_of,
    require_strong_key,
    sign,
    sign_auth,
    split_digital_signature,
    verify,
    verify_auth,
)
from charon_core.encoding.registry import AuthMethod, HashId
from tests.unit.crypto.support import octets

S = SignatureScheme
OCTETS = b"message | nonce | prf(SK_p, ID)"
RSA_2048 = rsa.generate_private_key(65537, 2048)
P256, P384, P521 = (
    ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
)
ED25519 = ed25519.Ed25519PrivateKey.generate()
ED448 = ed448.Ed448PrivateKey.generate()
ML_DSA = {
    S.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate(),
    S.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate(),
    S.ML_DSA_87: mldsa.MLDSA87PrivateKey.generate(),
}
CURVE_KEYS = {
    S.CLASSIC_ECDSA_256: P256,
    S.CLASSIC_ECDSA_384: P384,
    S.CLASSIC_ECDSA_521: P521,
}


def key_for(scheme):
    if scheme in ML_DSA:
        return ML_DSA[scheme]
    return {
        KeyType.RSA: RSA_2048,
        KeyType.ECDSA: CURVE_KEYS.get(scheme, P256),
        KeyType.ED25519: ED25519,
        KeyType.ED448: ED448,
    }[scheme.key_type]


def auth_payload(scheme, data=OCTETS):
    return sign_auth(key_for(scheme), scheme, data)


EVERY = list(SignatureScheme)
ACCEPTED = [scheme for scheme in EVERY if scheme not in (S.RSA_SHA1, S.ECDSA_SHA1)]
ECDSA = [scheme for scheme in ACCEPTED if scheme.key_type is KeyType.ECDSA]
RSA = [scheme for scheme in ACCEPTED if scheme.key_type is KeyType.RSA]


@pytest.mark.parametrize("scheme", EVERY)
def test_signature_verifies_under_its_own_key_data_and_scheme_alone(scheme):
    key = key_for(scheme)
    signature = sign(key, scheme, OCTETS)
    options = {"allow_sha1": True}
    verify(key.public_key(), scheme, OCTETS, signature, **options)
    with pytest.raises(InvalidSignature):
        verify(key.public_key(), scheme, OCTETS + b"\0", signature, **options)
    for other in EVERY:
        same = (other.value.hash, other.value.is_pss) == (scheme.value.hash, scheme.value.is_pss)
        if other.key_type is scheme.key_type and not same:
            with pytest.raises((InvalidSignature, UnsupportedAlgorithm)):
                verify(key.public_key(), other, OCTETS, signature, **options)


@pytest.mark.parametrize("scheme", ACCEPTED)
def test_auth_payload_names_its_scheme(scheme):
    method, data = auth_payload(scheme)
    assert method is scheme.auth_method
    assert verify_auth(key_for(scheme).public_key(), method, data, OCTETS) is scheme
    if method is AuthMethod.DIGITAL_SIGNATURE:
        identifier = encode_algorithm(scheme)
        assert data.startswith(bytes((len(identifier),)) + identifier)
        assert split_digital_signature(data)[0] is scheme


def test_classic_ecdsa_matches_rfc_4754():
    numbers = ec.EllipticCurvePublicNumbers(
        int("2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970", 16),
        int("6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D", 16),
        ec.SECP256R1(),
    )
    signature = octets(
        "CB28E0999B9C7715FD0A80D8E47A77079716CBBF917DD72E97566EA1C066957C"
        "86FA3BB4E26CAD5BF90B7F81899256CE7594BB1EA0C89212748BFF3B3D5B0315"
    )
    method = AuthMethod.ECDSA_SHA2_256_P256
    assert verify_auth(numbers.public_key(), method, signature, b"abc") is S.CLASSIC_ECDSA_256


@pytest.mark.parametrize(
    ("key", "scheme", "length"),
    [
        (P256, S.CLASSIC_ECDSA_256, 64),
        (P384, S.CLASSIC_ECDSA_384, 96),
        (P521, S.CLASSIC_ECDSA_521, 132),
    ],
)
def test_classic_ecdsa_signature_is_two_numbers_of_fixed_length(key, scheme, length):
    """RFC 4754 section 7, also where a number begins with zeros."""
    for _ in range(20):
        assert len(sign(key, scheme, OCTETS)) == length


def test_classic_ecdsa_signature_of_another_length_is_refused():
    signature = sign(P256, S.CLASSIC_ECDSA_256, OCTETS)
    r, s = signature[:32], signature[32:]
    for other in (r + b"\0" + s, b"\0" + r + s, b"\0" + r + b"\0" + s, r + s + b"\0", r):
        with pytest.raises(InvalidSignature):
            verify(P256.public_key(), S.CLASSIC_ECDSA_256, OCTETS, other)


def test_interoperates_with_the_library_alone():
    pss = padding.PSS(padding.MGF1(SHA512()), 64)
    signature = RSA_2048.sign(OCTETS, pss, SHA512())
    verify(RSA_2048.public_key(), S.RSA_PSS_SHA2_512, OCTETS, signature)
    signature = sign(RSA_2048, S.RSA_SHA2_256, OCTETS)
    RSA_2048.public_key().verify(signature, OCTETS, padding.PKCS1v15(), SHA256())
    r, s = decode_dss_signature(P256.sign(OCTETS, ec.ECDSA(SHA256())))
    verify(P256.public_key(), S.CLASSIC_ECDSA_256, OCTETS, r.to_bytes(32) + s.to_bytes(32))


# Hardening class 7: SHA-1, malformed and malleable signatures, weak keys.


@pytest.mark.parametrize("scheme", [S.RSA_SHA1, S.ECDSA_SHA1])
def test_sha1_is_refused_in_digital_signatures_unless_allowed(scheme):
    method, data = auth_payload(scheme)
    public_key = key_for(scheme).public_key()
    with pytest.raises(InvalidSignature, match="SHA-1"):
        verify_auth(public_key, method, data, OCTETS)
    assert verify_auth(public_key, method, data, OCTETS, allow_sha1=True) is scheme
    assert HashId.SHA1 not in SUPPORTED_HASHES


def test_classic_rsa_accepts_sha1_as_rfc_7296_has_it():
    signature = RSA_2048.sign(OCTETS, padding.PKCS1v15(), SHA1())
    scheme = verify_auth(RSA_2048.public_key(), 1, signature, OCTETS)
    assert scheme is S.CLASSIC_RSA_SHA1


@pytest.mark.parametrize("scheme", ACCEPTED)
def test_no_octet_of_an_auth_payload_can_be_changed(scheme):
    method, data = auth_payload(scheme)
    public_key = key_for(scheme).public_key()
    step = max(1, len(data) // 150)
    for position in range(0, len(data), step):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        with pytest.raises(CryptoError):
            verify_auth(public_key, method, bytes(altered), OCTETS)


@pytest.mark.parametrize("scheme", ACCEPTED)
def test_auth_payload_truncated_or_extended(scheme):
    method, data = auth_payload(scheme)
    public_key = key_for(scheme).public_key()
    step = max(1, len(data) // 150)
    for length in (*range(0, len(data), step), len(data) - 1):
        with pytest.raises(InvalidSignature):
            verify_auth(public_key, method, data[:length], OCTETS)
    for extended in (data + b"\0", data + data):
        with pytest.raises(InvalidSignature):
            verify_auth(public_key, method, extended, OCTETS)


@pytest.mark.parametrize("scheme", RSA)
def test_rsa_signature_of_another_length_is_refused(scheme):
    signature = sign(RSA_2048, scheme, OCTETS)
    n = RSA_2048.public_key().public_numbers().n
    congruent = int.from_bytes(signature) + n
    for other in (
        b"\0" + signature,
        signature.lstrip(b"\0")[1:],
        congruent.to_bytes(257),
        bytes(256),
        b"\xff" * 256,
        n.to_bytes(256),
    ):
        with pytest.raises(InvalidSignature):
            verify(RSA_2048.public_key(), scheme, OCTETS, other)


def raw_rsa(encoded: bytes) -> bytes:
    """Sign octets as they are: what a forger would like a lax verifier to accept."""
    numbers = RSA_2048.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(encoded), numbers.d, n).to_bytes(256)


DIGEST_INFO = octets("3031300d060960864801650304020105000420")
DIGEST = hashlib.sha256(OCTETS).digest()


def pkcs1(info: bytes, *, fill: bytes = b"\xff", tail: bytes = b"", kind: bytes = b"\x01") -> bytes:
    length = 256 - 3 - len(info) - len(tail)
    return b"\0" + kind + fill * length + b"\0" + info + tail


def test_well_formed_block_is_accepted():
    verify(RSA_2048.public_key(), S.RSA_SHA2_256, OCTETS, raw_rsa(pkcs1(DIGEST_INFO + DIGEST)))


@pytest.mark.parametrize(
    "block",
    [
        # CVE-2006-4339: garbage behind the digest, short padding
        b"\0\1" + b"\xff" * 8 + b"\0" + (DIGEST_INFO + DIGEST).ljust(245, b"\xa5"),
        pkcs1(DIGEST_INFO + DIGEST, tail=b"\0"),
        pkcs1(DIGEST_INFO + DIGEST, fill=b"\xfe"),
        pkcs1(DIGEST_INFO + DIGEST, fill=b"\0"),
        pkcs1(DIGEST_INFO + DIGEST, kind=b"\x02"),
        pkcs1(DIGEST_INFO + DIGEST, kind=b"\x00"),
        # CVE-2018-16151, CVE-2018-16152: odd parameters and OIDs inside of DigestInfo
        pkcs1(octets("302f300b0609608648016503040201") + octets("0420") + DIGEST),
        pkcs1(octets("3033300f0609608648016503040201050261620420") + DIGEST),
        pkcs1(octets("3032300e060a6086480165030402010005000420") + DIGEST),
        pkcs1(octets("303130 0d0609608648016503040202 05000420") + DIGEST),
        pkcs1(DIGEST),
        pkcs1(b""),
    ],
    ids=range(12),
)
def test_lax_padding_is_refused(block):
    assert len(block) == 256
    with pytest.raises(InvalidSignature):
        verify(RSA_2048.public_key(), S.RSA_SHA2_256, OCTETS, raw_rsa(block))


@pytest.mark.parametrize("salt_length", [0, 20, 31, 33, 222])
def test_pss_salt_of_another_length_is_refused(salt_length):
    pss = padding.PSS(padding.MGF1(SHA256()), salt_length)
    signature = RSA_2048.sign(OCTETS, pss, SHA256())
    with pytest.raises(InvalidSignature):
        verify(RSA_2048.public_key(), S.RSA_PSS_SHA2_256, OCTETS, signature)


def test_pss_mask_of_another_hash_is_refused():
    pss = padding.PSS(padding.MGF1(SHA512()), 32)
    signature = RSA_2048.sign(OCTETS, pss, SHA256())
    with pytest.raises(InvalidSignature):
        verify(RSA_2048.public_key(), S.RSA_PSS_SHA2_256, OCTETS, signature)


def integer(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, signed=True)
    return bytes((2, len(content))) + content


def ecdsa_signature(r: int, s: int) -> bytes:
    """The DER of any two numbers, negative ones too, which the library does not write."""
    return bytes((0x30, len(integer(r) + integer(s)))) + integer(r) + integer(s)


ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def test_ecdsa_der_has_to_be_canonical():
    signature = P256.sign(OCTETS, ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(signature)
    assert ecdsa_signature(r, s) == signature
    body = signature[2:]
    zeros_before_r = b"\x02\x23\0\0\0" + r.to_bytes(32) + integer(s)
    for malformed in (
        b"\x30\x81" + bytes((len(body),)) + body,  # length in BER's long form
        b"\x30\x80" + body + b"\0\0",  # indefinite length
        b"\x30" + bytes((len(body) + 2,)) + body + b"\x05\x00",  # something behind s
        b"\x30" + bytes((len(zeros_before_r),)) + zeros_before_r,
        signature + b"\0",
        b"\x31" + signature[1:],
        r.to_bytes(32) + s.to_bytes(32),  # the classic encoding
    ):
        with pytest.raises(InvalidSignature):
            verify(P256.public_key(), S.ECDSA_SHA2_256, OCTETS, malformed)


@pytest.mark.parametrize("r", [0, 1, ORDER_OF_P256, ORDER_OF_P256 + 1, 2**256 - 1])
@pytest.mark.parametrize("s", [0, 1, ORDER_OF_P256, 2**256 - 1])
def test_ecdsa_numbers_out_of_range_are_refused(r, s):
    """CVE-2022-21449: zeros that verify everything."""
    for scheme, signature in (
        (S.CLASSIC_ECDSA_256, r.to_bytes(32) + s.to_bytes(32)),
        (S.ECDSA_SHA2_256, ecdsa_signature(r, s)),
        (S.ECDSA_SHA2_256, ecdsa_signature(-r, -s)),
    ):
        with pytest.raises(InvalidSignature):
            verify(P256.public_key(), scheme, OCTETS, signature)


def test_ecdsa_with_numbers_beyond_the_order_is_refused():
    r, s = decode_dss_signature(P256.sign(OCTETS, ec.ECDSA(SHA256())))
    for numbers in ((r + ORDER_OF_P256, s), (r, s + ORDER_OF_P256), (-r, s), (r, -s)):
        with pytest.raises(InvalidSignature):
            verify(P256.public_key(), S.ECDSA_SHA2_256, OCTETS, ecdsa_signature(*numbers))


@pytest.mark.parametrize("scheme", [S.ED25519, S.ED448])
def test_eddsa_with_a_larger_s_is_refused(scheme):
    """RFC 8032 section 5.1.7: S is below the order, so signatures are not malleable."""
    key = key_for(scheme)
    signature = sign(key, scheme, OCTETS)
    half = len(signature) // 2
    order = {
        S.ED25519: 2**252 + 27742317777372353535851937790883648493,
        S.ED448: 2**446 - 0x8335DC163BB124B65129C96FDE933D8D723A70AADC873D6D54A7BB0D,
    }[scheme]
    larger = int.from_bytes(signature[half:], "little") + order
    with pytest.raises(InvalidSignature):
        verify(key.public_key(), scheme, OCTETS, signature[:half] + larger.to_bytes(half, "little"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0" + bytes(64),
        b"\x05",
        b"\xff" * 10,
        bytes((len(encode_algorithm(S.ED25519)),)) + encode_algorithm(S.ED25519),
        b"\x00" + encode_algorithm(S.ED25519) + bytes(64),
        b"\x06" + encode_algorithm(S.ED25519) + bytes(64),
        b"\x08" + encode_algorithm(S.ED25519) + bytes(64),
    ],
    ids=bytes.hex,
)
def test_malformed_digital_signature_is_refused(data):
    """Hardening class 1: lengths of zero, beyond the end, shorter than what they hold."""
    with pytest.raises(InvalidSignature):
        verify_auth(ED25519.public_key(), AuthMethod.DIGITAL_SIGNATURE, data, OCTETS)


@given(st.sampled_from([1, 9, 14]), st.binary(max_size=300))
def test_arbitrary_auth_data_only_ever_raises_crypto_errors(method, data):
    key = {1: RSA_2048, 9: P256, 14: ED25519}[method].public_key()
    with pytest.raises(CryptoError):
        verify_auth(key, method, data, OCTETS)


@pytest.mark.parametrize("method", [0, 2, 3, 12, 13, 15, 255])
def test_auth_method_without_signature_is_refused(method):
    with pytest.raises(UnsupportedAlgorithm, match="Auth Method"):
        verify_auth(RSA_2048.public_key(), method, bytes(256), OCTETS)


@pytest.mark.parametrize("scheme", ACCEPTED)
def test_key_of_another_kind_is_refused(scheme):
    method, data = auth_payload(scheme)
    for key in (RSA_2048, P256, ED25519, ED448, ML_DSA[S.ML_DSA_65]):
        if key_type_of(key) is not scheme.key_type:
            with pytest.raises(UnsupportedAlgorithm, match="needs a key of type"):
                verify_auth(key.public_key(), method, data, OCTETS)
            with pytest.raises(UnsupportedAlgorithm, match="needs a key of type"):
                sign(key, scheme, OCTETS)


@pytest.mark.parametrize("key", [P384, ec.generate_private_key(ec.BrainpoolP256R1())])
def test_classic_ecdsa_needs_its_own_curve(key):
    with pytest.raises(UnsupportedAlgorithm, match="secp256r1"):
        sign(key, S.CLASSIC_ECDSA_256, OCTETS)
    with pytest.raises(UnsupportedAlgorithm, match="secp256r1"):
        verify(key.public_key(), S.CLASSIC_ECDSA_256, OCTETS, bytes(64))


# Weak keys.


def rsa_public(bits: int, e: int = 65537, *, even: bool = False) -> rsa.RSAPublicKey:
    n = (1 << bits - 1) + (2 if even else 1)
    return rsa.RSAPublicNumbers(e, n).public_key()


@pytest.mark.parametrize("bits", [1024, 1536, 2047, 16385, 20000])
def test_rsa_keys_of_unacceptable_size_are_refused(bits):
    key = rsa_public(bits)
    with pytest.raises(WeakKey, match=f"2048 to 16384 bits, got {bits}"):
        require_strong_key(key)
    with pytest.raises(WeakKey):
        verify(key, S.RSA_SHA2_256, OCTETS, bytes(bits // 8))


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_keys_of_usual_size_are_accepted(bits):
    require_strong_key(rsa_public(bits))


def test_smallest_size_is_configurable():
    require_strong_key(rsa_public(1024), min_rsa_bits=1024)
    with pytest.raises(WeakKey):
        require_strong_key(rsa_public(2048), min_rsa_bits=3072)


class ForeignRsaKey(rsa.RSAPublicKey):
    """A key with numbers that the library would refuse to load, as another one might hand over."""

    def __init__(self, e: int, n: int) -> None:
        self._numbers = rsa.RSAPublicNumbers(e, n)

    key_size = 2048

    def public_numbers(self):
        return self._numbers

    def _refuse(self, *args, **options):
        raise AssertionError("a weak key was used")

    encrypt = verify = public_bytes = recover_data_from_signature = _refuse
    __eq__ = __copy__ = __deepcopy__ = _refuse


ODD_MODULUS = (1 << 2047) + 1


@pytest.mark.parametrize("e", [0, 1, 2, 3, 4, 65536])
def test_weak_exponents_are_refused(e):
    with pytest.raises(WeakKey, match=f"exponent.*got {e}"):
        verify(ForeignRsaKey(e, ODD_MODULUS), S.RSA_SHA2_256, OCTETS, bytes(256))


@pytest.mark.parametrize("e", [(1 << 32) + 3, (1 << 2040) + 1])
def test_exponents_that_make_verification_slow_are_refused(e):
    """Whoever presents such a key wants us to work: 12 ms a signature instead of 0.1."""
    with pytest.raises(WeakKey, match=f"got one of {e.bit_length()} bits"):
        verify(ForeignRsaKey(e, ODD_MODULUS), S.RSA_SHA2_256, OCTETS, bytes(256))


def test_the_fifth_fermat_number_is_an_exponent():
    require_strong_key(rsa.RSAPublicNumbers((1 << 32) + 1, ODD_MODULUS).public_key())


def test_exponent_three_of_a_loadable_key_is_refused():
    with pytest.raises(WeakKey, match="got 3"):
        require_strong_key(rsa_public(2048, 3))
    require_strong_key(rsa_public(2048, 17))


def test_even_modulus_is_refused():
    with pytest.raises(WeakKey, match="even"):
        require_strong_key(ForeignRsaKey(65537, ODD_MODULUS + 1))


def test_small_curves_are_refused():
    with pytest.raises(WeakKey, match="224 bits or more, got 192"):
        require_strong_key(ec.generate_private_key(ec.SECP192R1()).public_key())
    for key in (P256, P384, P521, ED25519, ED448):
        require_strong_key(key.public_key())


@pytest.mark.parametrize(
    "key",
    [x25519.X25519PrivateKey.generate(), x25519.X25519PrivateKey.generate().public_key()],
)
def test_keys_that_do_not_sign_are_refused(key):
    with pytest.raises(UnsupportedAlgorithm, match="no key that signs"):
        key_type_of(key)


def test_dsa_is_not_among_the_keys_of_ikev2():
    numbers = dsa.DSAParameterNumbers((1 << 1023) + 1, (1 << 159) + 1, 2)
    key = dsa.DSAPublicNumbers(4, numbers).public_key()
    with pytest.raises(UnsupportedAlgorithm):
        require_strong_key(key)


def test_key_too_small_for_the_scheme_cannot_sign():
    small = rsa.generate_private_key(65537, 1024)
    with pytest.raises(UnsupportedAlgorithm, match="cannot sign"):
        sign(small, S.RSA_PSS_SHA2_512, OCTETS)


# Choosing what to sign with.

ALL_HASHES = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        (rsa_public(2048), S.RSA_SHA2_256),
        (rsa_public(3072), S.RSA_SHA2_256),
        (rsa_public(4096), S.RSA_SHA2_384),
        (rsa_public(8192), S.RSA_SHA2_512),
        (P256, S.ECDSA_SHA2_256),
        (P384, S.ECDSA_SHA2_384),
        (P521, S.ECDSA_SHA2_512),
        (ec.generate_private_key(ec.BrainpoolP512R1()), S.ECDSA_SHA2_512),
        (ED25519, S.ED25519),
        (ED448, S.ED448),
        (ML_DSA[S.ML_DSA_44], S.ML_DSA_44),
    ],
)
def test_hash_fits_the_strength_of_the_key(key, scheme):
    assert choose_scheme(key, ALL_HASHES) is scheme


@pytest.mark.parametrize(
    ("key", "peer_hashes", "scheme"),
    [
        (RSA_2048, {HashId.SHA2_512}, S.RSA_SHA2_512),
        (RSA_2048, {HashId.SHA2_384, HashId.SHA2_512}, S.RSA_SHA2_384),
        (P521, {HashId.SHA2_256, HashId.SHA2_384}, S.ECDSA_SHA2_384),
        (P256, {HashId.SHA2_512, 4711}, S.ECDSA_SHA2_512),
        (ED25519, {HashId.IDENTITY}, S.ED25519),
    ],
)
def test_peer_knows_some_hashes_only(key, peer_hashes, scheme):
    assert choose_scheme(key, peer_hashes) is scheme


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        (RSA_2048, S.CLASSIC_RSA_SHA1),
        (P256, S.CLASSIC_ECDSA_256),
        (P384, S.CLASSIC_ECDSA_384),
        (P521, S.CLASSIC_ECDSA_521),
    ],
)
def test_peer_that_announced_nothing_gets_a_classic_method(key, scheme):
    assert choose_scheme(key, ()) is scheme


def test_preferences_of_the_configuration():
    peer = {HashId.SHA2_256, HashId.SHA2_384}
    assert choose_scheme(RSA_2048, peer, prefer_pss=True) is S.RSA_PSS_SHA2_256
    allowed = (S.ECDSA_SHA2_256, S.RSA_SHA2_512, S.RSA_PSS_SHA2_384, S.RSA_SHA2_256)
    assert choose_scheme(RSA_2048, peer, allowed=allowed) is S.RSA_PSS_SHA2_384
    assert choose_scheme(P256, peer, allowed=allowed) is S.ECDSA_SHA2_256
    assert choose_scheme(P256, (), allowed=allowed) is S.CLASSIC_ECDSA_256


@pytest.mark.parametrize(
    ("key", "peer_hashes", "allowed", "text"),
    [
        (RSA_2048, {HashId.SHA1}, (), "RSA key of 2048 bits.*rsa-sha256.*: SHA1$"),
        (RSA_2048, {4711}, (), r"\(4711\)$"),
        (ED25519, {HashId.SHA2_256}, (), "ED25519 key: we would take ed25519;.*SHA2_256$"),
        (ED25519, (), (), "none$"),
        (RSA_2048, {HashId.SHA2_256}, (S.RSA_SHA2_512,), "take rsa-sha512;"),
        (RSA_2048, (), (S.RSA_SHA2_256,), "take rsa-sha256;.*none$"),
        (P384, (), (S.ECDSA_SHA2_256,), "ecdsa-sha256"),
        (P256, {HashId.SHA2_256}, (S.RSA_SHA2_256,), "ECDSA key of 256 bits"),
        (ec.generate_private_key(ec.BrainpoolP384R1()), (), (), "ECDSA key of 384 bits.*none$"),
    ],
)
def test_text_tells_why_there_is_no_scheme(key, peer_hashes, allowed, text):
    with pytest.raises(UnsupportedAlgorithm, match=text):
        choose_scheme(key, peer_hashes, allowed=allowed)
