"""Packets through SAs of the XFRM backend, between two network namespaces."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.config.child import ChildMode
from charon_core.crypto.secret import Secret
from charon_core.encoding.registry import EncryptionId
from charon_core.kernel.interface import (
    Encapsulation,
    IpsecProtocol,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    SaId,
    SaSpec,
)
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.net import RtnetlinkNet
from charon_core.kernel.xfrm.backend import XfrmBackend
from charon_core.network.packet import Endpoint
from tests.kernel.namespaces import in_network, sh
from tests.unit.kernel.factories import Recorder, Surroundings, cbc_sa, gcm_sa, ts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ESP = IpsecProtocol.ESP
SUN, MOON = "10.99.0.1", "10.99.0.2"
SUN_NET, MOON_NET = ts("10.1.0.0/16"), ts("10.2.0.0/16")
TO_MOON, TO_SUN = 0xC0000001, 0xC0000002
REQID = 5


class Gateway:
    """One namespace with its kernel interface."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = Recorder()
        context = Surroundings().context
        self.kernel = KernelInterface(XfrmBackend(context), RtnetlinkNet(context))
        self.run(self.kernel.start)
        self.kernel.add_listener(self.told)
        self.sockets: list[socket.socket] = []

    def run(self, body: Callable[[], Any]) -> Any:
        return in_network(self.name, body)

    def bind(self, host: str, port: int) -> socket.socket:
        def body() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((host, port))
            made.settimeout(10)
            return made

        made: socket.socket = self.run(body)
        self.sockets.append(made)
        return made

    def close(self) -> None:
        for each in self.sockets:
            each.close()
        self.kernel.stop()
        assert self.run(lambda: sh("ip xfrm state; ip xfrm policy")) == ""


@pytest.fixture
def gateways() -> Iterator[tuple[Gateway, Gateway]]:
    sh("ip netns add sun; ip netns add moon")
    sh("ip link add name veth0 netns sun type veth peer name veth0 netns moon")
    for name, outer, inner in (("sun", SUN, "10.1.0.1"), ("moon", MOON, "10.2.0.1")):
        other = "10.2.0.0/16" if name == "sun" else "10.1.0.0/16"
        # One process for all of it: starting one takes half a second here.
        sh(
            f"ip -n {name} -batch - <<-END\n"
            f"link set lo up\nlink set veth0 up\naddr add {outer}/24 dev veth0\n"
            f"addr add {inner}/16 dev lo\nroute add {other} dev veth0\nEND"
        )
    pair = Gateway("sun"), Gateway("moon")
    try:
        yield pair
        for gateway in pair:
            gateway.close()
    finally:
        sh("ip netns del sun; ip netns del moon")


def install(
    gateways: tuple[Gateway, Gateway],
    make: Callable[..., SaSpec] = gcm_sa,
    mode: ChildMode = ChildMode.TUNNEL,
    ports: tuple[int, int] | None = None,
    **changes: Any,
) -> None:
    """Both SAs and all policies on both sides; ``ports`` are those of ESP in UDP."""
    selectors = (SUN_NET, MOON_NET) if mode is ChildMode.TUNNEL else (ts(SUN), ts(MOON))
    for gateway, (here, there), (local, remote) in (
        (gateways[0], (SUN, MOON), selectors),
        (gateways[1], (MOON, SUN), selectors[::-1]),
    ):
        out_spi, in_spi = (TO_MOON, TO_SUN) if here == SUN else (TO_SUN, TO_MOON)
        common: dict[str, Any] = {
            "reqid": REQID,
            "mode": mode,
            "local_ts": (local,),
            "remote_ts": (remote,),
            **changes,
        }
        outbound = make(
            id=SaId(here, there, ESP, out_spi),
            inbound=False,
            encapsulation=Encapsulation(*ports) if ports else None,
            **common,
        )
        inbound = make(
            id=SaId(there, here, ESP, in_spi),
            encapsulation=Encapsulation(*ports[::-1]) if ports else None,
            **common,
        )
        inward = PolicyTemplate(there, here, ESP, REQID, mode)
        policies = [
            PolicySpec(
                source=local,
                destination=remote,
                direction=PolicyDirection.OUT,
                template=PolicyTemplate(here, there, ESP, REQID, mode),
            ),
            PolicySpec(
                source=remote, destination=local, direction=PolicyDirection.IN, template=inward
            ),
            PolicySpec(
                source=remote, destination=local, direction=PolicyDirection.FORWARD, template=inward
            ),
        ]
        gateway.kernel.install([inbound, outbound], policies)


def talk(gateways: tuple[Gateway, Gateway], hosts: tuple[str, str]) -> None:
    """A datagram there and back."""
    sun, moon = gateways
    asking, answering = sun.bind(hosts[0], 7000), moon.bind(hosts[1], 7000)
    asking.sendto(b"question", (hosts[1], 7000))
    question, asker = answering.recvfrom(100)
    assert asker == (hosts[0], 7000)
    answering.sendto(question + b" and answer", asker)
    assert asking.recv(100) == b"question and answer"


def usage(gateway: Gateway, spi: int) -> tuple[int, int]:
    source, destination = (SUN, MOON) if spi == TO_MOON else (MOON, SUN)
    used = gateway.kernel.query_sa(SaId(source, destination, ESP, spi))
    return used.bytes, used.packets


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (gcm_sa, {}),
        (gcm_sa, {"esn": True, "replay_window": 128}),
        (
            gcm_sa,
            {
                "encryption": EncryptionId.CHACHA20_POLY1305,
                "key_bits": None,
                "encryption_key": Secret(bytes(range(36))),
            },
        ),
        (cbc_sa, {}),
        (cbc_sa, {"sha256_96": True}),
    ],
    ids=["GCM", "GCM with ESN", "ChaCha20", "CBC", "CBC with 96 bits"],
)
def test_tunnel(
    gateways: tuple[Gateway, Gateway], make: Callable[..., SaSpec], changes: dict[str, Any]
) -> None:
    install(gateways, make, **changes)
    talk(gateways, ("10.1.0.1", "10.2.0.1"))
    for gateway in gateways:
        for spi in (TO_MOON, TO_SUN):
            octets, packets = usage(gateway, spi)
            assert packets == 1
            assert octets > 28
    used = gateways[0].kernel.query_policy(
        PolicySpec(
            source=SUN_NET,
            destination=MOON_NET,
            direction=PolicyDirection.OUT,
            template=PolicyTemplate(SUN, MOON, ESP, REQID, ChildMode.TUNNEL),
        )
    )
    assert used is not None
    assert abs(time.monotonic() - used) < 30


def test_transport_mode(gateways: tuple[Gateway, Gateway]) -> None:
    install(gateways, mode=ChildMode.TRANSPORT)
    talk(gateways, (SUN, MOON))
    assert usage(gateways[0], TO_MOON)[1] == 1


def test_esp_in_udp_and_changed_mapping(gateways: tuple[Gateway, Gateway]) -> None:
    sun, moon = gateways
    for gateway in gateways:
        ike = gateway.bind("0.0.0.0", 4500)
        gateway.kernel.bypass_socket(ike.fileno(), socket.AF_INET)
        gateway.kernel.enable_udp_encapsulation(ike.fileno(), socket.AF_INET)
    install(gateways, ports=(4500, 4500))
    talk(gateways, ("10.1.0.1", "10.2.0.1"))
    assert usage(moon, TO_MOON)[1] == 1
    # A NAT in front of sun takes another port: moon hears of it, and follows.
    outbound = SaId(SUN, MOON, ESP, TO_MOON)
    sun.kernel.update_sa(outbound, SUN, MOON, Encapsulation(4600, 4500))
    sun.sockets[-1].sendto(b"from the new port", ("10.2.0.1", 7000))
    assert moon.told.wait_for("mapping") == (
        "mapping",
        REQID,
        TO_MOON,
        Endpoint(SUN, 4500),
        Endpoint(SUN, 4600),
    )
    assert moon.sockets[-1].recv(100) == b"from the new port"
    assert usage(sun, TO_MOON)[1] == 2, "the counters move with the SA"
    assert usage(moon, TO_MOON)[1] == 2, "so does the sequence number"


def test_packet_limits_expire(gateways: tuple[Gateway, Gateway]) -> None:
    sun, _ = gateways
    install(gateways, soft_packets=1, hard_packets=2)
    talk(gateways, ("10.1.0.1", "10.2.0.1"))
    assert sun.told.seen == []
    sun.sockets[-1].sendto(b"second", ("10.2.0.1", 7000))
    assert sun.told.wait_for("expire") == ("expire", ESP, TO_MOON, MOON, False)
    with pytest.raises(OSError):
        sun.sockets[-1].sendto(b"third", ("10.2.0.1", 7000))
    assert sun.told.wait_for("expire") == ("expire", ESP, TO_MOON, MOON, True)
