"""Proposals as they are written: every keyword, every check, what is added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.algorithm_support import is_supported
from charon_core.config.default_proposals import default_proposals
from charon_core.config.keyword_table import KEYWORDS
from charon_core.config.keywords import MAX_PROPOSALS, ProposalError, parse_proposals
from charon_core.config.proposal import ENCR, ESN, INTEG, KE, PRF, Transform
from charon_core.encoding.registry import ProtocolId

IKE, ESP, AH = ProtocolId.IKE, ProtocolId.ESP, ProtocolId.AH


def everything(_protocol, _transform):
    return True


def strict(text, protocol=IKE):
    """The one proposal of a text, whatever this daemon supports."""
    (proposal,) = parse_proposals(text + "!", protocol, supported=everything)
    return proposal


def words(text):
    return text.split()


TOKENS: list[tuple[str, int, int, int | None]] = []
for _bits in (128, 192, 256):
    for _tokens, _number in [
        ("aes{}", 12),
        ("aes{}ctr", 13),
        ("aes{}ccm8 aes{}ccm64", 14),
        ("aes{}ccm12 aes{}ccm96", 15),
        ("aes{}ccm16 aes{}ccm128 aes{}ccm", 16),
        ("aes{}gcm8 aes{}gcm64", 18),
        ("aes{}gcm12 aes{}gcm96", 19),
        ("aes{}gcm16 aes{}gcm128 aes{}gcm", 20),
        ("aes{}gmac", 21),
        ("camellia{}", 23),
        ("camellia{}ctr", 24),
        ("camellia{}ccm8 camellia{}ccm64", 25),
        ("camellia{}ccm12 camellia{}ccm96", 26),
        ("camellia{}ccm16 camellia{}ccm128", 27),
        ("blowfish{}", 7),
        ("serpent{}", 1026),
        ("twofish{}", 1027),
    ]:
        TOKENS += [(t.format(_bits), ENCR, _number, _bits) for t in words(_tokens)]
TOKENS += [
    ("null", ENCR, 11, None),
    ("des", ENCR, 2, None),
    ("3des", ENCR, 3, None),
    ("cast128", ENCR, 6, 128),
    ("aes", ENCR, 12, 128),
    ("camellia", ENCR, 23, 128),
    ("blowfish", ENCR, 7, 128),
    ("serpent", ENCR, 1026, 128),
    ("twofish", ENCR, 1027, 128),
    ("chacha20poly1305", ENCR, 28, None),
    ("chacha20poly1305compat", ENCR, 28, 256),
    ("noesn", ESN, 0, None),
    ("esn", ESN, 1, None),
]
for _type, _table in [
    (
        INTEG,
        (
            "md5=1 sha=2 sha1=2 aesxcbc=5 md5_128=6 sha1_160=7 aescmac=8 sha256=12 sha2_256=12 "
            "sha384=13 sha2_384=13 sha512=14 sha2_512=14 sha256_96=1026 sha2_256_96=1026 "
            "camelliaxcbc=1030"
        ),
    ),
    (
        PRF,
        (
            "prfmd5=1 prfsha1=2 prfaesxcbc=4 prfsha256=5 prfsha384=6 prfsha512=7 prfaescmac=8 "
            "prfcamelliaxcbc=1028"
        ),
    ),
]:
    TOKENS += [(t, _type, int(n), None) for t, n in (w.split("=") for w in words(_table))]
for _token, _number in (
    w.split("=")
    for w in words(
        "none=0 modpnone=0 modp768=1 modp1024=2 modp1536=5 modp2048=14 modp3072=15 modp4096=16 "
        "modp6144=17 modp8192=18 ecp256=19 ecp384=20 ecp521=21 modp1024s160=22 modp2048s224=23 "
        "modp2048s256=24 ecp192=25 ecp224=26 ecp224bp=27 ecp256bp=28 ecp384bp=29 ecp512bp=30 "
        "curve25519=31 x25519=31 curve448=32 x448=32 modpnull=1024 ntru112=1030 ntru128=1031 "
        "ntru192=1032 ntru256=1033 newhope128=1040 gost256=33 gost512=34 mlkem512=35 mlkem768=36 "
        "mlkem1024=37"
    )
):
    TOKENS.append((_token, KE, int(_number), None))
    TOKENS += [(f"ke{n}_{_token}", 5 + n, int(_number), None) for n in range(1, 8)]


@pytest.mark.parametrize(("token", "type_", "number", "bits"), TOKENS)
def test_every_keyword(token, type_, number, bits):
    assert KEYWORDS[token] == Transform(type_, number, bits)


def test_there_are_no_other_keywords():
    assert set(KEYWORDS) == {row[0] for row in TOKENS}


DISPLAYED = [
    (IKE, "aes128-sha256-x25519", "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519"),
    (IKE, "x25519-sha256-aes", "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519"),
    (IKE, " aes128 - sha384 - x25519 ",
     "AES_CBC_128/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/CURVE_25519"),
    (IKE, "3des-md5-modp1024", "3DES_CBC/HMAC_MD5_96/PRF_HMAC_MD5/MODP_1024"),
    (IKE, "aes128gcm16-sha256-x25519", "AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519"),
    (IKE, "aes128gcm16-prfsha384-ecp256", "AES_GCM_16_128/PRF_HMAC_SHA2_384/ECP_256"),
    (IKE, "chacha20poly1305-prfsha256-x448", "CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_448"),
    (IKE, "aes256-sha384-prfsha512-none-x25519",
     "AES_CBC_256/HMAC_SHA2_384_192/PRF_HMAC_SHA2_512/CURVE_25519"),
    (IKE, "aes256-sha256-sha512-ecp384", ("AES_CBC_256/HMAC_SHA2_256_128/HMAC_SHA2_512_256/"
     "PRF_HMAC_SHA2_256/PRF_HMAC_SHA2_512/ECP_384")),
    (IKE, "aes256-sha256-x25519-ke1_mlkem768-ke2_none",
     ("AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768/"
     "KE2_MODP_NONE")),
    (IKE, "aes256-sha256-x25519-esn",
     "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519"),
    (ESP, "aes128-sha256", "AES_CBC_128/HMAC_SHA2_256_128/NO_EXT_SEQ"),
    (ESP, "aes128-sha256-esn", "AES_CBC_128/HMAC_SHA2_256_128/EXT_SEQ"),
    (ESP, "aes128-sha256-esn-noesn", "AES_CBC_128/HMAC_SHA2_256_128/EXT_SEQ/NO_EXT_SEQ"),
    (ESP, "aes128", "AES_CBC_128/NO_EXT_SEQ"),
    (ESP, "aes256gcm16-sha256-prfsha256", "AES_GCM_16_256/NO_EXT_SEQ"),
    (ESP, "aes256gcm-x25519-none", "AES_GCM_16_256/CURVE_25519/MODP_NONE/NO_EXT_SEQ"),
    (ESP, "aes256gmac", "NULL_AES_GMAC_256/NO_EXT_SEQ"),
    (ESP, "null-sha1", "NULL/HMAC_SHA1_96/NO_EXT_SEQ"),
    (ESP, "camellia256-sha2_256_96", "CAMELLIA_CBC_256/HMAC_SHA2_256_96/NO_EXT_SEQ"),
    (AH, "sha256", "HMAC_SHA2_256_128/NO_EXT_SEQ"),
    (AH, "aes128-sha256-prfsha1-modp2048", "HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ"),
    (AH, "aes192gmac", "AES_192_GMAC/NO_EXT_SEQ"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "text", "shown"), DISPLAYED)
def test_completion_and_display(protocol, text, shown):
    assert str(strict(text, protocol)) == f"{protocol.name}:{shown}"


@pytest.mark.parametrize(
    ("integrity", "prf"),
    [
        ("sha1", 2), ("sha1_160", 2), ("sha256", 5), ("sha384", 6), ("sha512", 7), ("md5", 1),
        ("md5_128", 1), ("aesxcbc", 4), ("camelliaxcbc", 1028), ("aescmac", 8),
    ],
)  # fmt: skip
def test_derived_prfs(integrity, prf):
    assert strict(f"aes-{integrity}-x25519").of(PRF) == [Transform(PRF, prf)]


REFUSED = [
    (IKE, "aes128-foo-x25519", "unknown algorithm 'foo'"),
    (IKE, "AES128-sha256-x25519", "did you mean 'aes128'"),
    (IKE, "aes128-sha256-x2551", "did you mean 'x25519'"),
    (IKE, "sha256-x25519", "no encryption"),
    (IKE, "aes128-x25519", "no integrity"),
    (IKE, "aes128-sha256", "no key exchange"),
    (IKE, "aes128-sha256-none", "no key exchange"),
    (IKE, "aes128gcm16-x25519", "no pseudorandom function"),
    (IKE, "aes128-sha256_96-x25519", "no pseudorandom function"),
    (IKE, "aes128-aes128gcm16-sha256-x25519", "mixes AEAD"),
    (IKE, "null-sha256-x25519", "must be encrypted"),
    (IKE, "aes128gmac-prfsha256-x25519", "must be encrypted"),
    (IKE, "", "unknown algorithm ''"),
    (IKE, "aes128-sha256-x25519,", "unknown algorithm ''"),
    (IKE, "aes128--sha256-x25519", "unknown algorithm ''"),
    (IKE, "aes128-sha256-x25519!,aes256-sha256-x25519", "unknown algorithm 'x25519!'"),
    (ESP, "sha256", "no encryption"),
    (ESP, "aes128-aes128gcm16", "mixes AEAD"),
    (ESP, "null", "neither encryption nor integrity"),
    (ESP, "aes128-null", "neither encryption nor integrity"),
    (AH, "aes128", "no integrity"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "text", "reason"), REFUSED)
def test_bad_proposals_name_what_is_wrong(protocol, text, reason):
    with pytest.raises(ProposalError, match=reason):
        strict(text, protocol)


def test_the_message_quotes_the_proposal_among_many():
    text = "aes128-sha256-x25519,aes256-sha256!"
    with pytest.raises(ProposalError, match="IKE proposal 'aes256-sha256': no key exchange"):
        parse_proposals(text, IKE)


@pytest.mark.parametrize("protocol", [IKE, ESP, AH])
def test_nothing_written_means_the_defaults(protocol):
    assert parse_proposals("", protocol) == default_proposals(protocol)
    assert parse_proposals("  ", protocol) == default_proposals(protocol)


def test_defaults_are_appended_unless_strict():
    own = strict("aes256gcm16-prfsha384-ecp384")
    assert parse_proposals("aes256gcm16-prfsha384-ecp384", IKE) == (own, *default_proposals(IKE))
    assert parse_proposals("aes256gcm16-prfsha384-ecp384!", IKE) == (own,)


def test_equal_proposals_are_kept_once():
    assert len(parse_proposals("aes-sha256-x25519,aes128-sha2_256-curve25519!", IKE)) == 1
    assert strict("aes-aes128-sha256-x25519").of(ENCR) == [Transform(ENCR, 12, 128)]


def test_default_proposals_as_documented():
    shown = [str(p) for p in (*default_proposals(ESP), *default_proposals(AH))]
    assert shown == [
        (
            "ESP:AES_CBC_128/AES_CBC_192/AES_CBC_256/HMAC_SHA2_256_128/HMAC_SHA2_384_192/"
            "HMAC_SHA2_512_256/HMAC_SHA1_96/AES_XCBC_96/NO_EXT_SEQ"
        ),
        "ESP:AES_GCM_16_128/AES_GCM_16_192/AES_GCM_16_256/NO_EXT_SEQ",
        (
            "AH:HMAC_SHA2_256_128/HMAC_SHA2_384_192/HMAC_SHA2_512_256/HMAC_SHA1_96/AES_XCBC_96/"
            "NO_EXT_SEQ"
        ),
    ]


def test_default_ike_proposals_prefer_what_is_strong_and_cheap():
    classic, aead = default_proposals(IKE)
    assert str(classic.first(ENCR)) == "AES_CBC_128"
    assert not classic.is_aead
    assert str(aead.first(ENCR)) == "AES_GCM_16_128"
    assert aead.is_aead
    assert not aead.of(INTEG)
    for proposal in (classic, aead):
        assert str(proposal.first(KE)) == "CURVE_25519"
        assert str(proposal.first(PRF)) == "PRF_HMAC_SHA2_256"
        assert str(proposal.of(KE)[-1]) == "MODP_2048"


class TestHardening:
    """Class 10: nothing is negotiated that is not available."""

    @pytest.mark.parametrize("protocol", [IKE, ESP, AH])
    def test_all_defaults_are_supported(self, protocol):
        for proposal in default_proposals(protocol):
            assert all(is_supported(protocol, transform) for transform in proposal.transforms)

    @pytest.mark.parametrize("text", ["serpent-sha256-x25519", "aes-sha256-ntru128"])
    def test_unavailable_algorithms_refuse_the_connection(self, text):
        with pytest.raises(ProposalError, match="not supported here"):
            parse_proposals(text, IKE)

    def test_null_encryption_is_for_esp_alone(self):
        null = KEYWORDS["null"]
        assert is_supported(ESP, null)
        assert not is_supported(IKE, null)

    def test_no_algorithm_has_keys_of_length_zero_but_null(self):
        from charon_core.crypto.ciphers import keymat_lengths

        for protocol in (IKE, ESP):
            for cipher in (t for p in default_proposals(protocol) for t in p.of(ENCR)):
                aead = cipher.id not in {3, 12, 13}
                lengths = keymat_lengths(cipher.id, cipher.key_length, None if aead else 12)
                assert lengths[0] >= 16

    def test_a_list_without_end_is_refused(self):
        text = ",".join(["aes128-sha256-x25519"] * MAX_PROPOSALS)
        assert len(parse_proposals(text + "!", IKE)) == 1
        text += ",aes128-sha256-x25519"
        with pytest.raises(ProposalError, match="at most"):
            parse_proposals(text, IKE)


PARTS = st.lists(st.sampled_from([*sorted(KEYWORDS), "", "x"]), max_size=6).map("-".join)


@given(st.one_of(st.text(max_size=30), PARTS), st.sampled_from([IKE, ESP, AH]))
def test_any_text_is_a_proposal_or_a_proposal_error(text, protocol):
    try:
        proposals = parse_proposals(text, protocol, supported=everything)
    except ProposalError:
        return
    for proposal in proposals:
        assert proposal.protocol == protocol
        assert len(set(proposal.transforms)) == len(proposal.transforms)
        if protocol == IKE:
            assert proposal.of(PRF)
            assert proposal.of(KE)
            assert proposal.of(INTEG) or proposal.is_aead
            assert not proposal.of(ESN)
        else:
            assert proposal.of(ESN)
            assert not proposal.of(PRF)
