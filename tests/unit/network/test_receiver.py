from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.bus import Bus, Level
from charon_core.encoding.header import Header
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import KeyExchange, Nonce, Notify
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.network.packet import Endpoint, Packet
from charon_core.network.receiver import (
    COOKIE_HYSTERESIS,
    LOG_BURST,
    VERSION_NOTIFIES,
    Receiver,
    ReceiverLimits,
)
from charon_core.processing.processor import Processor

PEER = Endpoint("192.0.2.1", 500)
HERE = Endpoint("192.0.2.9", 500)
SPI = b"initiatr"
NI = Nonce(bytes(range(32)))
KE = KeyExchange(31, b"k" * 32)
OFF = ReceiverLimits(0, 0, 0, 0, 0)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Lines:
    name = "lines"

    def __init__(self):
        self.texts = []

    def level(self, group):
        return Level.CONTROL

    def log(self, record):
        self.texts.append(record.text)


class HalfOpen:
    def __init__(self):
        self.total = 0
        self.by_host = {}
        self.asked = 0

    def count(self, address):
        self.asked += 1
        return self.total if address is None else self.by_host.get(address, 0)


class Bench:
    """A receiver with everything around it in the test's hands."""

    def __init__(self, limits=OFF):
        self.clock = Clock()
        self.lines = Lines()
        self.bus = Bus()
        self.bus.add_logger(self.lines)
        self.half_open = HalfOpen()
        self.load = 0
        self.sent: list[Packet] = []
        self.dispatched: list[tuple[Packet, Header]] = []
        self.incoming: list[Packet] = []
        self.woken = 0
        self.receiver = Receiver(
            self,
            self,
            lambda packet, header: self.dispatched.append((packet, header)),
            half_open=self.half_open,
            job_load=lambda: self.load,
            bus=self.bus,
            limits=limits,
            clock=self.clock,
        )

    def send(self, packet, *, quiet=False):
        assert quiet, "what a flood provokes leaves no line"
        self.sent.append(packet)
        return True

    def receive(self, timeout=None):
        taken, self.incoming = self.incoming, []
        return taken

    def wake(self):
        self.woken += 1

    def handle(self, data, source=PEER):
        """Hand a datagram over; return "dispatched", the notify that answers it, or None."""
        del self.sent[:], self.dispatched[:]
        self.receiver.handle(Packet(source, HERE, data))
        assert len(self.sent) + len(self.dispatched) <= 1
        if self.dispatched:
            return "dispatched"
        if not self.sent:
            return None
        answer = self.sent[0]
        assert (answer.source, answer.destination) == (HERE, source)
        (notify,) = Message.parse(answer.data).payloads
        return notify

    @property
    def counters(self):
        return self.receiver.counters


def message(*payloads, exchange=ExchangeType.IKE_SA_INIT, spi=SPI, spi_r=bytes(8), **fields):
    fields = {"is_initiator": True, "is_response": False, "message_id": 0} | fields
    return Message(spi, spi_r, exchange, payloads=payloads, **fields).encode()


def init(*first, nonce=NI, spi=SPI):
    return message(*first, KE, nonce, spi=spi)


def with_version(data, version):
    return data[:17] + bytes([version]) + data[18:]


# -- what is dispatched --


@pytest.mark.parametrize(
    "data",
    [
        init(),
        message(NI, exchange=ExchangeType.IKE_AUTH, spi_r=b"responds", message_id=1),
        message(exchange=ExchangeType.INFORMATIONAL, spi_r=b"responds", message_id=7),
        message(exchange=200, spi_r=b"responds"),
        message(NI, is_initiator=False, is_response=True, spi_r=b"responds"),
        message(NI, is_initiator=False, is_response=True),
        message(NI, exchange=ExchangeType.IKE_SESSION_RESUME),
        with_version(init(), 0x2F),
    ],
)
def test_messages_of_ikev2_are_dispatched(data):
    bench = Bench()
    assert bench.handle(data) == "dispatched"
    ((packet, header),) = bench.dispatched
    assert packet.data == data
    assert header == Header.parse(data)
    assert bench.counters.dispatched == 1


def test_a_dispatched_packet_leaves_its_log_line_to_the_ike_sa():
    bench = Bench()
    bench.handle(init())
    assert bench.lines.texts == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"x" * 27,
        init()[:-1],
        init() + b"x",
        b"\0" * 8 + init()[8:],
        message(NI, spi_r=b"responds"),
        message(NI, message_id=1),
        message(NI, is_initiator=False),
        message(exchange=ExchangeType.IKE_AUTH, message_id=1),
        message(exchange=ExchangeType.INFORMATIONAL),
    ],
)
def test_malformed_ones_are_dropped_with_a_line(data):
    bench = Bench()
    assert bench.handle(data) is None
    assert bench.counters.malformed == 1
    assert bench.lines.texts[0].startswith("dropped packet from 192.0.2.1[500]: ")


def test_truncated_at_every_length():
    bench, data = Bench(ReceiverLimits(cookie_threshold=1)), init(Notify.of(NotifyType.COOKIE))
    bench.half_open.total = 1
    for length in range(len(data)):
        assert bench.handle(data[:length]) is None
        shortened = data[:24] + struct.pack("!I", length) + data[28:length]
        assert bench.handle(shortened) is None
    assert bench.counters.malformed == 2 * len(data)


@settings(max_examples=300)
@given(st.binary(max_size=100), st.booleans(), st.integers(0, 40))
def test_fuzz(data, framed, total):
    bench = Bench(ReceiverLimits(init_limit_job_load=1, init_limit_half_open=39))
    bench.half_open.total = total
    if framed:
        data = SPI + bytes(8) + data
        data = data[:24].ljust(24, b"\0") + struct.pack("!I", max(28, len(data))) + data[28:]
    bench.handle(data)
    assert bench.counters.failed == 0


# -- versions --


@pytest.mark.parametrize("version", [0x30, 0x35, 0xF0])
def test_a_higher_major_version_is_answered(version):
    bench = Bench()
    notify = bench.handle(with_version(init(), version))
    assert notify.notify_type == NotifyType.INVALID_MAJOR_VERSION
    header = Header.parse(bench.sent[0].data)
    assert header.version == (2, 0)
    assert header.initiator_spi == SPI
    assert header.is_response
    assert not header.is_initiator
    assert (header.exchange, header.message_id) == (ExchangeType.IKE_SA_INIT, 0)


@pytest.mark.parametrize(
    "data",
    [
        message(exchange=ExchangeType.IKE_AUTH, spi_r=b"responds", message_id=1),
        message(NI, is_response=True),
        message(exchange=ExchangeType.INFORMATIONAL, spi_r=b"responds"),
    ],
)
def test_only_requests_for_an_ike_sa_are_answered_with_a_version(data):
    bench = Bench()
    assert bench.handle(with_version(data, 0x30)) is None
    assert bench.counters.wrong_version == 1


def test_version_notifies_are_rate_limited():
    bench = Bench()
    data = with_version(init(), 0x30)
    answered = sum(bench.handle(data) is not None for _ in range(1000))
    assert answered == VERSION_NOTIFIES
    bench.clock.now += 0.5
    answered = sum(bench.handle(data) is not None for _ in range(1000))
    assert answered == VERSION_NOTIFIES / 2


@pytest.mark.parametrize("exchange", [2, 4, 5, 32, 34])
def test_ikev1_is_dropped_with_a_line_in_a_while(exchange):
    bench = Bench()
    data = with_version(message(exchange=exchange), 0x10)
    for _ in range(100):
        assert bench.handle(data) is None
    assert bench.counters.ike_v1 == 100
    assert len(bench.lines.texts) == LOG_BURST
    assert "IKE version 1.0" in bench.lines.texts[0]
    bench.clock.now += 1
    bench.handle(data)
    assert bench.lines.texts[-1].endswith("(90 more before)")


def test_version_zero_is_not_answered():
    assert Bench().handle(with_version(init(), 0x00)) is None


# -- cookies --


def test_default_limits_are_those_of_the_reference():
    assert ReceiverLimits() == ReceiverLimits(
        cookie_threshold=30, cookie_threshold_ip=3, block_threshold=5,
        init_limit_half_open=0, init_limit_job_load=0,
    )  # fmt: skip


@pytest.mark.parametrize(("total", "demanded"), [(0, False), (29, False), (30, True), (31, True)])
def test_a_cookie_is_demanded_from_the_threshold_on(total, demanded):
    bench = Bench(ReceiverLimits())
    bench.half_open.total = total
    result = bench.handle(init())
    if demanded:
        assert result.notify_type == NotifyType.COOKIE
    else:
        assert result == "dispatched"


@pytest.mark.parametrize(("count", "demanded"), [(2, False), (3, True)])
def test_a_cookie_is_demanded_of_an_address_with_many(count, demanded):
    bench = Bench(ReceiverLimits())
    bench.half_open.by_host = {PEER.host: count}
    assert (bench.handle(init()) != "dispatched") is demanded
    assert bench.handle(init(), Endpoint("192.0.2.77", 500)) == "dispatched"


def test_the_cookie_returned_is_let_in():
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    cookie = bench.handle(init())
    header = Header.parse(bench.sent[0].data)
    assert header.responder_spi == bytes(8)
    assert header.is_response
    assert bench.handle(init(cookie)) == "dispatched"
    assert bench.counters.cookies_sent == 1
    assert bench.counters.cookies_wrong == 0


def test_a_cookie_has_to_come_first():
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    cookie = bench.handle(init())
    late = message(KE, cookie, NI)
    assert bench.handle(late).notify_type == NotifyType.COOKIE
    assert bench.handle(message(KE, NI, cookie)).notify_type == NotifyType.COOKIE


@pytest.mark.parametrize("change", ["nonce", "spi", "address", "octet", "age"])
def test_a_cookie_for_something_else_is_answered_with_a_new_one(change):
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    cookie = bench.handle(init())
    data, source = init(cookie), PEER
    if change == "nonce":
        data = init(cookie, nonce=Nonce(b"another nonce...."))
    elif change == "spi":
        data = init(cookie, spi=b"anotherS")
    elif change == "address":
        source = Endpoint("192.0.2.2", 500)
    elif change == "octet":
        broken = cookie.data[:-1] + bytes([cookie.data[-1] ^ 1])
        data = init(Notify.of(NotifyType.COOKIE, broken))
    else:
        bench.clock.now += 11
    fresh = bench.handle(data, source)
    assert fresh.notify_type == NotifyType.COOKIE
    assert bench.counters.cookies_wrong == 1


def test_another_port_of_the_same_address_may_return_the_cookie():
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    cookie = bench.handle(init())
    assert bench.handle(init(cookie), Endpoint(PEER.host, 4500)) == "dispatched"


def test_cookies_stay_in_force_for_a_while_after_the_load_has_dropped():
    bench = Bench(ReceiverLimits(cookie_threshold=2))
    bench.half_open.total = 2
    assert bench.handle(init()) != "dispatched"
    bench.half_open.total = 0
    bench.clock.now += COOKIE_HYSTERESIS - 0.1
    assert bench.handle(init()) != "dispatched"
    bench.clock.now += 0.1
    assert bench.handle(init()) == "dispatched"


def test_a_flood_leaves_one_line_and_no_state():
    bench = Bench(ReceiverLimits(cookie_threshold=2))
    bench.half_open.total = 2
    for number in range(500):
        bench.handle(init(spi=struct.pack("!Q", number + 1)))
    assert bench.lines.texts == [
        "2 half-open IKE_SAs, limit 2: cookies are demanded from all peers"
    ]
    assert bench.counters.cookies_sent == 500
    assert len(bench.receiver._lines) == 0


def test_a_request_without_nonce_gets_no_cookie():
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    assert bench.handle(message(KE)) is None
    assert bench.counters.malformed == 1


def test_an_answer_is_hardly_longer_than_the_least_request():
    """Whoever forges an address gains next to nothing by it."""
    bench = Bench(ReceiverLimits(cookie_threshold=1))
    bench.half_open.total = 1
    least = message(Nonce(bytes(16)))
    bench.handle(least)
    assert len(bench.sent[0].data) <= len(least) + 16


# -- blocks and overload --


@pytest.mark.parametrize(("count", "blocked"), [(4, False), (5, True), (500, True)])
def test_an_address_with_too_many_is_not_heard(count, blocked):
    bench = Bench(ReceiverLimits(cookie_threshold=0, cookie_threshold_ip=0))
    bench.half_open.by_host = {PEER.host: count}
    assert bench.handle(init()) == (None if blocked else "dispatched")
    assert bench.counters.blocked == blocked
    assert bench.handle(init(), Endpoint("2001:db8::1", 500)) == "dispatched"


def test_the_block_comes_after_the_cookie():
    bench = Bench(ReceiverLimits())
    bench.half_open.by_host = {PEER.host: 5}
    cookie = bench.handle(init())
    assert cookie.notify_type == NotifyType.COOKIE
    assert bench.handle(init(cookie)) is None
    assert bench.counters.blocked == 1


@pytest.mark.parametrize(("total", "dropped"), [(9, False), (10, True)])
def test_the_total_may_be_limited(total, dropped):
    bench = Bench(ReceiverLimits(0, 0, 0, init_limit_half_open=10))
    bench.half_open.total = total
    assert bench.handle(init()) == (None if dropped else "dispatched")
    assert bench.counters.overload == dropped


@pytest.mark.parametrize(("load", "dropped"), [(100, False), (101, True)])
def test_requests_are_dropped_while_many_jobs_wait(load, dropped):
    bench = Bench(ReceiverLimits(init_limit_job_load=100))
    bench.load = load
    assert bench.handle(init()) == (None if dropped else "dispatched")
    assert bench.counters.overload == dropped


def test_zero_switches_every_limit_off():
    bench = Bench(OFF)
    bench.half_open.total = bench.load = 10**6
    bench.half_open.by_host = {PEER.host: 10**6}
    assert bench.handle(init()) == "dispatched"


def test_limits_are_for_requests_of_new_ike_sas_only():
    bench = Bench(ReceiverLimits(1, 1, 1, 1, 1))
    bench.half_open.total = bench.load = 100
    bench.half_open.by_host = {PEER.host: 100}
    data = message(exchange=ExchangeType.IKE_AUTH, spi_r=b"responds", message_id=1)
    assert bench.handle(data) == "dispatched"
    assert bench.handle(message(NI, is_initiator=False, is_response=True)) == "dispatched"
    assert bench.half_open.asked == 0


def test_limits_may_change_while_it_runs():
    bench = Bench(OFF)
    bench.receiver.limits = ReceiverLimits(init_limit_half_open=1)
    bench.half_open.total = 1
    assert bench.handle(init()) is None


# -- the loop --


def test_one_packet_that_fails_does_not_stop_the_others():
    bench = Bench()

    def dispatch(packet, header):
        if packet.source.port == 666:
            raise RuntimeError("dispatch broke")
        bench.dispatched.append(packet)

    bench.receiver._dispatch = dispatch
    bench.incoming = [
        Packet(Endpoint("192.0.2.1", port), HERE, init()) for port in (1, 666, 2, 666, 3)
    ]
    bench.receiver.run_once()
    assert [packet.source.port for packet in bench.dispatched] == [1, 2, 3]
    assert bench.counters.failed == 2
    assert any("RuntimeError: dispatch broke" in text for text in bench.lines.texts)


def test_an_error_path_without_loggers_is_silent():
    """Class 5: the error path may not depend on what only the usual path has."""
    bench = Bench()
    bench.bus.remove_logger(bench.lines)
    for data in (b"", with_version(init(), 0x10), with_version(init(), 0x30)):
        bench.handle(data)
    assert bench.lines.texts == []


def test_starts_as_a_loop_of_the_processor():
    class OneTurn(Bench):
        def receive(self, timeout=None):
            ended.wait(5)
            return super().receive()

        def wake(self):
            super().wake()
            ended.set()

    import threading

    ended = threading.Event()
    bench, processor = OneTurn(), Processor(1, reserved={})
    loop = bench.receiver.start(processor)
    assert str(loop) == "receiver"
    assert processor.stop(5) == []
    assert bench.woken == 1
