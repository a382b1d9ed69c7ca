from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.exceptions import UnsupportedAlgorithm as NotOffered

from charon_core.crypto import sealers
from charon_core.crypto.algorithms import preload, supported
from charon_core.crypto.ciphers import keymat_lengths
from charon_core.crypto.errors import UnsupportedAlgorithm
from charon_core.crypto.integrity import get_integrity
from charon_core.crypto.key_exchange import generate
from charon_core.crypto.message_cipher import create_message_cipher
from charon_core.crypto.prf import get_prf
from charon_core.encoding.registry import EncryptionId, IntegrityId, KeyExchangeId, TransformType


@pytest.fixture
def nothing_cached():
    supported.cache_clear()
    yield
    supported.cache_clear()


def test_everything_listed_can_be_made():
    """Hardening class 10: nothing is negotiated that is not available."""
    for encr_id, bits in supported(TransformType.ENCR):
        for integ_id in (None, IntegrityId.HMAC_SHA2_256_128):
            try:
                encr, integ = keymat_lengths(encr_id, bits, integ_id)
            except UnsupportedAlgorithm:
                continue
            create_message_cipher(encr_id, bits, integ_id, bytes(encr), bytes(integ)).seal(b"", b"")
    for prf_id, none in supported(TransformType.PRF):
        assert get_prf(prf_id).prf(b"key", b"data")
        assert none is None
    for integ_id, _ in supported(TransformType.INTEG):
        algorithm = get_integrity(integ_id)
        assert algorithm.icv(bytes(algorithm.key_length), b"data")
    for method, _ in supported(TransformType.KE):
        if "8192" not in KeyExchangeId(method).name:
            assert generate(method).public_value


def test_the_lists_hold_what_is_expected_of_every_installation():
    encryption = set(supported(TransformType.ENCR))
    for encr_id in (EncryptionId.AES_CBC, EncryptionId.AES_GCM_16, EncryptionId.AES_CCM_8):
        assert {(encr_id, 128), (encr_id, 192), (encr_id, 256)} <= encryption
    assert {(EncryptionId.CHACHA20_POLY1305, None), (EncryptionId.TRIPLE_DES, None)} <= encryption
    assert len(supported(TransformType.PRF)) == 7
    assert len(supported(TransformType.INTEG)) == 8
    assert (KeyExchangeId.CURVE25519, None) in supported(TransformType.KE)
    assert supported(TransformType.ADDKE1) == supported(TransformType.KE)
    assert supported(TransformType.ESN) == ((0, None), (1, None))
    assert supported(TransformType.GCAUTH) == ()


def test_null_encryption_is_not_for_ike():
    assert EncryptionId.NULL not in {encr_id for encr_id, _ in supported(TransformType.ENCR)}


def test_what_the_library_no_longer_has_is_not_listed(monkeypatch, nothing_cached):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.decrepit.ciphers.algorithms", None)
    assert (EncryptionId.TRIPLE_DES, None) not in supported(TransformType.ENCR)
    with pytest.raises(UnsupportedAlgorithm, match="3DES is not offered"):
        create_message_cipher(
            EncryptionId.TRIPLE_DES, None, IntegrityId.HMAC_SHA1_96, bytes(24), bytes(20)
        )


def test_what_openssl_refuses_at_run_time_is_not_listed(monkeypatch, nothing_cached):
    def refuse(key):
        raise NotOffered("disabled by policy")

    contexts = {**sealers._AEAD_CONTEXTS, EncryptionId.CHACHA20_POLY1305: refuse}
    monkeypatch.setattr(sealers, "_AEAD_CONTEXTS", contexts)
    listed = supported(TransformType.ENCR)
    assert (EncryptionId.CHACHA20_POLY1305, None) not in listed
    assert (EncryptionId.AES_GCM_16, 256) in listed


IMPORTS = """
import sys
import charon_core.crypto.ciphers
import charon_core.crypto.key_derivation
import charon_core.crypto.key_exchange
import charon_core.crypto.message_cipher
import charon_core.crypto.prf
import charon_core.crypto.secret
import charon_core.crypto.signatures
import charon_core.crypto.algorithms
heavy = [name for name in sys.modules if name.split(".")[0] in ("cryptography", "gmpy2")]
assert not heavy, heavy
charon_core.crypto.algorithms.preload()
assert "cryptography" in sys.modules
assert "gmpy2" not in sys.modules
"""


def test_importing_loads_no_heavy_library():
    """The daemon answers its control socket within 0.4 s of its start."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, timeout=60)


def test_preload_may_be_called_at_any_time():
    preload()
    preload()
