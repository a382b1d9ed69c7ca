"""Keys: every file form, identifiers, and that nothing private is ever shown."""

from __future__ import annotations

import binascii
import copy
import pickle
from contextlib import suppress
from hashlib import md5, sha1

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charon_core.credentials.keys import KeyType, PrivateKey, PublicKey
from charon_core.credentials.loading import (
    KeyLoadError,
    load_pkcs12,
    load_private_key,
    load_public_key,
    parse_public_key,
)
from charon_core.crypto.errors import InvalidSignature, UnsupportedAlgorithm, WeakKey
from charon_core.crypto.secret import Secret
from charon_core.crypto.signature_schemes import SignatureScheme
from tests.unit.credentials import pki

KINDS = {
    "rsa2048": (KeyType.RSA, 2048),
    "ec256": (KeyType.ECDSA, 256),
    "ec384": (KeyType.ECDSA, 384),
    "ed25519": (KeyType.ED25519, 256),
    "ed448": (KeyType.ED448, 456),
}
PASSPHRASE = Secret(b"open sesame")
LOCK = BestAvailableEncryption(PASSPHRASE.reveal())
TRADITIONAL = [kind for kind in KINDS if not kind.startswith("ed")]


def traditional_pem(private, cipher, size):
    """Encrypt a key as OpenSSL did before PKCS#8: key and IV from MD5 (RFC 1421 headers)."""
    data = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    block = 8 if cipher == "DES-EDE3-CBC" else 16
    iv = bytes(range(block))
    material = b""
    while len(material) < size:
        step = material[-16:] if material else b""
        material += md5(step + PASSPHRASE.reveal() + iv[:8]).digest()
    if block == 8:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES as Algorithm
    else:
        Algorithm = algorithms.AES  # noqa: N806
    pad = block - len(data) % block
    encryptor = Cipher(Algorithm(material[:size]), modes.CBC(iv)).encryptor()
    body = encryptor.update(data + bytes([pad]) * pad) + encryptor.finalize()
    label = f"{'RSA' if isinstance(private, rsa.RSAPrivateKey) else 'EC'} PRIVATE KEY"
    text = binascii.b2a_base64(body).decode()
    return (
        f"-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},{iv.hex().upper()}"
        f"\n\n{text}-----END {label}-----\n"
    ).encode()


def written(kind, encoding, form, encryption=None):
    return pki.key(kind).private_bytes(encoding, form, encryption or NoEncryption())


class TestPrivateKeys:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    @pytest.mark.parametrize("encrypted", [False, True])
    def test_pkcs8(self, kind, encoding, encrypted):
        data = written(kind, encoding, PrivateFormat.PKCS8, LOCK if encrypted else None)
        key = load_private_key(data, PASSPHRASE if encrypted else None)
        assert (key.type, key.bits) == KINDS[kind]
        assert key.public_key.spki == pki.spki(pki.key(kind))

    @pytest.mark.parametrize("kind", TRADITIONAL)
    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_pkcs1_and_sec1(self, kind, encoding):
        key = load_private_key(written(kind, encoding, PrivateFormat.TraditionalOpenSSL))
        assert (key.type, key.bits) == KINDS[kind]

    @pytest.mark.parametrize("kind", ["rsa2048", "ec256"])
    @pytest.mark.parametrize(
        ("cipher", "size"),
        [("DES-EDE3-CBC", 24), ("AES-128-CBC", 16), ("AES-192-CBC", 24), ("AES-256-CBC", 32)],
    )
    def test_traditional_encryption(self, kind, cipher, size):
        data = traditional_pem(pki.key(kind), cipher, size)
        assert load_private_key(data, PASSPHRASE).public_key.spki == pki.spki(pki.key(kind))
        with pytest.raises(KeyLoadError, match="no passphrase is given"):
            load_private_key(data)

    @pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"ed448"}))
    def test_openssh(self, kind):
        key = load_private_key(written(kind, Encoding.PEM, PrivateFormat.OpenSSH))
        assert (key.type, key.bits) == KINDS[kind]

    def test_parameters_and_text_around_the_key_are_passed_over(self):
        data = written("ec256", Encoding.PEM, PrivateFormat.TraditionalOpenSSL)
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        assert load_private_key(b"my key\n" + parameters + data + b"end").type is KeyType.ECDSA

    def test_windows_line_ends(self):
        data = written("ec256", Encoding.PEM, PrivateFormat.PKCS8).replace(b"\n", b"\r\n")
        assert load_private_key(data).type is KeyType.ECDSA

    def test_a_passphrase_that_is_not_needed_is_ignored(self):
        data = written("ec256", Encoding.PEM, PrivateFormat.PKCS8)
        assert load_private_key(data, PASSPHRASE).type is KeyType.ECDSA

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_a_wrong_passphrase(self, encoding):
        data = written("ec256", encoding, PrivateFormat.PKCS8, LOCK)
        with pytest.raises(KeyLoadError, match="passphrase does not fit") as caught:
            load_private_key(data, Secret(b"guess"))
        assert "guess" not in str(caught.value)
        with pytest.raises(KeyLoadError, match="no passphrase is given"):
            load_private_key(data)

    def test_the_kind_of_key_is_checked(self):
        data = written("rsa2048", Encoding.PEM, PrivateFormat.PKCS8)
        assert load_private_key(data, expected=KeyType.RSA).type is KeyType.RSA
        with pytest.raises(KeyLoadError, match="expected a key of type ECDSA, this one is RSA"):
            load_private_key(data, expected=KeyType.ECDSA)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "no private key"),
            (b"hello", "no private key"),
            (b"-----BEGIN PRIVATE KEY-----\n", "no complete PEM block"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no private key"),
            (b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----", "not base64"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "only CERTIFICATE"),
            (bytes(17 * 2**20), "at most"),
        ],
    )
    def test_what_is_no_key(self, data, reason):
        with pytest.raises(KeyLoadError, match=reason):
            load_private_key(data)

    def test_a_key_that_cannot_sign(self):
        private = x25519.X25519PrivateKey.generate()
        data = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(KeyLoadError, match="no key that signs"):
            load_private_key(data)
        with pytest.raises(UnsupportedAlgorithm):
            PrivateKey(private)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.data())
    def test_damaged_keys_load_or_raise_a_load_error(self, data):
        good = written(data.draw(st.sampled_from(["ec256", "rsa2048"])), Encoding.DER,
                       PrivateFormat.PKCS8)  # fmt: skip
        position = data.draw(st.integers(0, len(good) - 1))
        bad = bytearray(good)
        bad[position] ^= data.draw(st.integers(1, 255))
        for damaged in (bytes(bad), good[:position]):
            with suppress(KeyLoadError):
                load_private_key(damaged)


class TestWeakKeys:
    """Class 7: tiny moduli and exponents are refused where they appear."""

    @pytest.mark.parametrize(
        ("kind", "reason"), [("rsa1024", "1024"), ("rsa2048e3", "exponent"), ("ec192", "192")]
    )
    def test_they_are_not_loaded(self, kind, reason):
        data = written(kind, Encoding.PEM, PrivateFormat.PKCS8)
        with pytest.raises(KeyLoadError, match=reason):
            load_private_key(data)
        public = pki.key(kind).public_key()
        with pytest.raises(KeyLoadError, match=reason):
            load_public_key(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(WeakKey, match=reason):
            PublicKey.of(public).require_strong()

    @pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 65536])
    def test_bad_exponents_in_dns_form(self, exponent):
        modulus = pki.key("rsa2048").public_key().public_numbers().n
        octets = exponent.to_bytes(3, "big")
        data = bytes([3]) + octets + modulus.to_bytes(256, "big")
        with pytest.raises(KeyLoadError):
            parse_public_key("dns:0x" + data.hex(), read_file=None)


class TestIdentifiers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_fingerprint_and_keyid(self, kind):
        private = pki.key(kind)
        key = PrivateKey(private)
        digest = x509.SubjectKeyIdentifier.from_public_key(private.public_key()).digest
        assert key.fingerprint == digest.hex() == key.public_key.fingerprint
        assert key.keyid == sha1(pki.spki(private)).hexdigest()

    def test_equality_is_that_of_the_key(self):
        key = PublicKey.of(pki.key("ec256").public_key())
        assert key == PublicKey(key.spki)
        assert hash(key) == hash(PublicKey(key.spki))
        assert key != PublicKey.of(pki.key("ec384").public_key())
        assert key != "key"

    @pytest.mark.parametrize("spki", [b"", b"\x30\x00", b"\x30\x03\x02\x01\x01"])
    def test_garbage_shows_when_it_is_used(self, spki):
        key = PublicKey(spki)
        assert key.keyid
        with pytest.raises(ValueError, match="cannot be used"):
            _ = key.key
        with pytest.raises(ValueError, match="DER"):
            _ = key.fingerprint


def test_signing_and_verifying():
    key = PrivateKey(pki.key("ec256"))
    signature = key.sign(SignatureScheme.ECDSA_SHA2_256, b"data")
    key.public_key.verify(SignatureScheme.ECDSA_SHA2_256, b"data", signature)
    with pytest.raises(InvalidSignature):
        key.public_key.verify(SignatureScheme.ECDSA_SHA2_256, b"date", signature)
    with pytest.raises(UnsupportedAlgorithm):
        key.sign(SignatureScheme.RSA_SHA2_256, b"data")


class TestNothingPrivateIsShown:
    @pytest.mark.parametrize("kind", KINDS)
    def test_text_forms(self, kind):
        private = pki.key(kind)
        key = PrivateKey(private)
        raw = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        shown = f"{key!r} {key}"
        assert key.fingerprint in shown
        for start in range(len(raw) - 8):
            piece = raw[start : start + 8]
            assert piece in key.public_key.spki or piece.hex() not in shown

    def test_no_copies(self):
        key = PrivateKey(pki.key("ec256"))
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="private key"):
                attempt(key)

    def test_errors_and_tracebacks_do_not_chain_what_the_library_says(self):
        data = written("ec256", Encoding.PEM, PrivateFormat.PKCS8, LOCK)
        with pytest.raises(KeyLoadError) as caught:
            load_private_key(data, Secret(b"guess"))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


class TestPkcs12:
    def container(self, node, authority, passphrase):
        lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return pkcs12.serialize_key_and_certificates(
            b"moon", node.private, node.x509, [authority.x509], lock
        )

    @pytest.mark.parametrize("passphrase", [None, b"open sesame"])
    def test_key_and_certificates(self, passphrase):
        authority = pki.authority("CN=ca")
        node = pki.issue("CN=moon", authority)
        data = self.container(node, authority, passphrase)
        loaded = load_pkcs12(data, [Secret(passphrase)] if passphrase else [])
        assert [key.fingerprint for key in loaded.keys] == [node.public_key.fingerprint]
        assert loaded.certificates == (node.certificate, authority.certificate)

    def test_each_passphrase_is_tried(self):
        authority = pki.authority("CN=ca")
        data = self.container(pki.issue("CN=moon", authority), authority, b"second")
        assert load_pkcs12(data, [Secret(b"first"), Secret(b"second")]).keys
        with pytest.raises(KeyLoadError, match="2 given") as caught:
            load_pkcs12(data, [Secret(b"first"), Secret(b"third")])
        assert "third" not in str(caught.value)
        with pytest.raises(KeyLoadError, match="none given"):
            load_pkcs12(data)

    @pytest.mark.parametrize("data", [b"", b"x", b"\x30\x00"])
    def test_garbage(self, data):
        with pytest.raises(KeyLoadError, match="no PKCS#12"):
            load_pkcs12(data, [Secret(b"x")])


class TestPublicKeys:
    """The forms of leftsigkey."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_subject_public_key_info(self, kind, encoding):
        public = pki.key(kind).public_key()
        data = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        assert load_public_key(data) == PublicKey.of(public)

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_pkcs1(self, encoding):
        public = pki.key("rsa2048").public_key()
        data = public.public_bytes(encoding, PublicFormat.PKCS1)
        assert load_public_key(data) == PublicKey.of(public)

    def test_certificates_hold_a_key_too(self):
        node = pki.issue("CN=moon")
        data = node.x509.public_bytes(Encoding.PEM)
        assert load_public_key(data) == node.public_key

    @pytest.mark.parametrize("kind", ["rsa2048", "ec256", "ed25519"])
    def test_written_forms(self, kind):
        public = pki.key(kind).public_key()
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        base64 = binascii.b2a_base64(data, newline=False).decode()
        files = {"key.pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
                 "key.ssh": line + b" me@host\n"}  # fmt: skip
        for text in (
            "0x" + data.hex(), "0X" + data.hex(":"), "0s" + base64, "key.pem", "key.ssh",
            "ssh:0s" + line.split()[1].decode(),
        ):  # fmt: skip
            assert parse_public_key(text, files.__getitem__) == PublicKey.of(public)

    @pytest.mark.parametrize("long_form", [False, True])
    def test_rsa_key_data_of_dns(self, long_form):
        public = pki.key("rsa2048").public_key()
        numbers = public.public_numbers()
        length = b"\0\0\3" if long_form else b"\3"
        data = length + numbers.e.to_bytes(3, "big") + numbers.n.to_bytes(256, "big")
        text = "dns:0s" + binascii.b2a_base64(data, newline=False).decode()
        assert parse_public_key(text, read_file=None) == PublicKey.of(public)

    @pytest.mark.parametrize("text", ["", "  ", "%cert", "%dns"])
    def test_what_is_ignored(self, text):
        assert parse_public_key(text, read_file=None) is None

    @pytest.mark.parametrize(
        "text",
        ["0xzz", "0s*", "0s", "0x", "dns:0x", "dns:0x00", "dns:0x0001", "dns:0x03010001", "dns:key",
         "ssh:0x", "ssh:0x00000007", "ssh:0x000000077373682d727361", "ssh:0s", "0x3000"],
    )  # fmt: skip
    def test_garbage(self, text):
        with pytest.raises(KeyLoadError):
            parse_public_key(text, read_file=None)

    def test_unreadable_files_are_the_callers(self):
        def read_file(path):
            raise FileNotFoundError(path)

        with pytest.raises(FileNotFoundError, match=r"moon\.pem"):
            parse_public_key("moon.pem", read_file)

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=80), st.sampled_from(["", "dns:", "ssh:"]))
    def test_any_octets_are_a_key_or_a_load_error(self, data, form):
        try:
            parse_public_key(f"{form}0x{data.hex()}", read_file=None)
        except KeyLoadError:
            return
