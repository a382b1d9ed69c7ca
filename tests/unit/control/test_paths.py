"""Between which addresses a connection is initiated."""

from __future__ import annotations

import pytest

from charon_core.bus.bus import Bus
from charon_core.config.ike import IkeConfig
from charon_core.control.paths import PathFinder
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.static_net import StaticNet
from charon_core.network.packet import Endpoint
from tests.exchange.world import Recorder

NAMES = {
    "sun.example.org": ("192.0.2.2", "2001:db8::2"),
    "moon.example.org": ("192.0.2.1", "2001:db8::1"),
}


class FixedNames:
    def look_up(self, name: str) -> tuple[str, ...]:
        return NAMES.get(name, (name,) if name[0].isdigit() or ":" in name else ())

    known = look_up


@pytest.fixture
def finder():
    bus = Bus()
    recorder = Recorder()
    bus.add_logger(recorder)
    net = StaticNet({"192.0.2.1": "eth0", "2001:db8::1": "eth0"}, sources={"203.0.113.9": None})
    made = PathFinder(bus, KernelInterface(NullBackend(), net), FixedNames(), lambda natt: 500)
    made.lines = recorder.lines
    return made


@pytest.mark.parametrize(
    ("local", "remote", "expected"),
    [
        (("%any",), ("192.0.2.2",), ("192.0.2.1", "192.0.2.2")),
        (("%any",), ("2001:db8::2",), ("2001:db8::1", "2001:db8::2")),
        (("192.0.2.1",), ("sun.example.org",), ("192.0.2.1", "192.0.2.2")),
        (("2001:db8::1",), ("sun.example.org",), ("2001:db8::1", "2001:db8::2")),
        (("moon.example.org",), ("2001:db8::2",), ("2001:db8::1", "2001:db8::2")),
        (("%any",), ("nowhere.example.org", "192.0.2.3"), ("192.0.2.1", "192.0.2.3")),
        (("%any",), ("10.0.0.0/8", "192.0.2.3"), ("192.0.2.1", "192.0.2.3")),
    ],
)
def test_first_usable_pair_of_one_family(finder, local, remote, expected) -> None:
    config = IkeConfig(name="net", local=local, remote=remote, remote_port=501)
    assert finder.find(config) == (Endpoint(expected[0], 500), Endpoint(expected[1], 501))


@pytest.mark.parametrize(
    "remote", [("%any",), ("10.0.0.0/8",), ("nowhere.example.org",), ("203.0.113.9",)]
)
def test_no_usable_address_is_said_with_what_was_configured(finder, remote) -> None:
    assert finder.find(IkeConfig(name="net", remote=remote)) is None
    (line,) = finder.lines
    assert "unable to initiate 'net'" in line
    assert remote[0] in line


def test_what_is_known_is_enough_for_the_next_try(finder) -> None:
    config = IkeConfig(name="net", remote=("sun.example.org",))
    assert finder.find_known(config) == Endpoint("192.0.2.2", 500)
    assert finder.find_known(IkeConfig(name="net", remote=("%any",))) is None
