from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from charon_core.crypto.secret import Secret
from charon_core.kernel.interface import AlgorithmNotSupported
from charon_core.kernel.userspace.algorithms import create_transform
from charon_core.kernel.userspace.transforms import InvalidIcv, Transform
from tests.unit.userspace.factories import ALGORITHMS, SPI, key, sa_spec

SPI_OCTETS = struct.pack(">I", SPI)
PLAIN = bytes(range(30)) + b"\0\4"
BLOCKS = bytes(range(46)) + b"\0\4"
SEQUENCE = 0x1_0000_0005


def transform(algorithm: str, **changes: Any) -> Transform:
    return create_transform(sa_spec(algorithm, **changes))


def plain_for(made: Transform) -> bytes:
    return BLOCKS if made.alignment == 16 else PLAIN


def associated(esn: bool) -> bytes:
    return SPI_OCTETS + (struct.pack(">Q", SEQUENCE) if esn else struct.pack(">I", 5))


# -- against the same computed by hand with `cryptography` --


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "icv"), [("AES_GCM_8-128", 8), ("AES_GCM_12-256", 12), ("AES_GCM_16-192", 16)]
)
def test_gcm_is_rfc_4106(algorithm: str, icv: int, esn: bool) -> None:
    made = transform(algorithm, esn=esn)
    material = key(ALGORITHMS[algorithm][1])
    packet = made.seal(SEQUENCE, PLAIN)
    assert packet[:8] == SPI_OCTETS + struct.pack(">I", 5)
    whole = AESGCM(material[:-4]).encrypt(material[-4:] + packet[8:16], PLAIN, associated(esn))
    assert packet[16:] == whole[: len(PLAIN) + icv]


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "icv"), [("AES_CCM_8-128", 8), ("AES_CCM_12-256", 12), ("AES_CCM_16-128", 16)]
)
def test_ccm_is_rfc_4309(algorithm: str, icv: int, esn: bool) -> None:
    made = transform(algorithm, esn=esn)
    material = key(ALGORITHMS[algorithm][1])
    packet = made.seal(SEQUENCE, PLAIN)
    aead = AESCCM(material[:-3], icv)
    expected = aead.encrypt(material[-3:] + packet[8:16], PLAIN, associated(esn))
    assert packet[16:] == expected


@pytest.mark.parametrize("esn", [False, True])
def test_chacha20_is_rfc_7634(esn: bool) -> None:
    material = key(36)
    packet = transform("CHACHA20_POLY1305", esn=esn).seal(SEQUENCE, PLAIN)
    aead = ChaCha20Poly1305(material[:32])
    assert packet[16:] == aead.encrypt(material[32:] + packet[8:16], PLAIN, associated(esn))


def test_chacha20_vector_of_rfc_7634_appendix_a() -> None:
    material = bytes.fromhex(
        "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3"
    )
    spec = sa_spec("CHACHA20_POLY1305", inbound=True, encryption_key=Secret(material))
    made = create_transform(
        spec.__class__(**{name: getattr(spec, name) for name in spec.__dataclass_fields__}
                       | {"id": spec.id._replace(spi=0x01020304)})
    )  # fmt: skip
    packet = bytes.fromhex(
        "01020304000000051011121314151617"
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6"
        "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3"
        "cbec163fac469b502773f6fb94e664da9165b82829f641e0"
        "76aaa8266b7fb0f7b11b369907e1ad43"
    )
    plaintext = made.open(packet, 5)
    assert plaintext.hex() == (
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10"
        "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
        "2425262728292a2b2c2d2e2f3031323334353637" "01020204"
    )  # fmt: skip


@pytest.mark.parametrize("esn", [False, True])
def test_gmac_is_rfc_4543(esn: bool) -> None:
    material = key(20)
    packet = transform("NULL_AUTH_AES_GMAC-128", esn=esn).seal(SEQUENCE, PLAIN)
    assert packet[16:-16] == PLAIN
    tag = AESGCM(material[:16]).encrypt(
        material[16:] + packet[8:16], b"", associated(esn) + packet[8:16] + PLAIN
    )
    assert packet[-16:] == tag


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "digest", "icv"),
    [
        ("AES_CBC-128/HMAC_SHA1_96", "sha1", 12),
        ("AES_CBC-256/HMAC_SHA2_256_128", "sha256", 16),
        ("AES_CBC-192/HMAC_SHA2_384_192", "sha384", 24),
        ("AES_CBC-128/HMAC_SHA2_512_256", "sha512", 32),
        ("AES_CBC-128/HMAC_SHA2_256_96", "sha256", 12),
    ],
)
def test_cbc_with_hmac_is_rfc_3602_and_4868(
    algorithm: str, digest: str, icv: int, esn: bool
) -> None:
    made = transform(algorithm, esn=esn)
    _, size, _, integrity_size = ALGORITHMS[algorithm]
    for _ in range(3):
        packet = made.seal(SEQUENCE, BLOCKS)
        covered = packet[:-icv] + (b"\0\0\0\1" if esn else b"")
        assert hmac.digest(key(integrity_size, 101), covered, digest)[:icv] == packet[-icv:]
        decryptor = Cipher(algorithms.AES(key(size)), modes.CBC(packet[8:24])).decryptor()
        assert decryptor.update(packet[24:-icv]) == BLOCKS


def test_cbc_ivs_do_not_repeat_and_do_not_follow_from_the_packet_before() -> None:
    made = transform("AES_CBC-128/HMAC_SHA1_96")
    ivs = {made.seal(n, BLOCKS)[8:24] for n in range(1, 600)}
    assert len(ivs) == 599
    # Nothing but the random block in front makes them differ: the same one twice gives the same.
    encryptor = Cipher(algorithms.AES(key(16)), modes.ECB()).encryptor()
    first, second = made.seal(600, BLOCKS), made.seal(601, BLOCKS)
    chained = encryptor.update(first[-28:-12])
    assert second[8:24] != chained


def test_ctr_is_rfc_3686() -> None:
    material = key(20)
    packet = transform("AES_CTR-128/HMAC_SHA2_256_128").seal(SEQUENCE, PLAIN)
    mode = modes.CTR(material[16:] + packet[8:16] + b"\0\0\0\1")
    assert Cipher(algorithms.AES(material[:16]), mode).decryptor().update(packet[16:-16]) == PLAIN


def test_null_shows_its_content() -> None:
    packet = transform("NULL/HMAC_SHA1_96").seal(SEQUENCE, PLAIN)
    assert packet[8:-12] == PLAIN
    assert hmac.digest(key(20, 101), packet[:-12], hashlib.sha1)[:12] == packet[-12:]


# -- all of them --


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_sealed_opens_again(algorithm: str, esn: bool) -> None:
    sealer, opener = transform(algorithm, esn=esn), transform(algorithm, esn=esn)
    plaintext = plain_for(sealer)
    for sequence in (1, 2, SEQUENCE, SEQUENCE + 1):
        packet = sealer.seal(sequence, plaintext)
        assert len(packet) == len(plaintext) + sealer.overhead
        assert opener.open(packet, sequence) == plaintext
        assert opener.open(memoryview(packet), sequence) == plaintext


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_bit_anywhere_is_noticed(algorithm: str) -> None:
    sealer, opener = transform(algorithm), transform(algorithm)
    packet = sealer.seal(5, plain_for(sealer))
    for place in range(len(packet)):
        changed = bytearray(packet)
        changed[place] ^= 1
        with pytest.raises(InvalidIcv):
            opener.open(bytes(changed), struct.unpack_from(">I", changed, 4)[0])
    assert opener.open(packet, 5) == plain_for(sealer)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_upper_half_of_an_esn_is_authenticated(algorithm: str) -> None:
    sealer, opener = transform(algorithm, esn=True), transform(algorithm, esn=True)
    packet = sealer.seal(SEQUENCE, plain_for(sealer))
    with pytest.raises(InvalidIcv):
        opener.open(packet, SEQUENCE + (1 << 32))
    assert opener.open(packet, SEQUENCE) == plain_for(sealer)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_truncation_at_every_length_is_noticed(algorithm: str) -> None:
    sealer, opener = transform(algorithm), transform(algorithm)
    packet = sealer.seal(5, plain_for(sealer))
    for length in range(len(packet)):
        with pytest.raises(InvalidIcv):
            opener.open(packet[:length], 5)


@given(st.sampled_from(list(ALGORITHMS)), st.binary(max_size=200), st.integers(0, 1 << 40))
def test_garbage_is_never_authentic(algorithm: str, data: bytes, sequence: int) -> None:
    with pytest.raises(InvalidIcv):
        transform(algorithm).open(data, sequence)


# -- what is refused --


@pytest.mark.parametrize(
    "changes",
    [
        {"encryption": 2},  # DES
        {"encryption": 9999},
        {"encryption_key": Secret(key(19))},
        {"encryption_key": Secret(b"")},
        {"key_bits": 256},
        {"integrity": 2, "integrity_key": Secret(key(20))},
    ],
)
def test_unfit_algorithms_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AlgorithmNotSupported) as refused:
        transform("AES_GCM_16-128", **changes)
    assert key(16).hex() not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"integrity": None},
        {"integrity": 0},
        {"integrity": 3},
        {"integrity_key": Secret(key(19))},
        {"integrity_key": None},
    ],
)
def test_a_cipher_without_its_integrity_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AlgorithmNotSupported):
        transform("AES_CBC-128/HMAC_SHA1_96", **changes)


def test_sha256_is_cut_to_96_bits_where_the_connection_says_so() -> None:
    made = transform("AES_CBC-256/HMAC_SHA2_256_128", sha256_96=True)
    assert made.icv_length == 12
    assert transform("AES_CBC-128/HMAC_SHA1_96", sha256_96=True).icv_length == 12


def test_nothing_shows_keys() -> None:
    for algorithm in ALGORITHMS:
        made = transform(algorithm)
        assert key(16).hex() not in repr(made)
        assert repr(key(16)) not in repr(made)
