"""The XFRM backend on a kernel with ESP; ``ip xfrm`` is the witness."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from charon_core.config.child import ChildMode, Mark
from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EncryptionId, IntegrityId
from charon_core.kernel.interface import (
    SPI_MAXIMUM,
    SPI_MINIMUM,
    AlgorithmNotSupported,
    Encapsulation,
    IpsecProtocol,
    KernelError,
    PolicyAction,
    PolicyDirection,
    SaExists,
    SaId,
    SaNotFound,
    SaUsage,
)
from charon_core.kernel.netlink import NETLINK_XFRM, NetlinkSocket
from charon_core.kernel.xfrm import constants
from charon_core.kernel.xfrm.backend import XfrmBackend
from tests.kernel.namespaces import sh
from tests.unit.kernel.factories import (
    HERE,
    HERE6,
    HMAC_KEY,
    THERE,
    THERE6,
    Recorder,
    Surroundings,
    cbc_sa,
    gcm_sa,
    policy,
    sa_id,
    template,
    ts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ESP = IpsecProtocol.ESP


def ip_xfrm(what: str) -> str:
    # No shell: starting a process takes a quarter of a second here.
    command = ["ip", "-s", "xfrm", what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def states() -> str:
    return ip_xfrm("state")


def policies() -> str:
    return ip_xfrm("policy")


def left_in_the_kernel() -> int:
    with NetlinkSocket(NETLINK_XFRM) as netlink:
        return sum(
            len(netlink.dump(kind, b""))
            for kind in (constants.XFRM_MSG_GETSA, constants.XFRM_MSG_GETPOLICY)
        )


@pytest.fixture
def told() -> Recorder:
    return Recorder()


@pytest.fixture
def surroundings() -> Surroundings:
    return Surroundings()


@pytest.fixture
def xfrm(told: Recorder, surroundings: Surroundings) -> Iterator[XfrmBackend]:
    backend = XfrmBackend(surroundings.context)
    backend.start(told)
    try:
        yield backend
    finally:
        backend.flush()
        backend.stop()
        left = left_in_the_kernel()
        if left:
            sh("ip xfrm state flush; ip xfrm policy flush")
        assert left == 0, "something is left in the kernel"


def test_probe_finds_esp(surroundings: Surroundings) -> None:
    XfrmBackend(surroundings.context).probe()
    assert surroundings.lines == []
    assert states() == ""


@pytest.mark.parametrize(("here", "there"), [(HERE, THERE), (HERE6, THERE6)], ids=["IPv4", "IPv6"])
def test_gcm_state_agrees_with_ip(xfrm: XfrmBackend, here: str, there: str) -> None:
    xfrm.add_sa(gcm_sa(id=sa_id(source=there, destination=here), reqid=42, hard_seconds=3600))
    shown = states()
    assert f"src {there} dst {here}" in shown
    assert "proto esp spi 0xc1234567" in shown
    assert "reqid 42(" in shown
    assert "mode tunnel" in shown
    assert "replay-window 32" in shown
    assert (
        "aead rfc4106(gcm(aes)) 0x404142434445464748494a4b4c4d4e4f50515253 (160 bits) 128" in shown
    )
    assert "expire add: soft 0(sec), hard 3600(sec)" in shown
    assert "af-unspec" in shown


@pytest.mark.parametrize(("here", "there"), [(HERE, THERE), (HERE6, THERE6)], ids=["IPv4", "IPv6"])
def test_cbc_state_agrees_with_ip(xfrm: XfrmBackend, here: str, there: str) -> None:
    xfrm.add_sa(
        cbc_sa(
            id=sa_id(source=there, destination=here),
            encapsulation=Encapsulation(4500, 40001),
            soft_bytes=1000,
            hard_bytes=2000,
            soft_packets=10,
            hard_packets=20,
        )
    )
    shown = states()
    assert "enc cbc(aes) 0x101112131415161718191a1b1c1d1e1f (128 bits)" in shown
    assert f"auth-trunc hmac(sha256) 0x{HMAC_KEY.hex()} (256 bits) 128" in shown
    assert "encap type espinudp sport 4500 dport 40001" in shown
    assert "limit: soft 1000(bytes), hard 2000(bytes)" in shown
    assert "limit: soft 10(packets), hard 20(packets)" in shown


@pytest.mark.parametrize(
    ("encryption", "key_octets", "integrity", "integrity_octets"),
    [
        (EncryptionId.AES_GCM_8, 36, None, 0),
        (EncryptionId.AES_CCM_16, 19, None, 0),
        (EncryptionId.CHACHA20_POLY1305, 36, None, 0),
        (EncryptionId.AES_CTR, 20, IntegrityId.HMAC_SHA1_96, 20),
        (EncryptionId.TRIPLE_DES, 24, IntegrityId.HMAC_MD5_96, 16),
        (EncryptionId.AES_CBC, 32, IntegrityId.HMAC_SHA2_512_256, 64),
        (EncryptionId.AES_CBC, 24, IntegrityId.HMAC_SHA2_384_192, 48),
        (EncryptionId.AES_CBC, 16, IntegrityId.AES_XCBC_96, 16),
        (EncryptionId.AES_CBC, 16, IntegrityId.AES_CMAC_96, 16),
        (EncryptionId.NULL, 0, IntegrityId.HMAC_SHA2_256_96, 32),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_kernel_knows_the_algorithm(
    xfrm: XfrmBackend,
    encryption: EncryptionId,
    key_octets: int,
    integrity: IntegrityId | None,
    integrity_octets: int,
) -> None:
    spec = gcm_sa(
        encryption=encryption,
        key_bits=None,
        encryption_key=Secret(bytes(range(1, key_octets + 1))),
        integrity=integrity,
        integrity_key=Secret(bytes(range(1, integrity_octets + 1))) if integrity else None,
    )
    xfrm.add_sa(spec)
    xfrm.delete_sa(spec.id)


def test_algorithm_that_the_kernel_lacks_leaves_nothing(xfrm: XfrmBackend) -> None:
    spec = gcm_sa(
        encryption=EncryptionId.BLOWFISH,
        encryption_key=Secret(bytes(16)),
        integrity=IntegrityId.HMAC_SHA1_96,
        integrity_key=Secret(bytes(20)),
    )
    sh("echo /bin/false > /proc/sys/kernel/modprobe")  # else the kernel loads the module
    try:
        with pytest.raises(AlgorithmNotSupported, match="Function not implemented"):
            xfrm.add_sa(spec)
    finally:
        sh("echo /sbin/modprobe > /proc/sys/kernel/modprobe")
    assert states() == ""


def test_reserved_spi_becomes_the_inbound_sa(xfrm: XfrmBackend) -> None:
    spis = {xfrm.allocate_spi(THERE, HERE, ESP) for _ in range(20)}
    assert len(spis) == 20
    assert all(SPI_MINIMUM <= spi <= SPI_MAXIMUM for spi in spis)
    spi = spis.pop()
    xfrm.add_sa(gcm_sa(spi))
    assert states().count("rfc4106") == 1
    with pytest.raises(SaExists):
        xfrm.add_sa(gcm_sa(spi))
    for unused in spis:
        xfrm.delete_sa(sa_id(unused))
    assert states().count("spi 0x") == 1


def test_expired_reservation_does_not_hinder(xfrm: XfrmBackend) -> None:
    spi = xfrm.allocate_spi(THERE, HERE, ESP)
    sh("ip xfrm state flush")
    xfrm.add_sa(gcm_sa(spi))
    assert f"spi 0x{spi:08x}" in states()


def test_foreign_sa_with_this_spi(xfrm: XfrmBackend) -> None:
    other = Surroundings()
    foreign = XfrmBackend(other.context)
    foreign.start(Recorder())
    foreign.add_sa(gcm_sa())
    with pytest.raises(SaExists, match="File exists"):
        xfrm.add_sa(gcm_sa())
    xfrm.add_sa(gcm_sa(0xC7654321))
    xfrm.flush()
    assert "0xc1234567" in states()
    assert "0xc7654321" not in states()
    foreign.flush()
    foreign.stop()


def test_esn_and_large_windows(xfrm: XfrmBackend) -> None:
    xfrm.add_sa(gcm_sa(0xC0000001, esn=True, replay_window=128))
    xfrm.add_sa(gcm_sa(0xC0000002, replay_window=4096))
    xfrm.add_sa(gcm_sa(0xC0000003, id=sa_id(0xC0000003, HERE, THERE), inbound=False, esn=True))
    shown = states()
    assert shown.count("flag af-unspec esn") == 2
    assert "replay_window 128, bitmap-length 4" in shown
    assert "replay_window 4096, bitmap-length 128" in shown


def test_marks_and_interface_ids_find_their_sa(xfrm: XfrmBackend) -> None:
    mark = Mark(0x2A, 0xFF)
    spec = gcm_sa(mark=mark, if_id=7)
    xfrm.add_sa(spec)
    assert "mark 0x2a/0xff" in states()
    assert "if_id 0x7" in states()
    assert xfrm.query_sa(spec.id) == SaUsage(0, 0, None)
    guarded = policy(mark=mark, if_id=7, priority=1000)
    xfrm.add_policy(guarded)
    assert "mark 0x2a/0xff" in policies()
    assert xfrm.query_policy(guarded) is None
    xfrm.delete_policy(guarded)
    xfrm.delete_sa(spec.id)
    assert states() + policies() == ""


def test_outbound_extras(xfrm: XfrmBackend) -> None:
    outbound = sa_id(source=HERE, destination=THERE)
    xfrm.add_sa(gcm_sa(id=outbound, inbound=False, tfc=1000, copy_dscp=False))
    shown = states()
    assert "tfcpad 1000" in shown.replace("tfcpad 0x3e8", "tfcpad 1000")
    assert "extra_flag dont-encap-dscp" in shown


def test_transport_mode_selector(xfrm: XfrmBackend) -> None:
    xfrm.add_sa(
        gcm_sa(
            mode=ChildMode.TRANSPORT,
            local_ts=(ts(f"{HERE}[tcp/179]"),),
            remote_ts=(ts(f"{THERE}[tcp]"),),
        )
    )
    shown = states()
    assert "mode transport" in shown
    assert f"sel src {THERE}/32 dst {HERE}/32" in shown
    assert "proto tcp" in shown
    assert "dport 179" in shown


def test_query_delete_of_unknown(xfrm: XfrmBackend) -> None:
    with pytest.raises(SaNotFound, match="No such process"):
        xfrm.query_sa(sa_id())
    with pytest.raises(SaNotFound):
        xfrm.delete_sa(sa_id())
    with pytest.raises(SaNotFound, match="No such file"):
        xfrm.delete_policy(policy(priority=1))


def test_update_moves_addresses_ports_and_state(xfrm: XfrmBackend) -> None:
    spec = gcm_sa(encapsulation=Encapsulation(4500, 4500), replay_window=64, hard_seconds=5000)
    xfrm.add_sa(spec)
    xfrm.update_sa(spec.id, "192.0.2.77", "192.0.2.78", Encapsulation(4501, 4502))
    moved = sa_id(source="192.0.2.77", destination="192.0.2.78")
    shown = states()
    assert "src 192.0.2.77 dst 192.0.2.78" in shown
    assert "encap type espinudp sport 4501 dport 4502" in shown
    assert "hard 5000(sec)" in shown
    assert "replay_window 64" in shown
    assert shown.count("spi 0x") == 1
    assert xfrm.query_sa(moved).packets == 0
    with pytest.raises(SaNotFound):
        xfrm.query_sa(spec.id)
    xfrm.update_sa(moved, HERE6, THERE6, None)
    assert f"src {HERE6} dst {THERE6}" in states()
    assert "encap" not in states()


def test_update_to_a_taken_address_leaves_the_sa(xfrm: XfrmBackend) -> None:
    xfrm.add_sa(gcm_sa())
    xfrm.add_sa(gcm_sa(id=sa_id(destination="192.0.2.78")))
    with pytest.raises(SaExists):
        xfrm.update_sa(sa_id(), "192.0.2.77", "192.0.2.78", None)
    assert xfrm.query_sa(sa_id()).bytes == 0


@pytest.mark.parametrize(
    ("source", "destination", "outer"),
    [
        ("10.1.0.0/16", "10.2.0.0/16", (HERE, THERE)),
        ("2001:db8:1::/48", "2001:db8:2::/48", (HERE6, THERE6)),
        ("10.1.0.0/16", "10.2.0.0/16", (HERE6, THERE6)),
    ],
    ids=["IPv4", "IPv6", "IPv4 in IPv6"],
)
@pytest.mark.parametrize("direction", list(PolicyDirection))
def test_policy_agrees_with_ip(
    xfrm: XfrmBackend,
    source: str,
    destination: str,
    outer: tuple[str, str],
    direction: PolicyDirection,
) -> None:
    spec = policy(
        source, destination, direction=direction, priority=12345, template=template(9, *outer)
    )
    xfrm.add_policy(spec)
    shown = policies()
    assert f"src {source} dst {destination}" in shown
    assert f"dir {direction.value} action allow" in shown
    assert "priority 12345" in shown
    assert f"tmpl src {outer[0]} dst {outer[1]}" in shown
    assert "reqid 9(" in shown
    assert "mode tunnel" in shown
    xfrm.delete_policy(spec)
    assert left_in_the_kernel() == 0


def test_second_policy_replaces_the_first(xfrm: XfrmBackend) -> None:
    xfrm.add_policy(policy(priority=3000, routed=True))
    xfrm.add_policy(policy(priority=2000, template=template(7)))
    assert policies().count("dir out") == 1
    assert "priority 2000" in policies()
    assert "reqid 7(" in policies()


def test_shunts(xfrm: XfrmBackend) -> None:
    xfrm.add_policy(policy("10.3.0.0/16", action=PolicyAction.PASS, template=None, priority=1))
    xfrm.add_policy(policy("10.4.0.0/16", action=PolicyAction.DROP, template=None, priority=2))
    shown = policies()
    assert "action block" in shown
    assert shown.count("tmpl") == 0


def test_ranges_become_exact_policies(xfrm: XfrmBackend) -> None:
    spec = policy("10.1.0.1-10.1.0.2", "10.2.0.0/16[udp/1000-1003]", priority=5)
    xfrm.add_policy(spec)
    shown = policies()
    assert "src 10.1.0.1/32" in shown
    assert "src 10.1.0.2/32" in shown
    assert "proto udp" in shown
    xfrm.delete_policy(spec)
    assert policies() == ""


def test_expire_events(xfrm: XfrmBackend, told: Recorder) -> None:
    xfrm.allocate_spi(THERE, HERE, ESP)
    xfrm.add_sa(gcm_sa(soft_seconds=1, hard_seconds=2))
    assert told.wait_for("expire") == ("expire", ESP, 0xC1234567, HERE, False)
    assert told.wait_for("expire") == ("expire", ESP, 0xC1234567, HERE, True)
    with pytest.raises(SaNotFound):
        xfrm.query_sa(sa_id())
    assert told.seen == []


def test_acquire_event_of_a_trap(xfrm: XfrmBackend, told: Recorder) -> None:
    sh("ip link add trap type dummy; ip addr add 10.1.0.1/16 dev trap; ip link set trap up")
    sh("ip route add 10.2.0.0/16 dev trap")
    try:
        xfrm.add_policy(policy(priority=1, routed=True, template=template(77)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("10.1.0.1", 1111))
            sender.setblocking(False)
            with contextlib.suppress(OSError):
                sender.sendto(b"x", ("10.2.0.9", 2222))
        _, reqid, source, destination = told.wait_for("acquire")
        assert reqid == 77
        assert str(source).startswith("10.1.0.1/32[udp/1111")
        assert str(destination).startswith("10.2.0.9/32[udp/2222")
    finally:
        sh("ip link del trap; ip xfrm state flush")


def test_bypassed_socket_ignores_policies(xfrm: XfrmBackend) -> None:
    sh("sysctl -q net.ipv4.conf.lo.disable_xfrm=0 net.ipv4.conf.lo.disable_policy=0")
    xfrm.add_policy(
        policy("127.0.0.0/8", "127.0.0.0/8", action=PolicyAction.DROP, template=None, priority=1)
    )
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as ours:
            ours.bind((host, 0))
            if family == socket.AF_INET:
                with pytest.raises(OSError):
                    ours.sendto(b"x", ours.getsockname())
            xfrm.bypass_socket(ours.fileno(), family)
            ours.settimeout(5)
            ours.sendto(b"x", ours.getsockname())
            assert ours.recv(10) == b"x"
            xfrm.enable_udp_encapsulation(ours.fileno(), family)


def test_stopped_backend_says_so(surroundings: Surroundings) -> None:
    backend = XfrmBackend(surroundings.context)
    backend.start(Recorder())
    backend.stop()
    with pytest.raises(KernelError, match="not running"):
        backend.query_sa(SaId(HERE, THERE, ESP, 0xC0000001))
