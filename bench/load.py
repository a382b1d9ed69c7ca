"""Sets up many IKE_SAs as initiator: HOST PORT IKE KEYS FOLDER COUNT FIRST.

One thread, one socket, a window of handshakes under way; prints how many succeeded.
"""

from __future__ import annotations

import itertools
import select
import socket
import sys
import time
from pathlib import Path
from typing import Final

from charon_core.attributes.manager import AttributeManager
from charon_core.bus.bus import Bus
from charon_core.config.backend import BackendManager
from charon_core.config.child import ChildConfig
from charon_core.config.identification import Identification
from charon_core.config.ike import IkeConfig
from charon_core.config.keywords import parse_proposals
from charon_core.config.peer import AuthClass, AuthConfig, PeerConfig
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.sets import MemorySet, SecretKind, SharedSecret
from charon_core.crypto.random import SystemRandom
from charon_core.crypto.secret import Secret
from charon_core.eap.registry import EapRegistry
from charon_core.encoding.header import Header
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.static_net import StaticNet
from charon_core.network.packet import Endpoint, Packet
from charon_core.sa.environment import Environment, TimerKind
from charon_core.sa.jobs import ProcessMessage
from charon_core.sa.manager import IkeSaManager
from charon_core.sa.parameters import IkeParameters

_WINDOW: Final = 16
_PATIENCE: Final = 5.0


class _NoTimer:
    """Loopback loses nothing while the window is small: nothing is sent twice."""

    def cancel(self) -> None:
        """Do nothing."""


class Load:
    """An initiator of many IKE_SAs."""

    def __init__(self, server: Endpoint, ike: str, keys: str, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._local = Endpoint(*self._socket.getsockname())
        self._server = server
        self._ike = parse_proposals(ike + "!", ProtocolId.IKE)
        self._esp = parse_proposals("aes128gcm16!", ProtocolId.ESP)
        self._auth_class = AuthClass.PSK if keys == "psk" else AuthClass.PUBKEY
        self._certificate: tuple[bytes, ...] = ()
        credentials = CredentialManager()
        store = MemorySet("load")
        credentials.add(store)
        if keys == "psk":
            store.add_secret(SharedSecret(SecretKind.IKE, Secret(b"a secret for measuring")))
        else:
            from bench.pki import read_certificates

            anchor, certificate, key = read_certificates(folder)
            store.add_trust_anchor(anchor)
            store.add_certificate(certificate)
            store.add_private_key(key)
            self._certificate = (certificate.der,)
        self.succeeded = 0
        self.ended = 0
        env = Environment(
            bus=Bus(),
            backends=BackendManager(),
            credentials=credentials,
            kernel=KernelInterface(NullBackend(), StaticNet()),
            attributes=AttributeManager(),
            eap=EapRegistry(),
            random=SystemRandom(),
            parameters=IkeParameters(),
            send=self._send,
            keepalive=lambda _local, _remote: None,
            start_timer=self._start_timer,
            clock=time.monotonic,
            wall_clock=time.time,
            local_port=lambda _natt: self._local.port,
            new_spi=lambda: self._manager.new_spi(),  # noqa: PLW0108 - it is made below
            reindex=lambda ike: self._manager.reindex(ike),  # noqa: PLW0108
            make_successor=lambda *args: self._manager.make_successor(*args),  # noqa: PLW0108
            borrow=lambda number: self._manager.borrow(number),  # noqa: PLW0108
            renew=lambda _renewal: None,
            retire=lambda _number: None,
            forget=lambda _number: None,
            hold=lambda *_: False,
            remote_endpoint=lambda _config: server,
            child_ids=itertools.count(1),
        )
        self._manager = IkeSaManager(env)

    def run(self, count: int, first: int) -> int:
        """Set up `count` pairs; returns how many succeeded."""
        begun = 0
        last = time.monotonic()
        while self.ended < count:
            while begun < count and begun - self.ended < _WINDOW:
                self._begin(first + begun)
                begun += 1
            readable, _, _ = select.select([self._socket], [], [], 0.5)
            if readable:
                last = time.monotonic()
                self._drain()
            elif time.monotonic() - last > _PATIENCE:
                break
        return self.succeeded

    def _begin(self, number: int) -> None:
        peer = PeerConfig(
            name=f"load-{number}",
            ike=IkeConfig(name="load", remote=(self._server.host,), proposals=self._ike),
            local=(
                AuthConfig(
                    auth_class=self._auth_class,
                    identity=Identification.parse(
                        "load@initiator.example.org"
                        if self._certificate
                        else f"{number}@initiator.example.org"
                    ),
                    certificates=self._certificate,
                ),
            ),
            remote=(
                AuthConfig(
                    auth_class=self._auth_class,
                    identity=Identification.parse("responder.example.org"),
                ),
            ),
            children=(
                ChildConfig(
                    name="load",
                    proposals=self._esp,
                    local_ts=(
                        TrafficSelector.parse(
                            f"10.{128 + (number >> 16 & 0x7F)}.{number >> 8 & 0xFF}.{number & 0xFF}"
                        ),
                    ),
                    remote_ts=(TrafficSelector.parse("10.0.0.0/16"),),
                ),
            ),
        )
        with self._manager.working_on(
            self._manager.create_initiator(self._local, self._server)
        ) as ike:
            if ike is not None:
                ike.begin(peer)
                ike.initiate_child(peer.children[0], self._done)

    def _done(self, succeeded: bool) -> None:
        self.ended += 1
        self.succeeded += succeeded

    def _send(self, packet: Packet) -> None:
        self._socket.sendto(packet.data, tuple(packet.destination))

    def _drain(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65536)
            except BlockingIOError:
                return
            packet = Packet(Endpoint(*source), self._local, data)
            ProcessMessage(self._manager, packet, Header.parse(data)).execute()

    def _start_timer(
        self, _spi: bytes, _kind: TimerKind, _argument: int, _delay: float
    ) -> _NoTimer:
        return _NoTimer()


def main(arguments: list[str]) -> int:
    """Run the load that the arguments describe."""
    host, port, ike, keys, folder, count, first = arguments
    load = Load(Endpoint(host, int(port)), ike, keys, Path(folder))
    sys.stdout.write(f"{load.run(int(count), int(first))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
