from __future__ import annotations

import threading

import pytest

from charon_core.bus import AlertKind, Bus, Group, Level, LogRecord, SaRef
from charon_core.bus.bus import MAX_DEPTH, MAX_FAILURES, SLOW_SECONDS
from charon_core.bus.events import (
    AlertRaised,
    ChildRef,
    ChildUp,
    Event,
    IkeDown,
    IkeKeysDerived,
    IkeUp,
)
from charon_core.bus.listener import Listener, Logger

HOME = SaRef("home", 3)


class Stopwatch:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Recorder:
    """A logger that keeps what it gets."""

    def __init__(self, level=Level.CONTROL, name="recorder", **groups):
        self.name = name
        self.default = level
        self.groups = groups
        self.records: list[LogRecord] = []

    def level(self, group):
        return self.groups.get(group.name, self.default)

    def log(self, record):
        self.records.append(record)

    @property
    def texts(self):
        return [record.text for record in self.records]


class Ear:
    """A listener that keeps what it gets."""

    def __init__(self, *events, name="ear", private=None, action=None):
        self.name = name
        self.events = events
        self.heard = []
        self.action = action
        if private is not None:
            self.private = private

    def on_event(self, event):
        self.heard.append(event)
        if self.action is not None:
            self.action(event)


@pytest.fixture
def stopwatch():
    return Stopwatch()


@pytest.fixture
def bus(stopwatch):
    return Bus(clock=lambda: 1234.5, stopwatch=stopwatch)


@pytest.fixture
def recorder(bus):
    recorder = Recorder()
    bus.add_logger(recorder)
    return recorder


def keys_derived():
    return IkeKeysDerived(HOME, b"i" * 8, b"r" * 8, 20, 128, None, {"SK_d": b"top secret"})


# -- log lines --


def test_a_record_tells_everything(bus, recorder):
    bus.set_sa(HOME)
    bus.log(Group.IKE, Level.AUDIT, "IKE_SA %s established after %d tries", "home", 2)
    (record,) = recorder.records
    assert record == LogRecord(
        Group.IKE, Level.AUDIT, "IKE_SA home established after 2 tries", 1234.5, 1, HOME
    )


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("line", [level for level in Level if level >= 0])
def test_a_logger_gets_the_lines_up_to_its_level(bus, level, line):
    recorder = Recorder(level)
    bus.add_logger(recorder)
    recorder.records.clear()
    assert bus.wants(Group.NET, line) is (line <= level)
    bus.log(Group.NET, line, "line")
    assert recorder.texts == (["line"] if line <= level else [])


def test_levels_differ_by_group(bus):
    bus.add_logger(Recorder(Level.SILENT, ENC=Level.RAW))
    assert bus.wants(Group.ENC, Level.RAW)
    assert not bus.wants(Group.IKE, Level.AUDIT)


def test_without_loggers_nothing_is_wanted(bus):
    assert not any(bus.wants(group, level) for group in Group for level in range(5))


def test_nothing_is_formatted_that_nobody_wants(bus, recorder):
    class Costly:
        def __str__(self):
            raise AssertionError("formatted")

    bus.log(Group.IKE, Level.MORE, "%s", Costly())
    assert recorder.records == []


def test_each_logger_gets_only_what_it_wants(bus):
    quiet, loud = Recorder(Level.AUDIT), Recorder(Level.MORE)
    bus.add_logger(quiet)
    bus.add_logger(loud)
    for level in (Level.AUDIT, Level.CONTROL, Level.MORE, Level.RAW):
        bus.log(Group.IKE, level, "level %d", level)
    assert quiet.texts == ["level 0"]
    assert loud.texts == ["level 0", "level 1", "level 2"]


def test_levels_change_with_reconfigure(bus, recorder):
    recorder.default = Level.MORE
    assert not bus.wants(Group.IKE, Level.MORE)
    bus.reconfigure()
    assert bus.wants(Group.IKE, Level.MORE)
    recorder.default = Level.SILENT
    bus.reconfigure()
    assert not bus.wants(Group.IKE, Level.AUDIT)


def test_a_removed_logger_gets_nothing_and_wants_nothing(bus, recorder):
    assert bus.remove_logger(recorder)
    assert not bus.remove_logger(recorder)
    assert not bus.wants(Group.IKE, Level.AUDIT)
    bus.log(Group.IKE, Level.AUDIT, "gone")
    assert recorder.records == []


def test_a_logger_added_twice_gets_each_line_once(bus, recorder):
    recorder.default = Level.MORE
    bus.add_logger(recorder)
    bus.log(Group.IKE, Level.MORE, "once")
    assert recorder.texts == ["once"]


def test_a_percent_sign_without_arguments_stays(bus, recorder):
    bus.log(Group.IKE, Level.AUDIT, "%any at 100%")
    assert recorder.texts == ["%any at 100%"]


@pytest.mark.parametrize(
    ("message", "args"),
    [("%d tries", ("many",)), ("no placeholder", (1,)), ("%s %s", (1,)), ("%q", (1,))],
)
def test_a_message_that_does_not_fit_its_arguments_is_logged_all_the_same(
    bus, recorder, message, args
):
    bus.log(Group.IKE, Level.AUDIT, message, *args)
    assert recorder.texts[0].startswith(message)


def test_an_argument_that_cannot_be_shown_does_not_harm_the_caller(bus, recorder):
    class Broken:
        def __str__(self):
            raise RuntimeError("broken")

    bus.log(Group.IKE, Level.AUDIT, "peer %s", Broken())
    assert recorder.texts == ["peer %s [not formatted: RuntimeError]"]


@pytest.mark.parametrize("level", [-7, 5, 100])
def test_a_level_out_of_range_does_no_harm(bus, recorder, level):
    bus.log(Group.IKE, level, "odd")
    assert all(0 <= record.level <= 4 for record in recorder.records)


def test_private_level_is_announced(bus):
    plain, secret = Recorder(), Recorder(Level.CONTROL, name="secrets", IKE=Level.PRIVATE)
    bus.add_logger(plain)
    bus.add_logger(secret)
    assert plain.texts == [
        "logger secrets takes level 4 of IKE: keys and passwords will be in its log"
    ]
    bus.reconfigure()
    assert len(plain.texts) == 1, "nothing changed"
    secret.default = Level.PRIVATE
    bus.reconfigure()
    assert "all groups" in plain.texts[-1]


def test_the_current_ike_sa_belongs_to_the_thread(bus, recorder):
    bus.set_sa(HOME)
    seen = []

    def elsewhere():
        seen.append(bus.current_sa)
        bus.set_sa(SaRef("other", 9))
        bus.log(Group.IKE, Level.AUDIT, "elsewhere")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    bus.log(Group.IKE, Level.AUDIT, "here")
    bus.set_sa(None)
    bus.log(Group.IKE, Level.AUDIT, "none")
    assert seen == [None]
    assert [(r.sa and r.sa.name, r.thread) for r in recorder.records] == [
        ("other", 1), ("home", 2), (None, 2),
    ]  # fmt: skip


# -- isolation of loggers --


def test_a_raising_logger_is_named_and_the_others_are_served(bus, recorder):
    class Broken(Recorder):
        def log(self, record):
            raise OSError("disk on fire")

    bus.add_logger(Broken(name="broken"))
    last = Recorder(name="last")
    bus.add_logger(last)
    bus.log(Group.IKE, Level.AUDIT, "line")
    assert "line" in recorder.texts
    assert "line" in last.texts
    (report,) = [text for text in recorder.texts if text != "line"]
    assert report.startswith("logger broken raised OSError at ")
    assert report.endswith("disk on fire")


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), RecursionError()])
def test_no_exception_of_a_logger_gets_through(bus, error):
    class Broken(Recorder):
        def log(self, record):
            raise error

    bus.add_logger(Broken())
    bus.log(Group.IKE, Level.AUDIT, "line")


def test_a_logger_that_logs_does_not_get_its_own_lines(bus, recorder):
    class Chatty(Recorder):
        def log(self, record):
            super().log(record)
            bus.log(Group.LIB, Level.AUDIT, "I got %s", record.text)

    chatty = Chatty()
    bus.add_logger(chatty)
    bus.log(Group.IKE, Level.AUDIT, "line")
    assert chatty.texts == ["line"]
    assert recorder.texts == ["line", "I got line"]


def test_two_loggers_that_log_do_not_talk_for_ever(bus):
    class Chatty(Recorder):
        def log(self, record):
            super().log(record)
            bus.log(Group.LIB, Level.AUDIT, "echo")

    first, second = Chatty(), Chatty()
    bus.add_logger(first)
    bus.add_logger(second)
    bus.log(Group.IKE, Level.AUDIT, "line")
    assert len(first.texts) <= 3
    assert len(second.texts) <= 3


def test_a_logger_that_goes_on_failing_is_removed_with_an_alert(bus, recorder):
    class Broken(Recorder):
        def log(self, record):
            raise ValueError("no")

    alerts = Ear(AlertRaised)
    bus.add_listener(alerts)
    bus.add_logger(Broken(Level.RAW, name="broken"))
    for _ in range(MAX_FAILURES):
        bus.log(Group.IKE, Level.AUDIT, "line")
    assert not bus.wants(Group.IKE, Level.RAW)
    assert "removed" in recorder.texts[-2] + recorder.texts[-1]
    assert [event.alert.kind for event in alerts.heard] == [AlertKind.LISTENER_FAILURE]


def test_failures_are_reported_once_in_a_while(bus, recorder):
    class Broken(Recorder):
        def log(self, record):
            raise ValueError("no")

    bus.add_logger(Broken(name="broken"))
    for _ in range(MAX_FAILURES - 1):
        bus.log(Group.IKE, Level.AUDIT, "line")
    assert sum("broken" in text for text in recorder.texts) == 1


def test_failures_that_are_not_in_a_row_are_forgiven(bus):
    class Moody(Recorder):
        def log(self, record):
            super().log(record)
            if len(self.records) % 2:
                raise ValueError("moody")

    moody = Moody()
    bus.add_logger(moody)
    for _ in range(4 * MAX_FAILURES):
        bus.log(Group.IKE, Level.AUDIT, "line")
    assert len(moody.texts) == 4 * MAX_FAILURES


def test_a_slow_logger_is_reported_by_name(bus, recorder, stopwatch):
    class Slow(Recorder):
        def log(self, record):
            stopwatch.now += 2 * SLOW_SECONDS

    bus.add_logger(Slow(name="snail"))
    bus.log(Group.IKE, Level.AUDIT, "one")
    bus.log(Group.IKE, Level.AUDIT, "two")
    assert [text for text in recorder.texts if "snail" in text] == [
        "logger snail took 0.200 s, and whoever speaks waits for it"
    ]


def test_a_logger_whose_levels_fail_stays_silent(bus, recorder):
    class Broken(Recorder):
        def level(self, group):
            raise KeyError(group)

    bus.add_logger(Broken(name="broken"))
    assert "broken stays silent" in recorder.texts[0]
    assert not bus.wants(Group.IKE, Level.MORE)


# -- events --


def test_an_event_reaches_those_who_named_its_class(bus):
    ups, all_events, downs = Ear(IkeUp), Ear(Event), Ear(IkeDown)
    for ear in (ups, all_events, downs):
        bus.add_listener(ear)
    event = IkeUp(HOME)
    bus.publish(event)
    assert ups.heard == all_events.heard == [event]
    assert downs.heard == []


def test_listening_tells_whether_anybody_is(bus):
    ear = Ear(IkeUp)
    assert not bus.listening(IkeUp)
    bus.add_listener(ear)
    assert bus.listening(IkeUp)
    assert not bus.listening(IkeDown)
    bus.remove_listener(ear)
    assert not bus.listening(IkeUp)


@pytest.mark.parametrize("wanted", [(IkeKeysDerived,), (Event,), (IkeUp, IkeKeysDerived)])
@pytest.mark.parametrize("private", [None, False, 1, "yes"])
def test_keys_reach_nobody_who_does_not_declare_it(bus, wanted, private):
    ear = Ear(*wanted, private=private)
    bus.add_listener(ear)
    bus.publish(keys_derived())
    assert ear.heard == []
    assert not bus.listening(IkeKeysDerived)


def test_keys_reach_those_who_declare_it(bus):
    ear = Ear(IkeKeysDerived, private=True)
    bus.add_listener(ear)
    bus.publish(keys_derived())
    assert ear.heard[0].keys["SK_d"] == b"top secret"


def test_keys_are_not_shown(bus):
    assert "secret" not in repr(keys_derived())


def test_a_removed_listener_hears_nothing(bus):
    ear = Ear(IkeUp)
    bus.add_listener(ear)
    assert bus.remove_listener(ear)
    assert not bus.remove_listener(ear)
    bus.publish(IkeUp(HOME))
    assert ear.heard == []


def test_a_listener_added_again_is_asked_anew(bus):
    ear = Ear(IkeUp)
    bus.add_listener(ear)
    ear.events = (IkeDown,)
    bus.add_listener(ear)
    bus.publish(IkeUp(HOME))
    bus.publish(IkeDown(HOME))
    assert ear.heard == [IkeDown(HOME)]


@pytest.mark.parametrize("events", [[IkeUp], (int,), ("IkeUp",), None, (IkeUp(HOME),)])
def test_a_listener_has_to_name_event_classes(bus, events):
    ear = Ear()
    ear.events = events
    with pytest.raises(TypeError, match="ear"):
        bus.add_listener(ear)


def test_a_raising_listener_is_named_and_the_others_are_served(bus, recorder):
    def fail(event):
        raise SystemExit("no more")

    last = Ear(IkeUp)
    bus.add_listener(Ear(IkeUp, name="broken", action=fail))
    bus.add_listener(last)
    bus.publish(IkeUp(HOME))
    assert last.heard == [IkeUp(HOME)]
    assert "listener broken raised SystemExit" in recorder.texts[0]


def test_a_listener_that_goes_on_failing_is_removed(bus, recorder):
    ear = Ear(IkeUp, action=lambda event: 1 / 0)
    bus.add_listener(ear)
    for _ in range(2 * MAX_FAILURES):
        bus.publish(IkeUp(HOME))
    assert len(ear.heard) == MAX_FAILURES
    assert not bus.listening(IkeUp)


def test_a_slow_listener_is_reported_by_name(bus, recorder, stopwatch):
    def dawdle(event):
        stopwatch.now += 1.0

    bus.add_listener(Ear(IkeUp, name="snail", action=dawdle))
    bus.publish(IkeUp(HOME))
    assert recorder.texts == ["listener snail took 1.000 s, and whoever speaks waits for it"]


def test_a_listener_may_publish_and_log(bus, recorder):
    def on_up(event):
        bus.log(Group.IKE, Level.AUDIT, "up")
        bus.publish(ChildUp(HOME, ChildRef("net", 1, 1)))

    ups, children = Ear(IkeUp, action=on_up), Ear(ChildUp)
    bus.add_listener(ups)
    bus.add_listener(children)
    bus.publish(IkeUp(HOME))
    assert len(children.heard) == 1
    assert recorder.texts == ["up"]


def test_events_do_not_chase_their_tails(bus, recorder):
    ear = Ear(IkeUp, action=bus.publish)
    bus.add_listener(ear)
    bus.publish(IkeUp(HOME))
    assert len(ear.heard) == MAX_DEPTH
    assert "not published" in recorder.texts[0]
    ear.heard.clear()
    ear.action = None
    bus.publish(IkeUp(HOME))
    assert len(ear.heard) == 1


def test_a_listener_may_remove_itself_and_add_another(bus):
    late = Ear(IkeUp)

    def swap(event):
        bus.remove_listener(ear)
        bus.add_listener(late)

    ear = Ear(IkeUp, action=swap)
    bus.add_listener(ear)
    bus.publish(IkeUp(HOME))
    bus.publish(IkeUp(HOME))
    assert len(ear.heard) == 1
    assert len(late.heard) == 1


def test_no_lock_is_held_while_a_listener_runs(bus):
    """A listener waits for another thread that uses every call of the bus."""

    def use_the_bus():
        other, logger = Ear(IkeDown), Recorder()
        bus.add_listener(other)
        bus.add_logger(logger)
        bus.log(Group.IKE, Level.AUDIT, "x")
        bus.publish(IkeDown(HOME))
        bus.reconfigure()
        bus.remove_logger(logger)
        bus.remove_listener(other)

    finished = []

    def wait_for_another_thread(event):
        thread = threading.Thread(target=use_the_bus, daemon=True)
        thread.start()
        thread.join(5)
        finished.append(not thread.is_alive())

    bus.add_listener(Ear(IkeUp, action=wait_for_another_thread))
    bus.publish(IkeUp(HOME))
    assert finished == [True]


def test_an_alert_carries_kind_sa_text_and_details(bus):
    ear = Ear(AlertRaised)
    bus.add_listener(ear)
    bus.set_sa(HOME)
    bus.alert(AlertKind.RETRANSMIT, "no answer", message_id="7")
    (event,) = ear.heard
    assert event.alert.kind is AlertKind.RETRANSMIT
    assert event.alert.sa == HOME
    assert event.alert.text == "no answer"
    assert event.alert.details == {"message_id": "7"}


def test_receivers_fit_their_protocols():
    assert isinstance(Recorder(), Logger)
    assert isinstance(Ear(IkeUp), Listener)


def test_groups_count_without_gaps():
    assert [int(group) for group in Group] == list(range(len(Group)))
    assert " ".join(group.name for group in Group) == (
        "DMN MGR IKE CHD JOB CFG KNL NET ASN ENC TNC IMC IMV PTS TLS APP ESP LIB"
    )


def test_threads_log_and_publish_while_receivers_come_and_go(bus):
    steady, ear = Recorder(name="steady"), Ear(IkeUp)
    bus.add_logger(steady)
    bus.add_listener(ear)
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            logger, listener = Recorder(Level.RAW), Ear(Event)
            bus.add_logger(logger)
            bus.add_listener(listener)
            bus.remove_logger(logger)
            bus.remove_listener(listener)

    def speak():
        for _ in range(1000):
            bus.log(Group.IKE, Level.CONTROL, "line")
            bus.publish(IkeUp(HOME))

    churner = threading.Thread(target=churn)
    speakers = [threading.Thread(target=speak) for _ in range(3)]
    churner.start()
    for thread in speakers:
        thread.start()
    for thread in speakers:
        thread.join()
    stop.set()
    churner.join()
    assert steady.texts == ["line"] * 3000
    assert len(ear.heard) == 3000
    assert {record.thread for record in steady.records} <= {1, 2, 3}
    assert not bus.wants(Group.IKE, Level.MORE)
