"""SAs and policies of the contract as XFRM requests."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import pytest

from charon_core.config.child import ChildMode, Mark
from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EncryptionId, IntegrityId
from charon_core.kernel.interface import (
    AlgorithmNotSupported,
    Encapsulation,
    IpsecProtocol,
    KernelError,
    PolicyAction,
    PolicyDirection,
    SaSpec,
)
from charon_core.kernel.netlink import Frame, attribute, attributes
from charon_core.kernel.xfrm import constants, messages, policies, states, structs
from tests.unit.kernel.factories import (
    CBC_KEY,
    GCM_KEY,
    HERE,
    HERE6,
    HMAC_KEY,
    THERE,
    THERE6,
    cbc_sa,
    gcm_sa,
    policy,
    sa_id,
    template,
    ts,
)


def frame(body: bytes, kind: int = constants.XFRM_MSG_NEWSA) -> Frame:
    header = struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0)
    return Frame(kind, 0, 1, 0, header + body)


def encoded(spec: SaSpec) -> Any:
    message = messages.usersa_info(frame(states.encode_sa(spec)).data)
    message.decode()
    return message


def names(message: Any) -> list[str]:
    return [slot.name for slot in message["attrs"]]


def test_aead_sa() -> None:
    message = encoded(gcm_sa(reqid=9, hard_seconds=3599.2, soft_bytes=10, hard_packets=20))
    assert message["id"] == {"daddr": HERE, "spi": 0xC1234567, "proto": 50}
    assert (message["saddr"], message["family"], message["reqid"]) == (THERE, socket.AF_INET, 9)
    assert message["mode"] == constants.XFRM_MODE_TUNNEL
    assert message["replay_window"] == 32
    assert message["flags"] == constants.XFRM_STATE_AF_UNSPEC
    assert message["lft"]["hard_add_expires_seconds"] == 3600
    assert message["lft"]["soft_byte_limit"] == 10
    assert message["lft"]["hard_byte_limit"] == constants.XFRM_INF
    assert message["lft"]["hard_packet_limit"] == 20
    assert names(message) == ["XFRMA_ALG_AEAD"]
    assert message.get_attr("XFRMA_ALG_AEAD") == {
        "alg_name": "rfc4106(gcm(aes))",
        "alg_key_len": 160,
        "alg_icv_len": 128,
        "alg_key": GCM_KEY,
    }


def test_cipher_with_integrity() -> None:
    message = encoded(cbc_sa())
    assert names(message) == ["XFRMA_ALG_CRYPT", "XFRMA_ALG_AUTH_TRUNC"]
    assert message.get_attr("XFRMA_ALG_CRYPT")["alg_key"] == CBC_KEY
    integrity = message.get_attr("XFRMA_ALG_AUTH_TRUNC")
    assert (integrity["alg_name"], integrity["alg_trunc_len"]) == ("hmac(sha256)", 128)
    assert integrity["alg_key"] == HMAC_KEY
    assert encoded(cbc_sa(sha256_96=True)).get_attr("XFRMA_ALG_AUTH_TRUNC")["alg_trunc_len"] == 96


def test_ah_has_integrity_alone() -> None:
    identity = sa_id()._replace(protocol=IpsecProtocol.AH)
    message = encoded(cbc_sa(id=identity, encryption=0, encryption_key=Secret(b"")))
    assert names(message) == ["XFRMA_ALG_AUTH_TRUNC"]
    assert message["id"]["proto"] == 51


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (gcm_sa(integrity=IntegrityId.HMAC_SHA1_96, integrity_key=Secret(bytes(20))), "got both"),
        (gcm_sa(encryption=EncryptionId.AES_CBC, encryption_key=Secret(CBC_KEY)), "got neither"),
        (cbc_sa(integrity=0), "got neither"),
        (cbc_sa(integrity_key=None), "got 0"),
        (gcm_sa(encryption_key=Secret(b"")), "got 0"),
        (
            cbc_sa(
                id=sa_id()._replace(protocol=IpsecProtocol.AH), integrity=None, integrity_key=None
            ),
            "got neither",
        ),
    ],
    ids=["both", "cipher alone", "integrity NONE", "no integrity key", "no key", "empty AH"],
)
def test_algorithms_that_do_not_protect_are_refused(spec: SaSpec, words: str) -> None:
    with pytest.raises(AlgorithmNotSupported, match=words) as refused:
        states.encode_sa(spec)
    assert GCM_KEY.hex() not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "window", "flags", "esn"),
    [
        ({"replay_window": 0}, 0, 0, None),
        ({"replay_window": 32}, 32, 0, None),
        ({"replay_window": 33}, 0, 0, (2, 33)),
        ({"replay_window": 4096}, 0, 0, (128, 4096)),
        ({"esn": True}, 0, constants.XFRM_STATE_ESN, (1, 32)),
        ({"esn": True, "replay_window": 64}, 0, constants.XFRM_STATE_ESN, (2, 64)),
        ({"inbound": False, "replay_window": 64}, 0, 0, None),
        ({"inbound": False, "esn": True, "replay_window": 0}, 0, constants.XFRM_STATE_ESN, (1, 32)),
    ],
)
def test_replay_protection(
    changes: dict[str, Any], window: int, flags: int, esn: tuple[int, int] | None
) -> None:
    message = encoded(gcm_sa(**changes))
    assert message["replay_window"] == window
    assert message["flags"] & constants.XFRM_STATE_ESN == flags
    state = message.get_attr("XFRMA_REPLAY_ESN_VAL")
    assert (state and (state["bmp_len"], state["replay_window"])) == esn


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replay_window": 4097}, "at most 4096, got 4097"),
        ({"esn": True, "replay_window": 0}, "need a replay window"),
    ],
)
def test_replay_windows_that_the_kernel_has_not(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(KernelError, match=words):
        states.encode_sa(gcm_sa(**changes))


def test_encapsulation_mark_and_interface() -> None:
    spec = gcm_sa(encapsulation=Encapsulation(4500, 1025), mark=Mark(1, 2), if_id=3)
    message = encoded(spec)
    assert message.get_attr("XFRMA_ENCAP") == {
        "encap_type": 2,
        "encap_sport": 4500,
        "encap_dport": 1025,
        "encap_oa": bytes(16),
    }
    assert message.get_attr("XFRMA_MARK") == {"v": 1, "m": 2}
    assert message.get_attr("XFRMA_IF_ID") == 3


@pytest.mark.parametrize(
    ("changes", "tfc", "extra"),
    [
        ({"tfc": 500}, 500, None),
        ({"tfc": -1}, 0xFFFFFFFF, None),
        ({"tfc": 500, "mode": ChildMode.TRANSPORT}, None, None),
        ({"tfc": 500, "inbound": True}, None, None),
        ({"copy_dscp": False}, None, 1),
    ],
)
def test_outbound_extras(changes: dict[str, Any], tfc: int | None, extra: int | None) -> None:
    message = encoded(gcm_sa(**({"inbound": False} | changes)))
    assert message.get_attr("XFRMA_TFCPAD") == tfc
    assert message.get_attr("XFRMA_SA_EXTRA_FLAGS") == extra


@pytest.mark.parametrize("inbound", [True, False])
def test_transport_mode_carries_the_selector(inbound: bool) -> None:
    message = encoded(
        gcm_sa(
            mode=ChildMode.TRANSPORT,
            inbound=inbound,
            local_ts=(ts(f"{HERE}[tcp/179]"),),
            remote_ts=(ts(f"{THERE}[tcp]"),),
        )
    )
    assert message["flags"] & constants.XFRM_STATE_AF_UNSPEC == 0
    ours, theirs = ("d", "s") if inbound else ("s", "d")
    assert message["sel"][f"{ours}addr"] == HERE
    assert message["sel"][f"{theirs}addr"] == THERE
    assert message["sel"][f"{ours}port"] == 179


def test_transport_mode_with_several_selectors_leaves_it_to_the_policies() -> None:
    message = encoded(
        gcm_sa(
            mode=ChildMode.TRANSPORT, local_ts=(ts(HERE), ts("10.0.0.1")), remote_ts=(ts(THERE),)
        )
    )
    assert message["sel"]["family"] == socket.AF_INET
    assert message["sel"]["prefixlen_s"] == 0


def test_beet_needs_one_pair_of_selectors() -> None:
    message = encoded(gcm_sa(mode=ChildMode.BEET))
    assert message["mode"] == constants.XFRM_MODE_BEET
    assert (message["sel"]["saddr"], message["sel"]["daddr"]) == ("10.2.0.0", "10.1.0.0")
    with pytest.raises(KernelError, match="BEET"):
        states.encode_sa(gcm_sa(mode=ChildMode.BEET, local_ts=(ts(HERE), ts("10.0.0.1"))))


@pytest.mark.parametrize("mode", [ChildMode.PASS, ChildMode.DROP])
def test_shunts_are_no_sas(mode: ChildMode) -> None:
    with pytest.raises(KernelError, match="is not a mode of an SA"):
        states.encode_sa(gcm_sa(mode=mode))


def test_spi_request() -> None:
    body = states.encode_spi_request(THERE6, HERE6, IpsecProtocol.ESP, (0x100, 0x1FF))
    message = messages.userspi_info(frame(body, constants.XFRM_MSG_ALLOCSPI).data)
    message.decode()
    assert message["info"]["id"] == {"daddr": HERE6, "spi": 0, "proto": 50}
    assert message["info"]["saddr"] == THERE6
    assert (message["min"], message["max"]) == (0x100, 0x1FF)
    answer = structs.SaInfo.pack({"id": {"spi": 0x123}})
    assert states.decode_spi(frame(answer)) == 0x123


def test_usage_with_and_without_last_use() -> None:
    body = structs.SaInfo.pack({"curlft": {"bytes": 300, "packets": 4}})
    assert states.decode_usage(frame(body)) == (300, 4, None)
    used = int(time.time()) - 60
    body += attribute(constants.XFRMA_LASTUSED, struct.pack("=Q", used))
    last_use = states.decode_usage(frame(body)).last_use
    assert last_use is not None
    assert time.monotonic() - last_use == pytest.approx(60, abs=2)


def kernel_answer(spec: SaSpec, **info_changes: Any) -> Frame:
    """What the kernel says about an SA: our request, and what it adds."""
    body = states.encode_sa(spec)
    info = structs.SaInfo.unpack(body)
    info["curlft"] = {"bytes": 1, "packets": 2, "add_time": 3, "use_time": 4}
    info |= info_changes
    extra = attribute(constants.XFRMA_LASTUSED, bytes(8)) + attribute(200, b"new in 2030")
    return frame(structs.SaInfo.pack(info) + body[structs.SaInfo.size :] + extra)


def test_moved_sa_keeps_everything_but_its_addresses() -> None:
    spec = gcm_sa(encapsulation=Encapsulation(4500, 4500), replay_window=64)
    answer = kernel_answer(spec)
    before, after = states.move_sa(answer, spec.id, "192.0.2.7", "192.0.2.8", None)
    old, new = structs.SaInfo.unpack(before), structs.SaInfo.unpack(after)
    assert new["saddr"] == socket.inet_aton("192.0.2.7") + bytes(12)
    assert new["id"]["daddr"] == socket.inet_aton("192.0.2.8") + bytes(12)
    assert {**new, "saddr": old["saddr"], "id": old["id"]} == old
    old_attributes = dict(attributes(before, structs.SaInfo.size))
    new_attributes = dict(attributes(after, structs.SaInfo.size))
    assert old_attributes.pop(constants.XFRMA_ENCAP)[:2] == b"\2\0"
    assert old_attributes == new_attributes
    assert new_attributes[200] == b"new in 2030"
    assert constants.XFRMA_LASTUSED not in new_attributes
    assert new_attributes[constants.XFRMA_LTIME_VAL] == struct.pack("=QQQQ", 1, 2, 3, 4)
    assert set(new_attributes) == {
        constants.XFRMA_ALG_AEAD,
        constants.XFRMA_REPLAY_ESN_VAL,
        constants.XFRMA_LTIME_VAL,
        200,
    }


def test_moved_sa_gets_new_ports_and_family() -> None:
    answer = kernel_answer(gcm_sa())
    _, after = states.move_sa(answer, sa_id(), THERE6, HERE6, Encapsulation(4500, 1025))
    info = structs.SaInfo.unpack(after)
    assert info["family"] == socket.AF_INET6
    encap = dict(attributes(after, structs.SaInfo.size))[constants.XFRMA_ENCAP]
    assert encap[:6] == bytes.fromhex("020011940401")


def test_transport_mode_selector_follows_the_hosts_only() -> None:
    spec = gcm_sa(mode=ChildMode.TRANSPORT, local_ts=(ts(HERE),), remote_ts=(ts("10.9.0.0/16"),))
    _, after = states.move_sa(kernel_answer(spec), spec.id, "192.0.2.7", "192.0.2.8", None)
    selector = structs.SaInfo.unpack(after)["sel"]
    assert selector["daddr"][:4] == socket.inet_aton("192.0.2.8")
    assert selector["saddr"][:4] == socket.inet_aton("10.9.0.0")


def test_redacted_keys_are_never_installed() -> None:
    redacted = gcm_sa(encryption_key=Secret(bytes(20)))
    with pytest.raises(KernelError, match="lockdown"):
        states.move_sa(kernel_answer(redacted), sa_id(), HERE6, THERE6, None)


def policy_message(body: bytes) -> Any:
    message = messages.userpolicy_info(frame(body).data)
    message.decode()
    return message


def test_protecting_policy() -> None:
    (body,) = policies.encode_policies(policy(priority=77, mark=Mark(5, 6), if_id=9))
    message = policy_message(body)
    assert (message["priority"], message["dir"], message["action"]) == (77, 1, 0)
    assert message["lft"]["hard_byte_limit"] == constants.XFRM_INF
    (found,) = message.get_attr("XFRMA_TMPL")
    assert found["id"] == {"daddr": THERE, "spi": 0, "proto": 50}
    assert (found["saddr"], found["reqid"], found["mode"]) == (HERE, 1, 1)
    assert found["ealgos"] == found["aalgos"] == found["calgos"] == 0xFFFFFFFF
    assert message.get_attr("XFRMA_MARK") == {"v": 5, "m": 6}
    assert message.get_attr("XFRMA_IF_ID") == 9


@pytest.mark.parametrize(
    ("direction", "number"),
    [(PolicyDirection.IN, 0), (PolicyDirection.OUT, 1), (PolicyDirection.FORWARD, 2)],
)
def test_directions(direction: PolicyDirection, number: int) -> None:
    (body,) = policies.encode_policies(policy(direction=direction, priority=1))
    (identity,) = policies.encode_ids(policy(direction=direction))
    assert policy_message(body)["dir"] == number
    assert structs.PolicyId.unpack(identity)["dir"] == number
    assert structs.PolicyId.unpack(identity)["sel"] == structs.PolicyInfo.unpack(body)["sel"]


@pytest.mark.parametrize(("action", "number"), [(PolicyAction.PASS, 0), (PolicyAction.DROP, 1)])
def test_shunt_policies_have_no_template(action: PolicyAction, number: int) -> None:
    (body,) = policies.encode_policies(policy(action=action, template=template(), priority=1))
    message = policy_message(body)
    assert message["action"] == number
    assert message.get_attr("XFRMA_TMPL") is None


def test_ranges_become_several_policies() -> None:
    spec = policy("10.0.0.1-10.0.0.3", "10.2.0.0/16[udp/1-2]", priority=1)
    assert len(policies.encode_policies(spec)) == len(policies.encode_ids(spec)) == 4


def test_policy_with_a_shunt_mode_in_its_template() -> None:
    wrong = template()._replace(mode=ChildMode.PASS)
    with pytest.raises(KernelError, match="PASS is not a mode"):
        policies.encode_policies(policy(template=wrong, priority=1))


def test_last_use_of_a_policy() -> None:
    assert policies.decode_last_use(frame(structs.PolicyInfo.pack({}))) is None
    used = {"curlft": {"use_time": int(time.time()) - 30}}
    last_use = policies.decode_last_use(frame(structs.PolicyInfo.pack(used)))
    assert last_use is not None
    assert time.monotonic() - last_use == pytest.approx(30, abs=2)
