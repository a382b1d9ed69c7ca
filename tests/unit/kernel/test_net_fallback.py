"""The net backend where rtnetlink cannot be had."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from charon_core.kernel import net as net_module
from charon_core.kernel.interface import KernelError, KernelUnavailable, NetBackend, Route
from charon_core.kernel.net import RtnetlinkNet
from tests.unit.kernel.factories import Recorder, Surroundings


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> RtnetlinkNet:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(net_module, "NetlinkSocket", refuse)
    return RtnetlinkNet(Surroundings().context)


def test_source_address_comes_from_a_connected_socket(deaf: NetBackend) -> None:
    assert deaf.source_address("127.0.0.1") == "127.0.0.1"
    assert deaf.source_address("not an address") is None


def test_other_questions_have_no_answer(deaf: NetBackend) -> None:
    assert deaf.local_addresses() == []
    assert not deaf.is_local("127.0.0.1")
    assert deaf.interface_of("127.0.0.1") is None
    assert deaf.mtu("127.0.0.1") is None


def test_changes_fail(deaf: NetBackend) -> None:
    with pytest.raises(KernelError, match="Protocol not supported"):
        deaf.add_route(Route("10.2.0.0/16", "lo"))
    with pytest.raises(KernelError, match="Protocol not supported"):
        deaf.add_address("10.7.0.1", "lo")
    with pytest.raises(KernelError, match="there is no interface nope0"):
        deaf.add_route(Route("10.2.0.0/16", "nope0"))


def test_start_says_why(deaf: NetBackend) -> None:
    with pytest.raises(KernelUnavailable, match="no rtnetlink: Protocol not supported"):
        deaf.start(Recorder())
    deaf.stop()
