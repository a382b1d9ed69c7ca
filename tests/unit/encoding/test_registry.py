from __future__ import annotations

from enum import IntEnum

import pytest

from charon_core.encoding import registry
from charon_core.encoding.registry import (
    EncryptionId,
    ExchangeType,
    IntegrityId,
    KeyExchangeId,
    NotifyType,
    PayloadType,
    PrfId,
    TransformType,
    name_of,
)

ENUMS = [
    value
    for name in registry.__all__
    if isinstance(value := getattr(registry, name), type) and issubclass(value, IntEnum)
]


@pytest.mark.parametrize(
    ("member", "number"),
    [
        # One from each RFC that registered some, so that a slip in a row is noticed.
        (ExchangeType.IKE_SESSION_RESUME, 38),
        (ExchangeType.IKE_INTERMEDIATE, 43),
        (ExchangeType.IKE_FOLLOWUP_KE, 44),
        (PayloadType.EAP, 48),
        (PayloadType.SKF, 53),
        (PayloadType.PS, 54),
        (TransformType.ADDKE1, 6),
        (TransformType.ADDKE7, 12),
        (EncryptionId.AES_CBC, 12),
        (EncryptionId.AES_GCM_16, 20),
        (EncryptionId.CHACHA20_POLY1305, 28),
        (PrfId.HMAC_SHA2_512, 7),
        (PrfId.AES128_CMAC, 8),
        (IntegrityId.HMAC_SHA2_256_128, 12),
        (IntegrityId.HMAC_SHA2_256_96, 1026),
        (KeyExchangeId.MODP_2048, 14),
        (KeyExchangeId.ECP_256, 19),
        (KeyExchangeId.ECP_256_BP, 28),
        (KeyExchangeId.CURVE25519, 31),
        (KeyExchangeId.ML_KEM_768, 36),
        (NotifyType.NO_PROPOSAL_CHOSEN, 14),
        (NotifyType.CHILD_SA_NOT_FOUND, 44),
        (NotifyType.STATE_NOT_FOUND, 47),
        (NotifyType.ANOTHER_AUTH_FOLLOWS, 16405),
        (NotifyType.REDIRECTED_FROM, 16408),
        (NotifyType.TICKET_OPAQUE, 16413),
        (NotifyType.EAP_ONLY_AUTHENTICATION, 16417),
        (NotifyType.CHILDLESS_IKEV2_SUPPORTED, 16418),
        (NotifyType.QUICK_CRASH_DETECTION, 16419),
        (NotifyType.IPSEC_REPLAY_COUNTER_SYNC, 16423),
        (NotifyType.IKEV2_FRAGMENTATION_SUPPORTED, 16430),
        (NotifyType.SIGNATURE_HASH_ALGORITHMS, 16431),
        (NotifyType.PUZZLE, 16434),
        (NotifyType.NO_PPK_AUTH, 16437),
        (NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED, 16438),
        (NotifyType.ADDITIONAL_KEY_EXCHANGE, 16441),
        (NotifyType.SUPPORTED_AUTH_METHODS, 16443),
        (NotifyType.PPK_IDENTITY_KEY, 16446),
    ],
)
def test_numbers_are_those_of_the_registry(member, number):
    assert member == number


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_no_number_is_given_twice(enum):
    assert len(enum.__members__) == len(set(enum))


def test_scapy_knows_the_same_numbers_by_the_same_names():
    scapy = pytest.importorskip("scapy.contrib.ikev2")
    for number, name in scapy.IKEv2NotifyMessageTypes.items():
        ours = NotifyType(number).name
        theirs = name.upper().replace("IV2_NOTIFY_", "").replace("NOTIFY_STATE", "STATE")
        assert ours == {"SENDER_REQUEST_ID": "GROUP_SENDER"}.get(theirs, theirs)
    for number, name in scapy.IKEv2ConfigurationAttributeTypes.items():
        assert registry.ConfigAttribute(number).name == name
    for number, name in scapy.IKEv2ExchangeTypes.items():
        assert ExchangeType(number).name == name
    for number, (_, algorithms) in scapy.IKEv2AttributeTypes.items():
        assert isinstance(number, int)
        known = {1: EncryptionId, 2: PrfId, 3: IntegrityId, 4: KeyExchangeId, 5: registry.EsnId}
        assert set(algorithms) <= set(known[number])


def test_names_of_known_and_unknown_numbers():
    assert name_of(NotifyType, 16390) == "COOKIE"
    assert name_of(NotifyType, 12345) == "(12345)"


def test_errors_lie_below_the_statuses():
    assert NotifyType.REGISTRATION_FAILED.is_error
    assert not NotifyType.INITIAL_CONTACT.is_error
