from __future__ import annotations

import os
import socket
import time

import pytest

from charon_core.bus import Group, Level, LogRecord, SaRef
from charon_core.bus.log_socket import RETRY_INTERVAL
from charon_core.bus.sys_logger import MAX_LINE, Facility, SysLogConfig, SysLogger, Transport

HOME = SaRef("home", 3)
NOON = time.mktime((2026, 3, 7, 12, 5, 9, 0, 0, -1))


class Service:
    """A log service: a datagram socket in a folder."""

    def __init__(self, path):
        self.path = str(path)
        self.start()

    def start(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def stop(self):
        self.socket.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def take(self):
        taken = []
        while True:
            try:
                taken.append(self.socket.recv(1 << 16))
            except BlockingIOError:
                return taken


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def syslog(tmp_path):
    service = Service(tmp_path / "log")
    yield service
    service.stop()


@pytest.fixture
def journal(tmp_path):
    service = Service(tmp_path / "journal")
    yield service
    service.stop()


@pytest.fixture
def reports():
    return []


@pytest.fixture
def make(tmp_path, clock, reports):
    made = []

    def make(**options):
        options.setdefault("syslog_path", str(tmp_path / "log"))
        options.setdefault("journal_path", str(tmp_path / "journal"))
        logger = SysLogger(SysLogConfig(**options), reports.append, clock)
        made.append(logger)
        return logger

    yield make
    for logger in made:
        logger.close()


def record(text="a line", *, level=Level.CONTROL, sa=HOME, group=Group.IKE):
    return LogRecord(group, level, text, NOON, 5, sa)


def test_a_syslog_line(make, syslog):
    make().log(record())
    (datagram,) = syslog.take()
    assert datagram.decode() == (
        f"<30>Mar  7 12:05:09 charon[{os.getpid()}]: 05[IKE] <home|3> a line"
    )


@pytest.mark.parametrize(
    ("facility", "level", "priority"),
    [
        (Facility.DAEMON, Level.AUDIT, 29),
        (Facility.DAEMON, Level.CONTROL, 30),
        (Facility.DAEMON, Level.RAW, 31),
        (Facility.AUTHPRIV, Level.AUDIT, 85),
        (Facility.LOCAL7, Level.CONTROL, 190),
    ],
)
def test_facility_and_severity(make, syslog, facility, level, priority):
    make(facility=facility).log(record(level=level))
    assert syslog.take()[0].startswith(f"<{priority}>".encode())


def test_identifier_and_no_ike_sa_name(make, syslog):
    make(identifier="charon-a", sa_name=False).log(record())
    assert f"charon-a[{os.getpid()}]: 05[IKE] a line".encode() in syslog.take()[0]


@pytest.mark.parametrize("transport", [Transport.SYSLOG, Transport.JOURNAL])
def test_a_message_of_several_lines_gives_several(make, syslog, journal, transport):
    make(transport=transport).log(record("one\ntwo\x1b[1m\nthree"))
    taken = (syslog if transport is Transport.SYSLOG else journal).take()
    assert len(taken) == 3
    assert b"two\\x1b[1m" in taken[1]


def test_the_journal_gets_fields(make, journal):
    make().log(record(level=Level.AUDIT))
    (datagram,) = journal.take()
    assert datagram.endswith(b"\n")
    assert dict(line.split("=", 1) for line in datagram.decode().splitlines()) == {
        "MESSAGE": "05[IKE] <home|3> a line",
        "PRIORITY": "5",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": "charon",
        "GROUP": "IKE",
        "LEVEL": "0",
        "THREAD": "5",
        "IKE_SA_NAME": "home",
        "IKE_SA_UNIQUE_ID": "3",
    }


def test_fields_of_the_journal_cannot_be_forged(make, journal):
    make().log(record("x\nPRIORITY=0", sa=SaRef("a\nPRIORITY=1", 1)))
    for datagram in journal.take():
        fields = [line for line in datagram.split(b"\n") if line.startswith(b"PRIORITY=")]
        assert fields == [b"PRIORITY=6"]


def test_without_ike_sa_there_are_no_fields_of_it(make, journal):
    make().log(record(sa=None))
    assert b"IKE_SA" not in journal.take()[0]


def test_the_journal_is_preferred_where_it_is(make, syslog):
    assert make().transport is Transport.SYSLOG


def test_the_journal_is_chosen_by_its_socket(make, syslog, journal):
    assert make().transport is Transport.JOURNAL
    assert make(transport=Transport.SYSLOG).transport is Transport.SYSLOG


@pytest.mark.parametrize("transport", [Transport.SYSLOG, Transport.JOURNAL])
def test_a_line_is_cut_at_its_limit(make, syslog, journal, transport):
    make(transport=transport).log(record("ä" * 2 * MAX_LINE))
    (datagram,) = (syslog if transport is Transport.SYSLOG else journal).take()
    assert len(datagram) < MAX_LINE + 300
    datagram.decode()


def test_a_missing_service_loses_lines_and_is_found_again(make, tmp_path, clock, reports):
    logger = make(transport=Transport.SYSLOG)
    for _ in range(3):
        logger.log(record())
    assert logger.lost == 3
    assert len(reports) == 1
    assert "cannot be reached" in reports[0]
    service = Service(tmp_path / "log")
    logger.log(record("too early for the next try"))
    assert service.take() == []
    clock.now += RETRY_INTERVAL
    logger.log(record("back"))
    first, second = service.take()
    assert first.endswith(b"4 log lines lost before this one")
    assert second.endswith(b"back")
    assert logger.lost == 0
    assert "is back" in reports[1]
    service.stop()


def test_a_restarted_service_is_connected_to_again(make, syslog, clock):
    logger = make()
    logger.log(record())
    syslog.stop()
    logger.log(record())
    syslog.start()
    clock.now += RETRY_INTERVAL
    logger.log(record("again"))
    assert syslog.take()[-1].endswith(b"again")


def test_a_service_that_does_not_read_never_blocks(make, syslog, reports):
    logger = make()
    for _ in range(2000):
        logger.log(record("x" * 1000))
    assert logger.lost > 0
    assert reports == []
    kept = len(syslog.take())
    logger.log(record("after"))
    assert len(syslog.take()) == 2
    assert kept + logger.lost <= 2000


def test_names_differ_by_facility(make):
    assert make(facility=Facility.AUTHPRIV).name == "syslog authpriv"
