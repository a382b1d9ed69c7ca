"""Requests about SAs: from the contract's values to XFRM messages, and back."""

from __future__ import annotations

import math
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from charon_core.config.child import ChildMode
from charon_core.kernel.interface import (
    AlgorithmNotSupported,
    IpsecProtocol,
    KernelError,
    SaUsage,
)
from charon_core.kernel.netlink import attribute, attributes
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.algorithms import kernel_cipher, kernel_integrity
from charon_core.kernel.xfrm.messages import (
    encode_body,
    usersa_id,
    usersa_info,
    userspi_info,
)
from charon_core.kernel.xfrm.selectors import expand
from charon_core.kernel.xfrm.structs import (
    Algorithm,
    EncapTemplate,
    LifetimeCurrent,
    SaInfo,
)
from charon_core.kernel.xfrm.structure import unpack_address

if TYPE_CHECKING:
    from charon_core.kernel.interface import Encapsulation, Mark, SaId, SaSpec
    from charon_core.kernel.netlink import Frame

MODES: Final = {
    ChildMode.TRANSPORT: constants.XFRM_MODE_TRANSPORT,
    ChildMode.TUNNEL: constants.XFRM_MODE_TUNNEL,
    ChildMode.BEET: constants.XFRM_MODE_BEET,
}

_LEGACY_WINDOW: Final = 32
"""Replay window of the old fixed-size bitmap; larger ones take XFRMA_REPLAY_ESN_VAL."""

_U32: Final = 0xFFFFFFFF

_NOT_CARRIED_OVER: Final = frozenset(
    {
        constants.XFRMA_ENCAP,
        constants.XFRMA_LTIME_VAL,
        constants.XFRMA_LASTUSED,
        constants.XFRMA_PAD,
        constants.XFRMA_OFFLOAD_DEV,
    }
)
_KEYED: Final = {
    constants.XFRMA_ALG_AUTH: Algorithm.size,
    constants.XFRMA_ALG_CRYPT: Algorithm.size,
    constants.XFRMA_ALG_AEAD: Algorithm.size + 4,
    constants.XFRMA_ALG_AUTH_TRUNC: Algorithm.size + 4,
}
"""Attributes with key material, and where in them it begins."""


def family_of(host: str) -> int:
    """Return AF_INET6 or AF_INET."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def mark_attributes(mark: Mark | None, if_id: int) -> list[tuple[str, Any]]:
    """Return the attributes that SAs and policies of a mark or an interface are found by."""
    found: list[tuple[str, Any]] = []
    if mark is not None:
        found.append(("XFRMA_MARK", {"v": mark.value, "m": mark.mask}))
    if if_id:
        found.append(("XFRMA_IF_ID", if_id))
    return found


def encode_spi_request(
    source: str, destination: str, protocol: IpsecProtocol, spi_range: tuple[int, int]
) -> bytes:
    """Return the body of XFRM_MSG_ALLOCSPI."""
    message = userspi_info()
    message.update(
        info={
            "id": {"daddr": destination, "proto": protocol},
            "saddr": source,
            "family": family_of(destination),
            "mode": constants.XFRM_MODE_TUNNEL,
        },
        min=spi_range[0],
        max=spi_range[1],
    )
    return encode_body(message)


def decode_spi(frame: Frame) -> int:
    """Return the SPI that the kernel chose."""
    return int(SaInfo.unpack(frame.body)["id"]["spi"])


def encode_id(sa: SaId, mark: Mark | None, if_id: int) -> bytes:
    """Return the body of XFRM_MSG_GETSA and XFRM_MSG_DELSA."""
    message = usersa_id()
    message.update(
        daddr=sa.destination,
        spi=sa.spi,
        family=family_of(sa.destination),
        proto=sa.protocol,
    )
    message["attrs"] = mark_attributes(mark, if_id)
    return encode_body(message)


def encode_sa(spec: SaSpec) -> bytes:
    """Return the body of XFRM_MSG_NEWSA and XFRM_MSG_UPDSA.

    Raises:
        AlgorithmNotSupported: unknown here, or with key material that does not fit.
        KernelError: the combination cannot be expressed in XFRM.
    """
    message = usersa_info()
    flags, replay_window, replay_attributes = _replay(spec)
    if spec.mode is not ChildMode.TRANSPORT:
        flags |= constants.XFRM_STATE_AF_UNSPEC  # inner packets may be of the other family
    message.update(
        sel=_inner_selector(spec),
        id={"daddr": spec.id.destination, "spi": spec.id.spi, "proto": spec.id.protocol},
        saddr=spec.id.source,
        lft=_lifetimes(spec),
        reqid=spec.reqid,
        family=family_of(spec.id.destination),
        mode=_mode(spec),
        replay_window=replay_window,
        flags=flags,
    )
    message["attrs"] = [
        *_algorithms(spec),
        *replay_attributes,
        *_encapsulation(spec.encapsulation),
        *mark_attributes(spec.mark, spec.if_id),
        *_outbound_extras(spec),
    ]
    return encode_body(message)


def decode_usage(frame: Frame) -> SaUsage:
    """Return the counters in an answer to XFRM_MSG_GETSA."""
    counters = SaInfo.unpack(frame.body)["curlft"]
    last_use = None
    for kind, value in attributes(frame.body, SaInfo.size):
        if kind == constants.XFRMA_LASTUSED:
            last_use = monotonic_from_wall(int.from_bytes(value[:8], sys.byteorder))
    return SaUsage(counters["bytes"], counters["packets"], last_use)


def monotonic_from_wall(seconds: int) -> float | None:
    """Return a time of the kernel's wall clock on the monotonic clock; None for never (0)."""
    return time.monotonic() - (time.time() - seconds) if seconds else None


def move_sa(
    frame: Frame, sa: SaId, source: str, destination: str, encapsulation: Encapsulation | None
) -> tuple[bytes, bytes]:
    """Return two XFRM_MSG_NEWSA bodies from an answer to XFRM_MSG_GETSA: as it is, and moved.

    Keys, algorithms, replay state, counters and lifetimes are carried over as they are.

    Raises:
        KernelError: the kernel does not hand out keys.
    """
    info = SaInfo.unpack(frame.body)
    carried = [
        (kind, value)
        for kind, value in attributes(frame.body, SaInfo.size)
        if kind not in _NOT_CARRIED_OVER
    ]
    if any(_is_redacted(kind, value) for kind, value in carried):
        raise KernelError(
            f"move SA {sa} to {source} -> {destination}",
            "the kernel does not hand out the keys of SAs (lockdown)",
            "rekey the CHILD_SA instead, or boot without lockdown=confidentiality",
        )
    common = b"".join(attribute(kind, value) for kind, value in carried)
    common += attribute(constants.XFRMA_LTIME_VAL, LifetimeCurrent.pack(info["curlft"]))
    before = SaInfo.pack(info) + common
    for kind, value in attributes(frame.body, SaInfo.size):
        if kind == constants.XFRMA_ENCAP:
            before += attribute(kind, value)
    _move_selector(info, source, destination)
    info["saddr"] = source
    info["id"]["daddr"] = destination
    info["family"] = family_of(destination)
    after = SaInfo.pack(info) + common
    for _, encap in _encapsulation(encapsulation):
        after += attribute(constants.XFRMA_ENCAP, EncapTemplate.pack(encap))
    return before, after


def _move_selector(info: dict[str, Any], source: str, destination: str) -> None:
    """Let the selector of a transport mode SA follow, where it is that of the two hosts."""
    selector = info["sel"]
    if info["mode"] != constants.XFRM_MODE_TRANSPORT:
        return
    old = {"saddr": info["saddr"], "daddr": info["id"]["daddr"]}
    for name, new in (("saddr", source), ("daddr", destination)):
        is_host = selector[f"prefixlen_{name[0]}"] in {32, 128}
        if is_host and selector[name] == old[name] and unpack_address(old[name], info["family"]):
            selector[name] = new


def _is_redacted(kind: int, value: bytes) -> bool:
    start = _KEYED.get(kind)
    return start is not None and len(value) > start and not any(value[start:])


def _mode(spec: SaSpec) -> int:
    mode = MODES.get(spec.mode)
    if mode is None:
        raise KernelError(f"add SA {spec.id}", f"{spec.mode.name} is not a mode of an SA")
    return mode


def _lifetimes(spec: SaSpec) -> dict[str, int]:
    inf = constants.XFRM_INF
    return {
        "soft_byte_limit": spec.soft_bytes or inf,
        "hard_byte_limit": spec.hard_bytes or inf,
        "soft_packet_limit": spec.soft_packets or inf,
        "hard_packet_limit": spec.hard_packets or inf,
        "soft_add_expires_seconds": math.ceil(spec.soft_seconds),
        "hard_add_expires_seconds": math.ceil(spec.hard_seconds),
    }


def _inner_selector(spec: SaSpec) -> dict[str, Any]:
    """The kernel checks it on packets in transport and BEET mode; tunnels leave it to policies.

    One pair of selectors can be expressed; with more, only the policies tell in transport mode.
    """
    if spec.mode is ChildMode.TUNNEL:
        return {}
    if len(spec.local_ts) == len(spec.remote_ts) == 1:
        local, remote = spec.local_ts[0], spec.remote_ts[0]
        source, destination = (remote, local) if spec.inbound else (local, remote)
        expanded = expand(source, destination)
        if len(expanded) == 1:
            return expanded[0]
    if spec.mode is ChildMode.BEET:
        raise KernelError(
            f"add SA {spec.id}",
            "BEET mode takes its inner addresses from one pair of selectors without ranges",
            "use tunnel mode, or one address on each side",
        )
    return {"family": family_of(spec.id.destination)}


def _algorithms(spec: SaSpec) -> list[tuple[str, Any]]:
    operation = f"add SA {spec.id}"
    chosen: list[tuple[str, Any]] = []
    is_aead = False
    if spec.id.protocol is IpsecProtocol.ESP:
        key = spec.encryption_key.reveal()
        cipher = kernel_cipher(spec.encryption, spec.key_bits, len(key))
        is_aead = cipher.is_aead
        value: dict[str, Any] = {"alg_name": cipher.name, "alg_key": key}
        if is_aead:
            value["alg_icv_len"] = cipher.icv_bits
        chosen.append(("XFRMA_ALG_AEAD" if is_aead else "XFRMA_ALG_CRYPT", value))
    if bool(spec.integrity) == is_aead:
        raise AlgorithmNotSupported(
            operation,
            "expected either an AEAD or a cipher with an integrity algorithm, got "
            + ("both" if is_aead else "neither"),
        )
    if spec.integrity:
        key = spec.integrity_key.reveal() if spec.integrity_key is not None else b""
        integrity = kernel_integrity(spec.integrity, len(key), sha256_96=spec.sha256_96)
        chosen.append(
            (
                "XFRMA_ALG_AUTH_TRUNC",
                {
                    "alg_name": integrity.name,
                    "alg_key": key,
                    "alg_trunc_len": integrity.icv_bits,
                },
            )
        )
    return chosen


def _replay(spec: SaSpec) -> tuple[int, int, list[tuple[str, Any]]]:
    """Return flags, legacy window, and attributes of replay protection.

    An outbound SA needs no window; with ESN the kernel wants one nevertheless.
    """
    window = spec.replay_window
    if window > constants.XFRMA_REPLAY_ESN_MAX:
        raise KernelError(
            f"add SA {spec.id}",
            f"expected a replay window of at most {constants.XFRMA_REPLAY_ESN_MAX}, got {window}",
        )
    if not spec.esn:
        if not spec.inbound:
            return 0, 0, []
        if window <= _LEGACY_WINDOW:
            return 0, window, []
    elif not spec.inbound:
        window = _LEGACY_WINDOW
    elif window == 0:
        raise KernelError(
            f"add SA {spec.id}",
            "extended sequence numbers need a replay window, got 0",
            "set replay_window, or propose noesn",
        )
    words = (window + 31) // 32
    flags = constants.XFRM_STATE_ESN if spec.esn else 0
    return flags, 0, [("XFRMA_REPLAY_ESN_VAL", {"bmp_len": words, "replay_window": window})]


def _encapsulation(encapsulation: Encapsulation | None) -> list[tuple[str, Any]]:
    if encapsulation is None:
        return []
    return [
        (
            "XFRMA_ENCAP",
            {
                "encap_type": constants.UDP_ENCAP_ESPINUDP,
                "encap_sport": encapsulation.source_port,
                "encap_dport": encapsulation.destination_port,
            },
        )
    ]


def _outbound_extras(spec: SaSpec) -> list[tuple[str, Any]]:
    if spec.inbound:
        return []
    extras: list[tuple[str, Any]] = []
    if spec.tfc and spec.mode is ChildMode.TUNNEL:
        # The kernel pads up to the path MTU at most.
        extras.append(("XFRMA_TFCPAD", spec.tfc if spec.tfc > 0 else _U32))
    if not spec.copy_dscp:
        extras.append(("XFRMA_SA_EXTRA_FLAGS", constants.XFRM_SA_XFLAG_DONT_ENCAP_DSCP))
    return extras
