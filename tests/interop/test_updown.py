"""The command of a connection, run by a whole daemon while strongSwan is the peer."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.interop.network import wait_until
from tests.interop.pair import paired
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from tests.interop.lab import Lab
    from tests.interop.pair import Pair
    from tests.interop.process import Log

_numbers = count(1)
SCRIPT = """#!/bin/sh
sleep 0.1
echo "$PLUTO_VERB $PLUTO_CONNECTION $PLUTO_MY_CLIENT $PLUTO_PEER_CLIENT $PLUTO_INTERFACE" >> $0.log
echo "said $PLUTO_PEER_ID"
"""


@pytest.fixture(scope="module")
def script(folder: pathlib.Path) -> pathlib.Path:
    file = folder / "updown"
    file.write_text(SCRIPT)
    file.chmod(0o755)
    return file


@pytest.fixture(scope="module")
def tunnel(script: pathlib.Path) -> Tunnel:
    return Tunnel("scripted", next(_numbers), selectors=2, ours=(f'leftupdown="{script} x"',))


@pytest.fixture(scope="module")
def pair(lab: Lab, folder: pathlib.Path, reported: list[Log], tunnel: Tunnel) -> Iterator[Pair]:
    with paired(lab, folder, reported, [tunnel]) as made:
        yield made


def lines(tunnel: Tunnel, verb: str) -> set[str]:
    return {
        f"{verb}-client scripted {tunnel.network(Side.OURS, here)} "
        f"{tunnel.network(Side.THEIRS, there)} wan"
        for here in (1, 2)
        for there in (1, 2)
    }


def test_the_command_is_run_in_order(pair: Pair, tunnel: Tunnel, script: pathlib.Path) -> None:
    log = script.with_name("updown.log")
    pair.bring_up(tunnel)
    pair.take_down(tunnel, Side.OURS)
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 8, "all have run")
    ran = log.read_text().splitlines()
    assert set(ran[:4]) == lines(tunnel, "up")
    assert set(ran[4:]) == lines(tunnel, "down")
    assert "updown: up-client of scripted (theirs-scripted.test): said theirs" in (
        pair.ours.everything_said()
    )


def test_a_daemon_that_stops_takes_its_rules_along(
    lab: Lab, pair: Pair, tunnel: Tunnel, script: pathlib.Path
) -> None:
    log = script.with_name("updown.log")
    log.unlink(missing_ok=True)
    pair.bring_up(tunnel)
    assert pair.ours.stop() == 0
    ran = log.read_text().splitlines()
    assert set(ran[4:]) == lines(tunnel, "down")
    assert len(ran) == 8
    pair.ours.start(wait_for=tunnel.name)
