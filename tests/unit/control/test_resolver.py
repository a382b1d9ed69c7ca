"""Host names: looked up when asked to, remembered for those who must not wait."""

from __future__ import annotations

import socket

import pytest

from charon_core.control.resolver import REFRESH_INTERVAL, Resolver, is_address


class Names:
    """Stands for the system's resolver."""

    def __init__(self) -> None:
        self.known = {"sun.example.org": ["192.0.2.1", "2001:db8::1", "192.0.2.1"]}
        self.asked: list[str] = []

    def getaddrinfo(self, name: str, *_: object, **__: object):
        self.asked.append(name)
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, 0)) for address in self.known[name]]


def resolver_of(submit) -> Resolver:
    return Resolver(submit, lambda _job, _delay: None)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("sun.example.org", False),
        ("192.0.2", False),
        ("", False),
        ("192.0.2.1/24", False),
    ],
)
def test_addresses_are_told_from_names(text: str, expected: bool) -> None:
    assert is_address(text) is expected


def test_an_address_is_never_looked_up(names: Names) -> None:
    resolver = resolver_of(lambda _job: True)
    assert resolver.look_up("192.0.2.9") == ("192.0.2.9",)
    assert resolver.known("2001:db8::9") == ("2001:db8::9",)
    assert names.asked == []


def test_a_name_gives_each_address_once_in_order(names: Names) -> None:
    assert resolver_of(lambda _job: True).look_up("sun.example.org") == ("192.0.2.1", "2001:db8::1")
    assert names.asked == ["sun.example.org"]


def test_what_was_known_counts_while_the_name_cannot_be_resolved(names: Names) -> None:
    resolver = resolver_of(lambda _job: True)
    resolver.look_up("sun.example.org")
    names.known.clear()
    assert resolver.look_up("sun.example.org") == ("192.0.2.1", "2001:db8::1")
    assert resolver.look_up("mars.example.org") == ()


def test_asking_what_is_known_waits_for_nobody_and_looks_up_once(names: Names) -> None:
    jobs = []
    resolver = resolver_of(lambda job: jobs.append(job) is None)
    assert resolver.known("sun.example.org") == ()
    assert resolver.known("sun.example.org") == ()
    assert names.asked == []
    assert len(jobs) == 1
    jobs[0].execute()
    assert resolver.known("sun.example.org") == ("192.0.2.1", "2001:db8::1")
    assert len(jobs) == 2


def test_a_refused_job_does_not_block_later_lookups(names: Names) -> None:
    answers = iter([False, True])
    jobs = []
    resolver = resolver_of(lambda job: jobs.append(job) is None and next(answers))
    resolver.known("sun.example.org")
    resolver.known("sun.example.org")
    assert len(jobs) == 2


def test_a_changed_address_is_found_at_the_next_try(names: Names) -> None:
    resolver = resolver_of(lambda _job: True)
    resolver.look_up("sun.example.org")
    names.known["sun.example.org"] = ["192.0.2.7"]
    assert resolver.look_up("sun.example.org") == ("192.0.2.7",)


def test_names_are_looked_up_again_from_time_to_time(names: Names) -> None:
    timers = []
    resolver = Resolver(
        lambda _job: True, lambda job, delay: timers.append((job, delay)) or object()
    )
    resolver.look_up("SUN.example.org")
    resolver.look_up("sun.example.org")
    ((job, delay),) = timers
    assert delay == REFRESH_INTERVAL
    assert list(resolver.names_of("192.0.2.1")) == ["sun.example.org"]
    names.known["sun.example.org"] = ["192.0.2.7"]
    job.execute()
    assert list(resolver.names_of("192.0.2.1")) == []
    assert list(resolver.names_of("192.0.2.7")) == ["sun.example.org"]
    assert len(timers) == 2
