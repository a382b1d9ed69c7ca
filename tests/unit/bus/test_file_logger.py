from __future__ import annotations

import errno
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from charon_core.bus import Bus, Group, Level, LogRecord, SaRef
from charon_core.bus import file_logger as module
from charon_core.bus.file_format import known_time_format
from charon_core.bus.file_logger import (
    BUFFER_AGE,
    BUFFER_SIZE,
    RETRY_INTERVAL,
    FileLogConfig,
    FileLogger,
)
from charon_core.bus.log_format import LogLevels

if TYPE_CHECKING:
    from pathlib import Path

HOME = SaRef("home", 3)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "charon.log"


@pytest.fixture
def reports():
    return []


@pytest.fixture
def make(path, clock, reports):
    made = []

    def make(**options) -> FileLogger:
        options.setdefault("target", str(path))
        logger = FileLogger(FileLogConfig(**options), reports.append, clock)
        made.append(logger)
        return logger

    yield make
    for logger in made:
        logger.close()


def record(text="a line", *, group=Group.IKE, sa=HOME, when=0.0, thread=5, level=Level.CONTROL):
    return LogRecord(group, level, text, when, thread, sa)


def test_a_line_has_thread_group_ike_sa_and_text(make, path):
    make().log(record())
    assert path.read_text() == "05[IKE] <home|3> a line\n"


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({}, {"sa": None}, "05[IKE] a line\n"),
        ({"sa_name": False}, {}, "05[IKE] a line\n"),
        ({}, {"thread": 123, "group": Group.NET}, "123[NET] <home|3> a line\n"),
        ({"time_format": "at %M:%S"}, {"when": 1425.0}, "at 23:45 05[IKE] <home|3> a line\n"),
        ({"time_format": "%S.%f"}, {"when": 7.25}, "07.250000 05[IKE] <home|3> a line\n"),
        ({"time_format": "%%f"}, {}, "%f 05[IKE] <home|3> a line\n"),
    ],
)
def test_options_of_a_line(make, path, options, values, expected):
    make(**options).log(record(**values))
    assert path.read_text() == expected


def test_the_time_is_that_of_each_record(make, path):
    logger = make(time_format="%S")
    for when in (1.0, 1.9, 2.0, 1.0):
        logger.log(record(when=when))
    assert [line[:2] for line in path.read_text().splitlines()] == ["01", "01", "02", "01"]


def test_a_message_of_several_lines_gives_several_lines(make, path):
    make().log(record("one\ntwo\x1b[1m"))
    assert path.read_text() == "05[IKE] <home|3> one\n05[IKE] <home|3> two\\x1b[1m\n"


def test_nothing_that_a_peer_sends_forges_a_line(make, path):
    bus = Bus()
    bus.add_logger(make())
    bus.log(Group.IKE, 1, "identity '%s' not found", "x\n01[IKE] forged\u2028y\ud800")
    (line,) = path.read_text().splitlines()
    assert line == "01[IKE] identity 'x\\n01[IKE] forged\\u2028y\\ud800' not found"


def test_the_name_of_a_connection_is_escaped_too(make, path):
    make().log(record(sa=SaRef("a\nb", 1)))
    assert path.read_text() == "05[IKE] <a\\nb|1> a line\n"


def test_json_lines(make, path):
    logger = make(json=True)
    logger.log(record("one\ntwo \ud800", when=12.5))
    logger.log(record(sa=None, group=Group.NET, level=Level.MORE))
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "time": 12.5, "thread": 5, "group": "IKE", "level": 1,
        "ike_sa": "home", "ike_sa_id": 3, "message": "one\ntwo \ud800",
    }  # fmt: skip
    assert "ike_sa" not in second
    assert (second["group"], second["level"]) == ("NET", 2)


def test_levels_by_group_with_a_default(make):
    logger = make(levels=LogLevels(Level.CONTROL, {Group.ENC: Level.RAW, Group.KNL: Level.SILENT}))
    assert logger.level(Group.IKE) is Level.CONTROL
    assert logger.level(Group.ENC) is Level.RAW
    assert logger.level(Group.KNL) is Level.SILENT
    logger.set_level(Group.KNL, Level.MORE)
    assert logger.level(Group.KNL) is Level.MORE
    assert logger.level(Group.ENC) is Level.RAW
    logger.set_level(None, Level.AUDIT)
    assert {logger.level(group) for group in Group} == {Level.AUDIT}


@pytest.mark.parametrize(("append", "expected"), [(True, 2), (False, 1)])
def test_what_was_there_is_kept_or_not(make, path, append, expected):
    path.write_text("before\n")
    make(append=append).log(record())
    assert len(path.read_text().splitlines()) == expected


def test_reopen_follows_rotation_and_never_truncates(make, path, tmp_path):
    logger = make(append=False)
    logger.log(record("old"))
    path.rename(tmp_path / "charon.log.1")
    logger.log(record("still old"))
    logger.reopen()
    logger.log(record("new"))
    logger.reopen()
    logger.log(record("newer"))
    assert "still old" in (tmp_path / "charon.log.1").read_text()
    assert path.read_text() == "05[IKE] <home|3> new\n05[IKE] <home|3> newer\n"


def test_the_file_is_not_for_everybody(make, path):
    make().log(record())
    assert path.stat().st_mode & 0o027 == 0


def test_lines_are_buffered_if_not_flushed_one_by_one(make, path, clock):
    logger = make(flush_line=False)
    logger.log(record())
    assert path.read_text() == ""
    logger.flush()
    assert path.read_text().count("\n") == 1
    logger.log(record())
    clock.now += BUFFER_AGE
    logger.log(record())
    assert path.read_text().count("\n") == 3
    logger.log(record("x" * BUFFER_SIZE))
    assert path.read_text().count("\n") == 4
    logger.log(record())
    logger.close()
    assert path.read_text().count("\n") == 5


@pytest.mark.parametrize("flush_line", [True, False])
def test_an_unwritable_path_harms_nobody_and_recovers(make, tmp_path, clock, reports, flush_line):
    folder = tmp_path / "later"
    logger = make(target=str(folder / "charon.log"), flush_line=flush_line)
    assert len(reports) == 1
    assert "No such file" in reports[0]
    for _ in range(5):
        logger.log(record())
    clock.now += RETRY_INTERVAL
    logger.log(record())
    logger.flush()
    assert logger.lost == 6
    assert len(reports) == 1, "reported once"
    folder.mkdir()
    clock.now += RETRY_INTERVAL
    logger.log(record("back"))
    logger.flush()
    assert (folder / "charon.log").read_text() == (
        "[6 log records lost before this line]\n05[IKE] <home|3> back\n"
    )
    assert len(reports) == 2
    assert "again" in reports[1]
    assert logger.lost == 0


@pytest.mark.parametrize("target", ["/proc/version", "/"])
def test_a_target_that_is_no_file_of_ours_is_reported(make, reports, target):
    logger = make(target=target)
    logger.log(record())
    assert len(reports) == 1


def test_a_full_disk_loses_lines_and_tells_how_many(make, path, clock, reports, monkeypatch):
    logger = make()
    logger.log(record("before"))
    real = os.write
    budget = [10]

    def write(fd, data):
        if budget[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, bytes(data)[: budget[0]])
        budget[0] -= written
        return written

    monkeypatch.setattr(module.os, "write", write)
    logger.log(record("half of it"))
    logger.log(record("nothing of it"))
    (report,) = reports
    assert report.startswith(f"log target {path} cannot be written: No space left on device;")
    monkeypatch.setattr(module.os, "write", real)
    clock.now += RETRY_INTERVAL
    logger.log(record("after"))
    logger.log(record("last"))
    assert path.read_text().splitlines() == [
        "05[IKE] <home|3> before",
        "05[IKE] <h",
        "[2 log records lost before this line]",
        "05[IKE] <home|3> after",
        "05[IKE] <home|3> last",
    ]


def test_a_pipe_that_nobody_reads_does_not_block(make, tmp_path, reports):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    logger = make(target=str(fifo))
    logger.log(record())
    assert "No such device" in reports[0]


def test_a_pipe_whose_reader_has_stopped_does_not_block(
    make, tmp_path, reports, clock, monkeypatch
):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.001)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    logger = make(target=str(fifo))
    for _ in range(300):
        logger.log(record("x" * 1000))
    assert any("does not read" in report for report in reports)
    while os.read(reader, 1 << 16):
        pass
    clock.now += RETRY_INTERVAL
    logger.log(record("after the pause"))
    assert os.read(reader, 1 << 16).endswith(b"after the pause\n")
    os.close(reader)


@pytest.mark.parametrize("target", ["stdout", "stderr"])
def test_standard_targets_are_written_and_never_closed(make, capfd, target):
    logger = make(target=target)
    logger.log(record("one"))
    logger.reopen()
    logger.close()
    logger.log(record("two"))
    captured = capfd.readouterr()
    text = captured.out if target == "stdout" else captured.err
    assert text == "05[IKE] <home|3> one\n05[IKE] <home|3> two\n"


def test_a_report_may_log(path, clock, tmp_path):
    bus = Bus()
    other = FileLogger(FileLogConfig(str(path)), clock=clock)
    broken = FileLogger(
        FileLogConfig(str(tmp_path / "none" / "x")),
        lambda text: bus.log(Group.DMN, Level.AUDIT, "%s", text),
        clock,
    )
    bus.add_logger(other)
    bus.add_logger(broken)
    bus.log(Group.IKE, Level.AUDIT, "line")
    (tmp_path / "none").mkdir()
    clock.now += RETRY_INTERVAL
    bus.log(Group.IKE, Level.AUDIT, "line")
    assert "can be written again" in path.read_text()


def test_a_hanging_write_of_one_thread_does_not_hang_the_others(make, path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    logger = make()
    logger.log(record("zero"))
    with logger._lock:
        for text in ("one", "two", "three"):
            logger.log(record(text))
    assert logger.lost == 1
    logger.log(record("four"))
    last_words = [line.split()[-1] for line in path.read_text().splitlines()]
    assert last_words == ["zero", "line]", "one", "two", "four"]


def test_lines_that_waited_are_counted_if_they_cannot_be_written(make, path, monkeypatch):
    logger = make()

    def fail(fd, data):
        raise OSError(errno.ENOSPC, "full")

    logger.log(record("zero"))
    with logger._lock:
        for text in ("one", "two", "three"):
            logger.log(record(text))
    monkeypatch.setattr(module.os, "write", fail)
    logger.flush()
    assert logger.lost == 3
    assert path.read_text().endswith("zero\n")


def test_lines_of_many_threads_stay_whole(make, path):
    logger = make()

    def write(thread):
        for number in range(300):
            logger.log(record(f"{number} " + "x" * 100, thread=thread))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 1200 + sum("lost" in line for line in lines)
    assert all(line.endswith("x" * 100) or "lost" in line for line in lines)


def test_a_time_format_has_to_give_one_line():
    assert known_time_format("%b %d %H:%M:%S") == "%b %d %H:%M:%S"
    with pytest.raises(ValueError, match="unprintable"):
        known_time_format("%H%n%M")


def test_a_link_that_somebody_else_made_is_not_followed(make, path, reports, monkeypatch):
    """In a folder of everybody's, a link would have us write where its maker cannot."""
    precious = path.with_name("precious")
    precious.write_text("somebody's only copy")
    path.symlink_to(precious)
    monkeypatch.setattr(module.os, "geteuid", lambda: 4711)
    original = os.lstat

    def lstat(name):
        status = list(original(name))
        status[4] = 1234
        return os.stat_result(status)

    monkeypatch.setattr(module.os, "lstat", lstat)
    for append in (False, True):
        make(append=append).log(record())
    assert precious.read_text() == "somebody's only copy"
    assert "cannot be written" in reports[0]


def test_a_link_of_our_own_is_followed(make, path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere.log")
    make().log(record())
    assert (tmp_path / "elsewhere.log").read_text() == "05[IKE] <home|3> a line\n"


def test_a_file_that_cannot_be_opened_anew_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "log"
    notices: list[str] = []
    old = FileLogger(FileLogConfig(str(target)), notices.append)
    old.log(record("first"))
    target.rename(tmp_path / "old")

    def refuse(*_arguments: object, **_named: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        heir = FileLogger(FileLogConfig(str(target)), notices.append, heir_of=old)
        old.close()
        heir.log(record("second"))
        heir.reopen()
        heir.log(record("third"))
    assert len(notices) == 2
    assert all("cannot be opened anew: Permission denied" in notice for notice in notices)
    heir.reopen()
    heir.log(record("fourth"))
    heir.close()
    kept = (tmp_path / "old").read_text()
    assert [word in kept for word in ("first", "second", "third")] == [True] * 3
    assert "fourth" in target.read_text()


def test_an_heir_of_another_target_takes_nothing(tmp_path: Path) -> None:
    old = FileLogger(FileLogConfig(str(tmp_path / "one")))
    heir = FileLogger(FileLogConfig(str(tmp_path / "two")), heir_of=old)
    heir.log(record("line"))
    heir.close()
    old.close()
    assert "line" in (tmp_path / "two").read_text()
    assert (tmp_path / "one").read_text() == ""


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("anew", [True, False])
def test_a_torn_line_is_ended_and_the_loss_is_told_in_the_format_of_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, as_json: bool, anew: bool
) -> None:
    room = 250
    real = os.write

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, bytes(data)[:room])
        room -= written
        return written

    config = FileLogConfig(str(path), json=as_json)
    logger = FileLogger(config, clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        for number in range(10):
            logger.log(record(f"record number {number} of some length"))
        assert logger.lost
        clock.now += RETRY_INTERVAL
        logger.log(record("still full"))
    clock.now += RETRY_INTERVAL
    if anew:
        logger.close()
        logger = FileLogger(config, clock=clock)
    logger.log(record("back"))
    logger.close()
    lines = path.read_text().splitlines()
    begin = "{" if as_json else "05[IKE]"
    torn = next(number for number, line in enumerate(lines) if not line.endswith(("length", "}")))
    rest = lines[torn + 1 :]
    assert "back" in rest[-1]
    if not anew:
        assert "log records lost before this line" in rest[0]
    if as_json:
        assert all("message" in json.loads(line) for line in lines[:torn] + rest)
    else:
        assert lines[-1].startswith(begin)


def test_a_write_that_takes_a_part_is_gone_on_with(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    logger = FileLogger(FileLogConfig(str(path), json=True))
    logger.log(record("one"))
    logger.log(record("two"))
    logger.close()
    assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["one", "two"]
