from __future__ import annotations

import pytest

from charon_core.encoding import summary
from charon_core.encoding.payloads import (
    Configuration,
    ConfigurationAttribute,
    Eap,
    Encrypted,
    EncryptedFragment,
    Notify,
    Unknown,
)
from charon_core.encoding.registry import ConfigAttribute, NotifyType
from charon_core.encoding.summary import notify_summary, payload_summary
from tests.unit.encoding.samples import message, sample_messages

SAMPLES = sample_messages()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "init-request",
            "IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) N(HASH_ALG) ]",
        ),
        ("init-cookie", "IKE_SA_INIT response 0 [ N(COOKIE) ]"),
        (
            "auth-request",
            (
                "IKE_AUTH request 1 [ IDi CERT CERTREQ IDr AUTH CPRQ(ADDR DNS) SA TSi TSr "
                "N(MOBIKE_SUP) N(MULT_AUTH) ]"
            ),
        ),
        ("auth-eap", "IKE_AUTH response 2 [ EAP/REQ/ID ]"),
        (
            "create-child-rekey",
            "CREATE_CHILD_SA request 3 [ N(REKEY_SA) SA No (200) TSi TSr ]",
        ),
        ("informational-empty", "INFORMATIONAL request 5 [ ]"),
        ("informational-delete", "INFORMATIONAL request 6 [ D D ]"),
        ("config-reply", "INFORMATIONAL response 7 [ CPRP(ADDR6 VER (31420)) ]"),
    ],
)
def test_lines_of_sample_messages(name, line):
    assert SAMPLES[name].summary() == line


def test_unknown_exchange_shows_its_number():
    assert message(250, 1).summary() == "(250) request 1 [ ]"


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        ("0101000501", "EAP/REQ/ID"),
        ("0201000501", "EAP/RES/ID"),
        ("0101000504", "EAP/REQ/MD5"),
        ("0201000503", "EAP/RES/NAK"),
        ("0101000512", "EAP/REQ/SIM"),
        ("0201000517", "EAP/RES/AKA"),
        ("0101000532", "EAP/REQ/AKA'"),
        ("01010005c8", "EAP/REQ/(200)"),
        ("03010004", "EAP/SUCC"),
        ("04010004", "EAP/FAIL"),
        ("01010004", "EAP/REQ"),
        ("09010004", "EAP/(9)"),
    ],
)
def test_eap_packets(packet, name):
    assert payload_summary(Eap(bytes.fromhex(packet))) == name


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Encrypted(35, b""), "E"),
        (EncryptedFragment(35, 1, 3, b""), "EF(1/3)"),
        (Unknown(49, critical=False, data=b""), "GSPM"),
        (Unknown(54, critical=False, data=b""), "PS"),
        (Notify.of(40000), "N((40000))"),
        (Configuration(2), "CPRP"),
        (Configuration(3, (ConfigurationAttribute(3),)), "CPS(DNS)"),
        (Configuration(4), "CPA"),
        (Configuration(9, (ConfigurationAttribute(1),)), "CP(9)(ADDR)"),
    ],
)
def test_single_payloads(payload, name):
    assert payload_summary(payload) == name


def test_short_names_are_complete_and_unique():
    names = [notify_summary(notify_type) for notify_type in NotifyType]
    assert not [name for name in names if name.startswith("(")]
    assert len(set(names)) == len(names)
    assert set(summary._ATTRIBUTES) == set(ConfigAttribute)


@pytest.mark.parametrize(
    ("notify_type", "name"),
    [
        (NotifyType.REDIRECT_SUPPORTED, "REDIR_SUP"),
        (NotifyType.CHILDLESS_IKEV2_SUPPORTED, "CHDLESS_SUP"),
        (NotifyType.INITIAL_CONTACT, "INIT_CONTACT"),
        (NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED, "ESP_TFC_PAD_N"),
        (NotifyType.NON_FIRST_FRAGMENTS_ALSO, "NON_FIRST_FRAG"),
        (NotifyType.USE_TRANSPORT_MODE, "USE_TRANSP"),
        (NotifyType.INVALID_KE_PAYLOAD, "INVAL_KE"),
        (NotifyType.NO_PROPOSAL_CHOSEN, "NO_PROP"),
        (NotifyType.AUTHENTICATION_FAILED, "AUTH_FAILED"),
        (NotifyType.TS_UNACCEPTABLE, "TS_UNACCEPT"),
        (NotifyType.ADDITIONAL_IP4_ADDRESS, "ADD_4_ADDR"),
    ],
)
def test_names_that_scripts_grep_for(notify_type, name):
    assert notify_summary(notify_type) == name
