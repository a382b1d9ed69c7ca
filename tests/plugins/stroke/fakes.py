"""A daemon made of real registries and a fake controller, for stroke to be tested in."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from charon_core.attributes.manager import AttributeManager
from charon_core.bus.listener import Group, Level, LogRecord
from charon_core.config.backend import BackendManager
from charon_core.config.identification import Identification
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.control.controller import Result
from charon_core.control.resolver import Resolver
from charon_core.credentials.manager import CredentialManager
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.network.packet import Endpoint
from charon_core.plugin.facade import Daemon
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import Scheduler
from charon_core.sa.snapshot import ChildSaSnapshot, IkeSaSnapshot
from charon_core.settings import Paths, PluginTable, Settings
from charon_plugins.stroke.plugin import StrokePlugin
from charon_plugins.stroke.wire.message import Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.control.routing import Unrouted
    from charon_core.sa.shunts import Shunt
    from charon_core.sa.traps import Trap


def record(text: str, level: Level = Level.CONTROL) -> LogRecord:
    return LogRecord(Group.IKE, level, text, 0.0, 1, None)


def child_sa(**changes: Any) -> ChildSaSnapshot:
    values: dict[str, Any] = {
        "name": "home",
        "unique_id": 2,
        "state": "INSTALLED",
        "mode": "TUNNEL",
        "reqid": 1,
        "protocol": "ESP",
        "udp_encap": False,
        "spi_in": 0x662254E3,
        "spi_out": 0xC952B953,
        "proposal": "AES_CBC_128/HMAC_SHA2_256_128",
        "bytes_in": 0,
        "packets_in": 0,
        "idle_in": None,
        "bytes_out": 0,
        "packets_out": 0,
        "idle_out": None,
        "rekey_in": 2820.0,
        "expires_in": 3000.0,
        "age": 10.0,
        "local_ts": (TrafficSelector.parse("10.1.0.0/16"),),
        "remote_ts": (TrafficSelector.parse("10.2.0.0/16"),),
    }
    return ChildSaSnapshot(**(values | changes))


def ike_sa(**changes: Any) -> IkeSaSnapshot:
    values: dict[str, Any] = {
        "name": "home",
        "unique_id": 1,
        "state": "ESTABLISHED",
        "version": 2,
        "is_initiator": True,
        "initiator_spi": bytes.fromhex("7f77e4e80fe14ac7"),
        "responder_spi": bytes.fromhex("fa5c1c5237421f03"),
        "local": Endpoint("10.77.0.1", 500),
        "remote": Endpoint("10.77.0.2", 500),
        "local_id": Identification.parse("moon.example.org"),
        "remote_id": Identification.parse("sun.example.org"),
        "remote_eap_id": None,
        "established_at": 0.0,
        "age": 9.0,
        "rekey_in": None,
        "reauth_in": None,
        "expires_in": None,
        "proposal": "AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519",
        "tasks_active": (),
        "tasks_queued": (),
        "tasks_passive": (),
        "local_vips": (),
        "remote_vips": (),
        "half_open": False,
        "children": (),
    }
    return IkeSaSnapshot(**(values | changes))


@dataclass
class FakeController:
    """Answers as it is told, and remembers what was asked."""

    result: Result = Result.SUCCESS
    records: list[LogRecord] = field(default_factory=list)
    sas: list[IkeSaSnapshot] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    unrouted: Unrouted | None = None
    shunts: list[Shunt] = field(default_factory=list)
    traps: list[Trap] = field(default_factory=list)
    meanwhile: Callable[[], object] | None = None
    is_held: bool = False
    """Commands do not end until `release` is called."""
    held: list[Callable[[], object]] = field(default_factory=list)

    def initiate(self, peer: PeerConfig, child: ChildConfig | None = None, **rest: Any) -> Result:
        return self._run(("initiate", peer.name, child.name if child else None), **rest)

    def route(self, peer: PeerConfig, child: ChildConfig) -> Result:
        self.calls.append(("route", peer.name, child.name))
        return self.result

    def unroute(self, name: str) -> Unrouted | None:
        self.calls.append(("unroute", name))
        return self.unrouted

    def list_shunts(self) -> list[Shunt]:
        return self.shunts

    def list_traps(self) -> list[Trap]:
        return self.traps

    def terminate_ike(self, unique_id: int, **rest: Any) -> Result:
        return self._run(("ike", unique_id), **rest)

    def terminate_child(self, unique_id: int, **rest: Any) -> Result:
        return self._run(("child", unique_id), **rest)

    def rekey_ike(self, unique_id: int, **rest: Any) -> Result:
        return self._run(("rekey ike", unique_id), **rest)

    def rekey_child(self, unique_id: int, **rest: Any) -> Result:
        return self._run(("rekey child", unique_id), **rest)

    def list_ike_sas(self, *, wait: bool = True) -> list[IkeSaSnapshot]:
        self.calls.append(("list", wait))
        return self.sas

    def _run(
        self,
        call: tuple[Any, ...],
        *,
        timeout: float | None = None,
        on_log: Callable[[LogRecord], bool] | None = None,
        on_result: Callable[[Result], None] | None = None,
        level: Level = Level.CONTROL,
    ) -> Result:
        self.calls.append((*call, timeout, on_log is not None))
        if on_log is None or on_result is None:
            return Result.SUCCESS
        take, tell = on_log, on_result

        def end() -> None:
            if self.meanwhile is not None:
                self.meanwhile()
            for item in self.records:
                if item.level <= level and not take(item):
                    tell(Result.TIMEOUT)
                    return
            tell(self.result)

        if self.is_held:
            self.held.append(end)
        else:
            end()
        return Result.SUCCESS

    def release(self) -> None:
        """Let the commands that are held end."""
        self.is_held = False
        while self.held:
            self.held.pop(0)()


class FakeBus:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, _group: Group, _level: Level, message: str, *arguments: object) -> None:
        self.lines.append(message % arguments if arguments else message)

    def said(self, part: str) -> bool:
        return any(part in line for line in self.lines)


class World:
    """A daemon with stroke in it, below a folder."""

    def __init__(self, root: Path, settings: dict[str, object] | None = None) -> None:
        (root / "etc/ipsec.d").mkdir(parents=True)
        for folder in ("certs", "cacerts", "crls", "private"):
            (root / "etc/ipsec.d" / folder).mkdir()
        (root / "var/run").mkdir(parents=True)
        self.root = root
        self.core = Settings()
        self.paths = Paths.make(self.core.paths, root)
        self.table = PluginTable(settings or {})
        self.bus = FakeBus()
        self.controller = FakeController()
        self.backends = BackendManager()
        self.credentials = CredentialManager()
        self.attributes = AttributeManager()
        self.failures: list[BaseException] = []
        self.processor = Processor(
            6, reserved={}, on_failure=lambda _, error: self.failures.append(error)
        )
        self.scheduler = Scheduler(self.processor)
        self.levels: list[tuple[Group, Level]] = []
        self.backend = NullBackend()
        self.local = {"10.77.0.1", "10.77.0.3"}
        self.plugin = StrokePlugin()

    def start(self) -> None:
        net = SimpleNamespace(
            is_local=self.local.__contains__, local_addresses=lambda: ["10.77.0.1"]
        )
        facade: Any = Daemon(
            settings=self.table,
            core=self.core,
            paths=self.paths,
            processor=self.processor,
            scheduler=self.scheduler,
            controller=self.controller,  # type: ignore[arg-type]
            bus=self.bus,  # type: ignore[arg-type]
            backends=self.backends,
            credentials=self.credentials,
            eap=None,  # type: ignore[arg-type]
            attributes=self.attributes,
            kernel=KernelInterface(self.backend, net),  # type: ignore[arg-type]
            resolver=Resolver(self.processor.queue, self.scheduler.schedule),
            plugins=lambda: (),
            reload=lambda: None,
            stop=lambda: None,
            set_log_level=lambda group, level: self.levels.append((group, level)),
            started=time.time() - 15,
            version="1.2.3",
        )
        self.plugin.charon_create(facade)
        self.plugin.charon_register_credentials(self.credentials)
        self.plugin.charon_register_backends(self.backends)
        self.processor.start()

    def stop(self) -> None:
        self.plugin.charon_destroy()
        assert self.processor.stop(5.0) == []
        assert self.failures == []

    @property
    def socket(self) -> str:
        return str(self.paths.control_socket)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(10)
        client.connect(self.socket)
        return client

    def ask(self, message: Message) -> str:
        return self.ask_raw(encode(message))

    def ask_raw(self, octets: bytes) -> str:
        with ExitStack() as stack:
            client = stack.enter_context(self.connect())
            client.sendall(octets)
            reply = bytearray()
            # A server that closes without having read everything resets the connection.
            with suppress(ConnectionResetError):
                while chunk := client.recv(65536):
                    reply += chunk
        return reply.decode("utf-8", "surrogateescape")
