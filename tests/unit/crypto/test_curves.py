"""Published exchanges on curves, and the low-order points that must not be accepted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x448, x25519

from charon_core.crypto import ecdh, montgomery
from charon_core.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from charon_core.crypto.key_exchange import generate, respond
from charon_core.encoding.registry import KeyExchangeId
from tests.unit.crypto.support import octets


def with_private_key(exchange, private):
    """Replace the generated key of an exchange, for vectors with known ones."""
    exchange._private = private
    return exchange


def test_ecp_256_matches_rfc_5903():
    def private(text):
        return ec.derive_private_key(int(text, 16), ec.SECP256R1())

    i = private("C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433")
    r = private("C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53")
    gi = octets(
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"
        "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3"
    )
    gr = octets(
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"
        "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB"
    )
    shared = octets("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE")
    initiator = ecdh._Ecdh(KeyExchangeId.ECP_256, i)
    responder = ecdh._Ecdh(KeyExchangeId.ECP_256, r)
    assert (initiator.public_value, responder.public_value) == (gi, gr)
    assert initiator.shared_secret(gr) == responder.shared_secret(gi) == shared


@pytest.mark.parametrize(
    ("scalar", "u", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            # The highest bit is to be ignored (RFC 7748 section 5).
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_curve25519_matches_rfc_7748(scalar, u, shared):
    private = x25519.X25519PrivateKey.from_private_bytes(octets(scalar))
    exchange = with_private_key(generate(KeyExchangeId.CURVE25519), private)
    assert exchange.shared_secret(octets(u)) == octets(shared)


def test_curve448_matches_rfc_7748():
    private = x448.X448PrivateKey.from_private_bytes(
        octets(
            "3d262fddf9ec8e88495266fea19a34d28882acef045104d0d1aae121"
            "700a779c984c24f8cdd78fbff44943eba368f54b29259a4f1c600ad3"
        )
    )
    u = octets(
        "06fce640fa3487bfda5f6cf2d5263f8aad88334cbd07437f020f08f9"
        "814dc031ddbdc38c19c6da2583fa5429db94ada18aa7a7fb4ef8a086"
    )
    shared = octets(
        "ce3e4ff95a60dc6697da1db1d85e6afbdf79b50a2412d7546d5f239f"
        "e14fbaadeb445fc66a01b0779d98223961111e21766282f73dd96b6f"
    )
    exchange = with_private_key(generate(KeyExchangeId.CURVE448), private)
    assert exchange.shared_secret(u) == shared


# Hardening class 6: points of low order, with which the secret would not depend on our key.

P25519 = 2**255 - 19
P448 = 2**448 - 2**224 - 1
OF_ORDER_EIGHT = (
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
)


@pytest.mark.parametrize("number", [0, 1, P25519 - 1, P25519, P25519 + 1])
@pytest.mark.parametrize("highest_bit", [0, 1 << 255])
def test_curve25519_refuses_small_subgroups(number, highest_bit):
    value = (number | highest_bit).to_bytes(32, "little")
    with pytest.raises(InvalidPublicValue, match="low order"):
        respond(KeyExchangeId.CURVE25519, value)


@pytest.mark.parametrize("value", OF_ORDER_EIGHT)
def test_curve25519_refuses_points_of_order_eight(value):
    with pytest.raises(InvalidPublicValue, match="low order"):
        generate(KeyExchangeId.CURVE25519).shared_secret(octets(value))


@pytest.mark.parametrize("number", [0, 1, P448 - 1, P448, P448 + 1])
def test_curve448_refuses_small_subgroups(number):
    with pytest.raises(InvalidPublicValue, match="low order"):
        respond(KeyExchangeId.CURVE448, number.to_bytes(56, "little"))


@pytest.mark.parametrize("module", [ecdh, montgomery])
def test_a_curve_that_the_library_drops_is_not_offered(module, monkeypatch):
    def refuse(*args):
        raise module.NotOffered("no such curve")

    if module is ecdh:
        monkeypatch.setattr(ecdh.ec, "generate_private_key", refuse)
        monkeypatch.setattr(ecdh.ec.EllipticCurvePublicKey, "from_encoded_point", refuse)
        method = KeyExchangeId.ECP_256
    else:
        monkeypatch.setattr(montgomery.X25519PrivateKey, "generate", refuse)
        method = KeyExchangeId.CURVE25519
    assert not module.is_offered(method)
    with pytest.raises(UnsupportedAlgorithm, match="not offered"):
        module.generate(method)
