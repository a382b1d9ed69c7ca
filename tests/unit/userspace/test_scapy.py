"""Both directions against scapy's ESP, an implementation that shares nothing with this one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from charon_core.kernel.interface import SaId
from charon_core.kernel.userspace.association import InboundSa, OutboundSa
from tests.unit.userspace.factories import (
    ALGORITHMS,
    HERE,
    LOCAL6,
    REMOTE6,
    SPI,
    THERE,
    FakeDevice,
    Recorder,
    key,
    sa_spec,
    tcp,
    udp,
)

logging.getLogger("scapy").setLevel(logging.CRITICAL)
ipsec = pytest.importorskip("scapy.layers.ipsec")
inet = pytest.importorskip("scapy.layers.inet")
inet6 = pytest.importorskip("scapy.layers.inet6")

# Ours -> scapy's (cipher, ICV octets, integrity). scapy has no shorter ICVs of GCM.
SUITES = {
    "AES_GCM_16-128": ("AES-GCM", 16, None),
    "AES_GCM_16-192": ("AES-GCM", 16, None),
    "AES_GCM_16-256": ("AES-GCM", 16, None),
    "AES_CCM_8-128": ("AES-CCM", 8, None),
    "AES_CCM_12-256": ("AES-CCM", 12, None),
    "AES_CCM_16-128": ("AES-CCM", 16, None),
    "CHACHA20_POLY1305": ("CHACHA20-POLY1305", 16, None),
    "NULL_AUTH_AES_GMAC-128": ("AES-NULL-GMAC", 16, None),
    "AES_CBC-128/HMAC_MD5_96": ("AES-CBC", None, "HMAC-MD5-96"),
    "AES_CBC-128/HMAC_SHA1_96": ("AES-CBC", None, "HMAC-SHA1-96"),
    "AES_CBC-256/HMAC_SHA2_256_128": ("AES-CBC", None, "SHA2-256-128"),
    "AES_CBC-192/HMAC_SHA2_384_192": ("AES-CBC", None, "SHA2-384-192"),
    "AES_CBC-128/HMAC_SHA2_512_256": ("AES-CBC", None, "SHA2-512-256"),
    "AES_CBC-128/AES_CMAC_96": ("AES-CBC", None, "AES-CMAC-96"),
    "AES_CTR-128/HMAC_SHA2_256_128": ("AES-CTR", None, "SHA2-256-128"),
    "NULL/HMAC_SHA1_96": ("NULL", None, "HMAC-SHA1-96"),
    "NULL/HMAC_SHA2_256_128": ("NULL", None, "SHA2-256-128"),
}
PACKETS = {
    "UDP": udp(b"a question"),
    "TCP": tcp(bytes(1000)),
    "UDP6": udp(b"a question", source=LOCAL6, destination=REMOTE6),
    "empty": udp(b""),
}


def scapy_sa(algorithm: str, *, esn: bool) -> Any:
    cipher, icv, integrity = SUITES[algorithm]
    _, length, _, integrity_length = ALGORITHMS[algorithm]
    return ipsec.SecurityAssociation(
        ipsec.ESP,
        spi=SPI,
        seq_num=1,
        crypt_algo=cipher,
        crypt_key=key(length) or None,
        crypt_icv_size=icv,
        auth_algo=integrity,
        auth_key=key(integrity_length, 101) if integrity else None,
        tunnel_header=inet.IP(src=HERE, dst=THERE),
        esn_en=esn,
        esn=3,
    )


def inner(packet: bytes) -> Any:
    return (inet.IP if packet[0] >> 4 == 4 else inet6.IPv6)(packet)


def test_scapy_knows_most_of_our_algorithms() -> None:
    without = {"AES_GCM_8-128", "AES_GCM_12-256", "AES_CBC-128/AES_XCBC_96"}
    assert set(ALGORITHMS) - set(SUITES) == without | {"AES_CBC-128/HMAC_SHA2_256_96"}


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("kind", PACKETS)
@pytest.mark.parametrize("algorithm", SUITES)
def test_scapy_opens_what_we_seal(algorithm: str, kind: str, esn: bool) -> None:
    packet = PACKETS[kind]
    sa = OutboundSa(sa_spec(algorithm, esn=esn), 1400)
    sequence = (3 << 32) + 9 if esn else 9
    outer = inet.IP(src=HERE, dst=THERE, proto=50) / sa.seal(sequence, packet)
    opened = scapy_sa(algorithm, esn=esn).decrypt(inet.IP(bytes(outer)))
    assert bytes(opened) == packet


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("kind", PACKETS)
@pytest.mark.parametrize("algorithm", SUITES)
def test_we_open_what_scapy_seals(algorithm: str, kind: str, esn: bool) -> None:
    from charon_core.kernel.userspace.inbound import Inbound
    from charon_core.kernel.userspace.replay import ReplayWindow
    from charon_core.kernel.userspace.tables import Tables

    packet = PACKETS[kind]
    sealed = scapy_sa(algorithm, esn=esn).encrypt(inner(packet), seq_num=9)
    tables = Tables(1400)
    sa = tables.add_sa(sa_spec(algorithm, inbound=True, esn=esn))
    assert isinstance(sa, InboundSa)
    sa.window = ReplayWindow(64, extended=esn, highest=(3 << 32) + 5 if esn else 0)
    device = FakeDevice()
    inbound = Inbound(tables, device, Recorder(), tcp=True, udp=True)
    inbound.receive(bytes(sealed[ipsec.ESP]), 0, None)
    assert inbound.statistics.dropped == 0
    assert device.packets == [packet]


def test_the_wrong_spi_is_not_ours() -> None:
    spec = sa_spec()
    other = sa_spec(id=SaId(HERE, THERE, spec.id.protocol, SPI + 1))
    sealed = OutboundSa(other, 1400).seal(9, PACKETS["UDP"])
    outer = inet.IP(src=HERE, dst=THERE, proto=50) / sealed
    with pytest.raises(TypeError):
        scapy_sa("AES_GCM_16-128", esn=False).decrypt(inet.IP(bytes(outer)))
