from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.config.child import ChildMode
from charon_core.kernel.interface import (
    BackendContext,
    Encapsulation,
    IpsecProtocol,
    KernelError,
    KernelFeature,
    KernelUnavailable,
    Mark,
    PolicyAction,
    PolicyDirection,
    SaExists,
    SaId,
    SaNotFound,
)
from charon_core.kernel.userspace.backend import UserspaceBackend
from charon_core.kernel.userspace.inbound import Inbound
from charon_core.kernel.userspace.outbound import Outbound
from charon_core.network.packet import Endpoint
from tests.unit.userspace.factories import (
    HERE,
    LOCAL,
    PEER,
    REMOTE,
    SPI,
    THERE,
    FakeDevice,
    FakeSocket,
    Recorder,
    network,
    plain_frame,
    policy_spec,
    sa_spec,
    super_packet,
    udp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class PolledDevice(FakeDevice):
    """A fake device whose descriptor is readable while there are frames."""

    def __init__(self) -> None:
        super().__init__()
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)

    def put(self, *frames: bytes) -> None:
        self.frames += frames
        os.eventfd_write(self.fd, 1)

    def read_into(self, buffer: bytearray) -> int:
        if not self.frames:
            try:
                os.eventfd_read(self.fd)
            except BlockingIOError:
                return 0
        return super().read_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self.fd)


class FakeRoutes:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.installed: list[Any] = []
        self.closed = False
        self.fails = False

    def add(self, spec: Any) -> None:
        if self.fails:
            raise KernelError("add route", "no")
        self.installed.append(spec)

    def remove(self, spec: Any) -> None:
        self.installed.remove(spec)

    def close(self) -> list[str]:
        self.closed = True
        return ["route to somewhere: gone"]


class FakeRaw(FakeSocket):
    """Raw sockets without a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.deliver: Any = None
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeBypass:
    """Sockets for packets that pass."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.closed = False

    def send(self, packet: Any) -> None:
        self.packets.append(bytes(packet))

    def close(self) -> None:
        self.closed = True


class FakeHost:
    """A host without a kernel."""

    def __init__(self) -> None:
        self.device = PolledDevice()
        self.routes: FakeRoutes | None = FakeRoutes()
        self.raw: FakeRaw | None = None
        self.bypassing: FakeBypass | None = FakeBypass()
        self.marked: list[tuple[int, int, int]] = []
        self.refuses = False

    def probe(self, options: Any) -> None:
        if self.refuses:
            raise KernelUnavailable("no TUN")

    def open_device(self, options: Any) -> PolledDevice:
        return self.device

    def open_routes(self, device: str, options: Any) -> FakeRoutes | None:
        if self.refuses:
            raise KernelError("add rule", "no")
        return self.routes

    def open_raw(self, options: Any, deliver: Any) -> FakeRaw | None:
        if self.raw is not None:
            self.raw.deliver = deliver
        return self.raw

    def open_bypass(self, options: Any) -> FakeBypass | None:
        return self.bypassing

    def open_guard(self, device: str, options: Any, ports: Any, changed: Any) -> Any:
        return None

    def bypass(self, fd: int, family: int, mark: int) -> int:
        if self.refuses:
            raise PermissionError(1, "Operation not permitted")
        self.marked.append((fd, family, mark))
        return 500


class World:
    """A backend with everything around it; timers run when they are told to."""

    def __init__(
        self, spi_range: tuple[int, int] = (0xC0000000, 0xCFFFFFFF), **options: Any
    ) -> None:
        self.host = FakeHost()
        self.socket = FakeSocket()
        self.events = Recorder()
        self.lines: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.loops: list[tuple[str, Callable[[], None], Callable[[], None]]] = []
        self.context = BackendContext(
            run_loop=lambda *loop: self.loops.append(loop),
            after=self.after,
            log=lambda level, text, *values: self.lines.append(text % values),
            random=type("R", (), {"bytes": staticmethod(os.urandom)})(),
            options=options,
            spi_range=spi_range,
            esp_socket=self.socket,
        )
        self.backend = UserspaceBackend(self.context, self.host)  # type: ignore[arg-type]

    def after(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        timer = (seconds, function)
        self.timers.append(timer)
        return lambda: self.timers.remove(timer) if timer in self.timers else None

    def run(self, within: float = 0) -> None:
        """Run the timers that are due within so many seconds."""
        due = [timer for timer in self.timers if timer[0] <= within]
        self.timers = [timer for timer in self.timers if timer[0] > within]
        for _, function in due:
            function()

    def turn(self) -> None:
        self.loops[0][1]()

    def receive(self, packet: bytes, source: Endpoint = PEER) -> None:
        self.socket.esp_receiver(memoryview(packet), 0, source, Endpoint(THERE, 4500))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.backend.start(made.events)
    yield made
    made.backend.flush()
    made.backend.stop()
    made.host.device.close()


def test_probe_says_what_is_missing() -> None:
    world = World()
    world.backend.probe()
    world.host.refuses = True
    with pytest.raises(KernelUnavailable, match="no TUN"):
        world.backend.probe()
    context = BackendContext(
        run_loop=world.context.run_loop,
        after=world.after,
        log=world.context.log,
        random=world.context.random,
    )
    with pytest.raises(KernelUnavailable, match="NAT traversal port"):
        UserspaceBackend(context, world.host).probe()  # type: ignore[arg-type]


def test_settings_that_cannot_be_are_a_reason() -> None:
    with pytest.raises(KernelUnavailable, match="mtu"):
        World(mtu=3)


def test_a_failed_start_leaves_nothing() -> None:
    world = World()
    world.host.refuses = True
    with pytest.raises(KernelError):
        world.backend.start(world.events)
    assert world.host.device.closed
    assert world.socket.esp_receiver is None
    assert world.loops == []


def test_a_loop_that_cannot_run_undoes_the_start() -> None:
    world = World()

    def refuse(*_: object) -> None:
        raise RuntimeError("the processor stops")

    object.__setattr__(world.context, "run_loop", refuse)
    with pytest.raises(RuntimeError):
        world.backend.start(world.events)
    assert world.host.device.closed
    assert world.host.routes is not None
    assert world.host.routes.closed
    assert world.socket.esp_receiver is None
    assert not world.socket.is_lent


def test_packets_go_out_and_in(world: World) -> None:
    backend = world.backend
    backend.add_sa(sa_spec())
    backend.add_policy(policy_spec())
    world.host.device.put(plain_frame(udp()))
    world.turn()
    sealed = world.socket.packets[0]
    backend.delete_sa(sa_spec().id)
    backend.add_sa(sa_spec(inbound=True))
    world.receive(sealed)
    assert world.host.device.packets == [udp()]
    assert backend.query_sa(sa_spec().id).packets == 1
    counters = backend.statistics()
    assert counters["inbound"]["packets"] == counters["outbound"]["packets"] == 1


def is_fast(world: World) -> bool:
    path = world.backend._path
    assert path is not None
    return path.inbound.row_opener is not None


def test_the_fast_way_is_loaded_with_the_first_super_packet(world: World) -> None:
    world.backend.add_sa(sa_spec())
    world.backend.add_policy(policy_spec())
    world.host.device.put(plain_frame(udp()))
    world.turn()
    assert not is_fast(world)
    world.host.device.put(super_packet(bytes(1000), 100))
    world.turn()
    assert is_fast(world)
    world.host.device.put(super_packet(bytes(1000), 100))
    world.turn()
    assert [len(train) for train in world.socket.trains] == [1, 10, 10]


def test_the_fast_way_is_loaded_with_the_first_train(world: World) -> None:
    from charon_core.kernel.userspace.association import OutboundSa

    world.backend.add_sa(sa_spec(inbound=True))
    peer = OutboundSa(sa_spec(), 1400)
    packets = [peer.seal(number, udp(ports=(number, 9))) for number in range(1, 11)]
    world.receive(packets[0])
    assert world.timers == []
    world.socket.esp_receiver(b"".join(packets[1:]), len(packets[0]), PEER, PEER)
    assert is_fast(world)
    assert world.host.device.packets == [udp(ports=(number, 9)) for number in range(1, 11)]


def test_without_numpy_it_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "charon_core.kernel.userspace.rows_in", None)
    world.backend.add_sa(sa_spec())
    world.backend.add_policy(policy_spec())
    for _ in range(2):
        world.host.device.put(super_packet(bytes(1000), 100))
        world.turn()
    assert [line for line in world.lines if "install charon-core[fast]" in line] == world.lines[-1:]
    assert not is_fast(world)
    assert [len(train) for train in world.socket.trains] == [10, 10]


def test_without_offloads_numpy_is_not_loaded() -> None:
    from charon_core.kernel.userspace.tun import Offloads

    world = World()
    world.host.device.offloads = Offloads()
    world.backend.start(world.events)
    world.socket.esp_receiver(bytes(100), 50, PEER, PEER)
    world.host.device.put(plain_frame(udp()))
    world.turn()
    assert not is_fast(world)
    world.backend.stop()


def test_one_loop_reads_the_device_and_all_sockets() -> None:
    world = World()
    raw = world.host.raw = FakeRaw()
    read: list[str] = []
    for name, sock in (("UDP", world.socket), ("raw", raw)):
        fd = os.eventfd(1, os.EFD_NONBLOCK)

        def handle(_events: int, name: str = name, fd: int = fd) -> None:
            os.eventfd_read(fd)
            read.append(name)

        sock.readers.append((fd, handle))
    world.backend.start(world.events)
    assert world.socket.is_lent
    assert len(world.loops) == 1
    world.backend.add_sa(sa_spec())
    world.backend.add_policy(policy_spec())
    world.host.device.put(plain_frame(udp()))
    world.turn()
    assert sorted(read) == ["UDP", "raw"]
    assert len(world.socket.packets) == 1
    world.backend.flush()
    world.backend.stop()
    assert raw.closed
    for sock in (world.socket, raw):
        os.close(sock.readers[0][0])


# -- life --


def test_a_stopped_backend_lets_its_loop_wait_for_the_end() -> None:
    world = World()
    world.backend.start(world.events)
    name, body, wake = world.loops[0]
    assert name == "ESP"
    turns = []

    def loop() -> None:
        while not ended.is_set():
            body()
            turns.append(1)

    ended = threading.Event()
    thread = threading.Thread(target=loop)
    thread.start()
    world.host.device.put(plain_frame(udp()))
    receive = world.socket.esp_receiver
    world.backend.stop()
    assert world.host.device.closed
    assert world.socket.esp_receiver is None
    assert not world.socket.is_lent
    assert world.host.routes is not None
    assert world.host.routes.closed
    assert world.lines[-1] == "removing route to somewhere: gone"
    ended.set()
    wake()
    thread.join(5)
    assert not thread.is_alive()
    assert len(turns) < 10
    receive(b"late", 0, PEER, PEER)
    assert world.backend.statistics() == {}
    assert world.backend.device is None
    world.backend.stop()


def test_stopping_before_the_loop_ran(world: World) -> None:
    world.backend.stop()
    world.loops[0][2]()
    world.turn()


def test_flush_removes_everything(world: World) -> None:
    backend = world.backend
    backend.add_sa(sa_spec(hard_seconds=50))
    backend.add_sa(sa_spec(inbound=True, soft_seconds=10))
    backend.add_policy(policy_spec())
    backend.add_policy(policy_spec(direction=PolicyDirection.IN))
    backend.allocate_spi(HERE, THERE, IpsecProtocol.ESP)
    backend.flush()
    assert backend.tables.associations() == []
    assert backend.tables.policies() == []
    assert world.host.routes is not None
    assert world.host.routes.installed == []
    assert world.timers == []


# -- SAs --


def test_an_spi_is_reserved_until_it_is_used(world: World) -> None:
    backend = world.backend
    spi = backend.allocate_spi(HERE, THERE, IpsecProtocol.ESP)
    assert 0xC0000000 <= spi <= 0xCFFFFFFF
    sa = SaId(HERE, THERE, IpsecProtocol.ESP, spi)
    backend.delete_sa(sa)
    with pytest.raises(SaNotFound):
        backend.delete_sa(sa)
    backend.add_sa(sa_spec(inbound=True, id=sa))
    backend.delete_sa(sa)
    with pytest.raises(SaNotFound):
        backend.query_sa(sa)


def test_spis_run_out_with_a_reason() -> None:
    world = World(spi_range=(0x1000, 0x1000))
    assert world.backend.allocate_spi(HERE, THERE, IpsecProtocol.ESP) == 0x1000
    with pytest.raises(KernelError, match="spi_min"):
        world.backend.allocate_spi(HERE, THERE, IpsecProtocol.ESP)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": SaId(HERE, THERE, IpsecProtocol.AH, SPI)}, "AH"),
        ({"mode": ChildMode.TRANSPORT}, "tunnel mode"),
        ({"mode": ChildMode.BEET}, "tunnel mode"),
        ({"mark": Mark(1)}, "marks"),
        ({"if_id": 3}, "XFRM interfaces"),
        ({"encapsulation": None}, "raw sockets"),
        ({"encryption": 2}, "not offered"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    world: World, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(KernelError, match=words):
        world.backend.add_sa(sa_spec(**changes))
    assert world.backend.tables.associations() == []
    assert world.timers == []


def test_features_say_what_there_is(world: World) -> None:
    features = world.backend.features
    assert {
        KernelFeature.ESP,
        KernelFeature.TUNNEL,
        KernelFeature.UDP_ENCAPSULATION_ONLY,
    } <= features
    assert not features & {KernelFeature.TRANSPORT, KernelFeature.AH, KernelFeature.MARK}


def test_an_sa_moves_but_not_out_of_udp(world: World) -> None:
    world.backend.add_sa(sa_spec())
    with pytest.raises(KernelError):
        world.backend.update_sa(sa_spec().id, HERE, "192.0.2.9", None)
    world.backend.update_sa(sa_spec().id, HERE, "192.0.2.9", Encapsulation(4500, 1234))
    assert world.backend.query_sa(sa_spec().id._replace(destination="192.0.2.9")) == (0, 0, None)


def test_an_sa_exists_once(world: World) -> None:
    world.backend.add_sa(sa_spec(soft_seconds=5))
    with pytest.raises(SaExists):
        world.backend.add_sa(sa_spec(soft_seconds=5))
    assert len(world.timers) == 1


def raw_world(**options: Any) -> World:
    made = World(**options)
    made.host.raw = FakeRaw()
    made.backend.start(made.events)
    return made


def test_plain_esp_goes_by_raw_sockets() -> None:
    world = raw_world()
    raw = world.host.raw
    assert raw is not None
    world.backend.add_sa(sa_spec(encapsulation=None))
    world.backend.add_policy(policy_spec())
    world.host.device.put(plain_frame(udp()))
    world.turn()
    assert world.socket.packets == []
    assert raw.ends == [(Endpoint(HERE, 0), Endpoint(THERE, 0))]
    world.backend.update_sa(sa_spec().id, HERE, THERE, Encapsulation(4500, 4500))
    world.host.device.put(plain_frame(udp()))
    world.turn()
    assert len(world.socket.packets) == 1
    world.backend.add_sa(sa_spec(inbound=True, encapsulation=None))
    raw.deliver(raw.packets[0], 0)
    world.receive(world.socket.packets[0])
    assert world.host.device.packets == [udp(), udp()]
    world.run()
    assert world.events.events == []
    world.backend.flush()
    world.backend.stop()
    assert raw.closed


def test_plain_esp_can_be_switched_off() -> None:
    world = raw_world(raw_esp=False)
    with pytest.raises(KernelError, match="raw sockets"):
        world.backend.add_sa(sa_spec(encapsulation=None))
    world.backend.stop()


# -- policies and routes --


def test_outbound_policies_have_routes(world: World) -> None:
    routes = world.host.routes
    assert routes is not None
    world.backend.add_policy(policy_spec(direction=PolicyDirection.IN))
    world.backend.add_policy(policy_spec(direction=PolicyDirection.FORWARD))
    assert routes.installed == []
    world.backend.add_policy(policy_spec())
    replaced = policy_spec(action=PolicyAction.PASS)
    world.backend.add_policy(replaced)
    assert routes.installed == [replaced]
    assert world.backend.query_policy(policy_spec()) is None
    world.backend.delete_policy(policy_spec())
    assert routes.installed == []
    with pytest.raises(SaNotFound):
        world.backend.delete_policy(policy_spec())


def test_a_policy_without_its_route_is_not_there(world: World) -> None:
    assert world.host.routes is not None
    world.host.routes.fails = True
    with pytest.raises(KernelError):
        world.backend.add_policy(policy_spec())
    assert world.backend.tables.policies() == []


def test_routes_can_be_left_to_the_administrator() -> None:
    world = World()
    world.host.routes = None
    world.backend.start(world.events)
    world.backend.add_policy(policy_spec())
    world.backend.delete_policy(policy_spec())
    world.backend.stop()


def test_sockets_are_marked(world: World) -> None:
    world.backend.bypass_socket(5, socket.AF_INET6)
    assert world.host.marked == [(5, socket.AF_INET6, 220)]
    world.host.refuses = True
    with pytest.raises(KernelError, match="CAP_NET_ADMIN"):
        world.backend.bypass_socket(5, socket.AF_INET)
    world.backend.enable_udp_encapsulation(5, socket.AF_INET)


# -- events: none of them on the thread that moves packets --


def test_traffic_without_an_sa_asks_for_one(world: World) -> None:
    world.backend.add_policy(policy_spec())
    world.host.device.put(*[plain_frame(udp())] * 5)
    world.turn()
    assert world.events.events == []
    world.run()
    ports = {"protocol": 17}
    assert world.events.events == [
        ("acquire", 7, network(LOCAL, ports=(5000, 5000), **ports),
         network(REMOTE, ports=(53, 53), **ports)),
    ]  # fmt: skip
    world.backend.add_sa(sa_spec())
    world.backend.delete_sa(sa_spec().id)
    world.host.device.put(plain_frame(udp()))
    world.turn()
    world.run()
    assert len(world.events.events) == 2


def test_a_changed_mapping_is_reported(world: World) -> None:
    from charon_core.kernel.userspace.association import OutboundSa

    world.backend.add_sa(sa_spec(inbound=True))
    new = Endpoint("198.51.100.1", 4567)
    world.receive(OutboundSa(sa_spec(), 1400).seal(1, udp()), new)
    assert world.events.events == []
    world.run()
    assert world.events.events == [("mapping", 7, SPI, PEER, new)]


def test_time_limits(world: World) -> None:
    world.backend.add_sa(sa_spec(soft_seconds=60, hard_seconds=90))
    world.run(60)
    assert world.events.events == [("expire", IpsecProtocol.ESP, SPI, THERE, False)]
    assert world.backend.query_sa(sa_spec().id).packets == 0
    world.run(90)
    assert world.events.events[1:] == [("expire", IpsecProtocol.ESP, SPI, THERE, True)]
    with pytest.raises(SaNotFound):
        world.backend.query_sa(sa_spec().id)


def test_volume_limits(world: World) -> None:
    world.backend.add_sa(sa_spec(soft_packets=2, hard_packets=4))
    world.backend.add_policy(policy_spec())
    for _ in range(5):
        world.host.device.put(plain_frame(udp()))
        world.turn()
        world.run()
    assert [event[-1] for event in world.events.named("expire")] == [False, True]
    assert len(world.socket.packets) == 4


def test_exhausted_sequence_numbers_end_an_sa(world: World) -> None:
    world.backend.add_sa(sa_spec())
    world.backend.add_policy(policy_spec())
    sa = world.backend.tables.find_sa(sa_spec().id, "find")
    sa.sequence = 0xFFFFFFFF  # type: ignore[attr-defined]
    world.host.device.put(plain_frame(udp()), plain_frame(udp()))
    world.turn()
    world.run()
    assert world.events.named("expire") == [(IpsecProtocol.ESP, SPI, THERE, True)]
    assert "sequence numbers" in world.lines[-1]
    assert world.socket.packets == []


def test_a_deleted_sa_does_not_expire(world: World) -> None:
    world.backend.add_sa(sa_spec(soft_seconds=5, hard_seconds=9))
    due = [function for _, function in world.timers]
    world.backend.delete_sa(sa_spec().id)
    assert world.timers == []
    due[1]()
    assert world.events.events == []


def test_a_new_sa_of_the_same_name_outlives_the_timer_of_the_old(world: World) -> None:
    world.backend.add_sa(sa_spec(soft_seconds=5, hard_seconds=9))
    late = [function for _, function in world.timers]
    world.backend.delete_sa(sa_spec().id)
    world.backend.add_sa(sa_spec())
    for function in late:
        function()
    assert world.backend.query_sa(sa_spec().id).packets == 0
    assert world.events.events == []


def test_the_backend_is_an_ipsec_backend(world: World) -> None:
    from charon_core.kernel.interface import IpsecBackend

    backend: IpsecBackend = world.backend
    assert backend.name == "userspace"
    assert isinstance(world.backend._path and world.backend._path.inbound, Inbound)
    assert isinstance(world.backend._path and world.backend._path.outbound, Outbound)


def test_the_fast_way_is_loaded_by_a_job_before_there_is_traffic() -> None:
    world = World()
    jobs: list[tuple[str, Callable[[], None]]] = []
    object.__setattr__(world.context, "later", lambda *job: jobs.append(job))
    world.backend.start(world.events)
    path = world.backend._path
    assert path is not None
    assert path.inbound.row_opener is None
    ((name, load),) = jobs
    assert name == "load numpy"
    load()
    opener = path.inbound.row_opener
    assert opener is not None
    load()
    assert path.inbound.row_opener is opener
    world.backend.stop()
    world.host.device.close()
