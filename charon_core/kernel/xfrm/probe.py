"""Finding out whether this kernel really does IPsec, without loading pyroute2."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import SPI_MINIMUM, KernelUnavailable
from charon_core.kernel.netlink import NETLINK_XFRM, NetlinkError, NetlinkSocket, attribute
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.structs import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    SaIdentity,
    SaInfo,
)

if TYPE_CHECKING:
    from charon_core.kernel.interface import RandomBytes

_CAP_NET_ADMIN: Final = 12
_ESP: Final = 50
_LOOPBACK: Final = "127.0.0.1"
_TRIAL_SECONDS: Final = 10
"""Lifetime of the trial SA: it goes by itself, should this process die before removing it."""
_GCM_KEY_OCTETS: Final = 20
_CBC_KEY_OCTETS: Final = 16
_HMAC_KEY_OCTETS: Final = 32
_ATTEMPTS: Final = 3
_NO_ALGORITHM: Final = frozenset({errno.ENOSYS, errno.ENOENT})


def probe_xfrm(random: RandomBytes) -> tuple[str, ...]:
    """Install one ESP SA between two loopback addresses and remove it.

    Returns:
        What common algorithms the kernel lacks, so that it can be said.

    Raises:
        KernelUnavailable: with the reason and what would help.
    """
    if not has_net_admin():
        raise KernelUnavailable(
            "CAP_NET_ADMIN is missing; run charon as root, or give it this capability "
            "(in a container: --cap-add NET_ADMIN)"
        )
    try:
        netlink = NetlinkSocket(NETLINK_XFRM)
    except OSError as error:
        raise KernelUnavailable(
            f"no XFRM netlink socket ({error.strerror}): the kernel is built without "
            "CONFIG_XFRM_USER, or its module cannot be loaded; try modprobe xfrm_user"
        ) from None
    missing: list[str] = []
    works = False
    with netlink:
        for name, trial in _TRIALS:
            try:
                trial(netlink, random)
                works = True
            except NetlinkError as error:
                if error.errno not in _NO_ALGORITHM:
                    raise KernelUnavailable(_explain(error)) from None
                missing.append(name)
            except TimeoutError:
                raise KernelUnavailable("XFRM did not answer in time") from None
    if not works:
        raise KernelUnavailable(
            f"the kernel has neither {' nor '.join(missing)} for ESP: try modprobe gcm cbc, or "
            "build it with CONFIG_CRYPTO_GCM"
        )
    return tuple(missing)


def has_net_admin() -> bool:
    """Tell whether this process has CAP_NET_ADMIN (in its user namespace)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # without /proc, the kernel itself will say
        return os.geteuid() == 0
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> _CAP_NET_ADMIN & 1)
    return False


def _try_gcm(netlink: NetlinkSocket, random: RandomBytes) -> None:
    algorithm = {
        "alg_name": b"rfc4106(gcm(aes))",
        "alg_key_len": 8 * _GCM_KEY_OCTETS,
        "alg_icv_len": 128,
    }
    value = AeadAlgorithm.pack(algorithm) + random.bytes(_GCM_KEY_OCTETS)
    _try_sa(netlink, random, attribute(constants.XFRMA_ALG_AEAD, value))


def _try_cbc(netlink: NetlinkSocket, random: RandomBytes) -> None:
    cipher = {"alg_name": b"cbc(aes)", "alg_key_len": 8 * _CBC_KEY_OCTETS}
    integrity = {
        "alg_name": b"hmac(sha256)",
        "alg_key_len": 8 * _HMAC_KEY_OCTETS,
        "alg_trunc_len": 128,
    }
    crypt = Algorithm.pack(cipher) + random.bytes(_CBC_KEY_OCTETS)
    auth = AuthAlgorithm.pack(integrity) + random.bytes(_HMAC_KEY_OCTETS)
    algorithms = attribute(constants.XFRMA_ALG_CRYPT, crypt)
    algorithms += attribute(constants.XFRMA_ALG_AUTH_TRUNC, auth)
    _try_sa(netlink, random, algorithms)


_TRIALS: Final = (
    ("AES-GCM", _try_gcm),
    ("AES-CBC with HMAC-SHA2-256", _try_cbc),
)


def _try_sa(netlink: NetlinkSocket, random: RandomBytes, algorithms: bytes) -> None:
    """Install and remove an SA; raise NetlinkError where the kernel does not take it."""
    for attempt in range(_ATTEMPTS):
        spi = SPI_MINIMUM + int.from_bytes(random.bytes(3), "big")
        try:
            netlink.request(constants.XFRM_MSG_NEWSA, _trial_sa(spi) + algorithms)
        except NetlinkError as error:
            if error.errno == errno.EEXIST and attempt + 1 < _ATTEMPTS:
                continue  # somebody has this SPI
            raise
        break
    identity = {"daddr": _LOOPBACK, "spi": spi, "family": socket.AF_INET, "proto": _ESP}
    netlink.request(constants.XFRM_MSG_DELSA, SaIdentity.pack(identity))


def _trial_sa(spi: int) -> bytes:
    return SaInfo.pack(
        {
            "sel": {"family": socket.AF_INET},
            "id": {"daddr": _LOOPBACK, "spi": spi, "proto": _ESP},
            "saddr": _LOOPBACK,
            "lft": {
                "soft_byte_limit": constants.XFRM_INF,
                "hard_byte_limit": constants.XFRM_INF,
                "soft_packet_limit": constants.XFRM_INF,
                "hard_packet_limit": constants.XFRM_INF,
                "hard_add_expires_seconds": _TRIAL_SECONDS,
            },
            "family": socket.AF_INET,
            "mode": constants.XFRM_MODE_TUNNEL,
        }
    )


def _explain(error: NetlinkError) -> str:
    if error.errno in {errno.EPROTONOSUPPORT, errno.ENOPROTOOPT}:
        return (
            f"the kernel has no ESP ({error.reason}): it is built without CONFIG_INET_ESP, or "
            "its module cannot be loaded; try modprobe esp4 esp6"
        )
    if error.errno in {errno.EPERM, errno.EACCES}:
        return (
            f"the kernel refuses XFRM ({error.reason}) though we have CAP_NET_ADMIN: this "
            "network namespace belongs to another user namespace, or a security module forbids it"
        )
    return f"the kernel refuses an ESP SA: {error.reason}"
