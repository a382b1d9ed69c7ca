"""A daemon under attack on loopback: strangers cost little, and everybody else is served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import tomllib
from typing import TYPE_CHECKING

import pytest

from charon_core.config.keywords import parse_proposals
from charon_core.crypto.key_exchange import generate
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import KeyExchange, Nonce, Notify, SecurityAssociation
from charon_core.encoding.registry import ExchangeType, KeyExchangeId, NotifyType, ProtocolId
from tests.system.test_daemon import CHARON, Daemon, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROPOSALS = parse_proposals("aes128gcm16-prfsha256-x25519!", ProtocolId.IKE)
PUBLIC = generate(KeyExchangeId.CURVE25519).public_value
PATIENCE = 10.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as running:
        running.wait_ready()
        yield running
        assert running.end() == 0
        assert "Traceback" not in running.log


@pytest.fixture
def attacker(daemon: Daemon) -> Iterator[socket.socket]:
    settings = tomllib.loads((daemon.root / "etc/charon/charon.toml").read_text())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.7", 0))
        udp.connect(("127.0.0.1", settings["network"]["port"]))
        udp.settimeout(PATIENCE)
        yield udp


def init(*, cookie: bytes = b"", spi: bytes = b"", nonce: bytes = b"") -> Message:
    payloads = (
        SecurityAssociation(proposals=tuple(p.to_wire(1, b"") for p in PROPOSALS)),
        KeyExchange(method=KeyExchangeId.CURVE25519, data=PUBLIC),
        Nonce(data=nonce or os.urandom(32)),
    )
    first = (Notify.of(NotifyType.COOKIE, cookie),) if cookie else ()
    spi = spi or os.urandom(8)
    return Message(spi, bytes(8), ExchangeType.IKE_SA_INIT, True, False, 0, (*first, *payloads))


def answer(udp: socket.socket, request: Message) -> tuple[str, Message]:
    """Send a request; returns what notify comes back, and in what."""
    udp.send(request.encode())
    message = Message.parse(udp.recv(65536))
    (notify,) = message.payloads
    assert isinstance(notify, Notify)
    return NotifyType(notify.notify_type).name, message


def test_refused_requests_lead_to_cookies_and_then_to_silence(
    daemon: Daemon, attacker: socket.socket
) -> None:
    """What is refused at once is never half-open, but costs as much: it has to count as well."""
    kinds = [answer(attacker, init())[0] for _ in range(4)]
    assert kinds == ["NO_PROPOSAL_CHOSEN"] * 3 + ["COOKIE"]
    for expected in ("NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN", None):
        request = init(nonce=bytes(32), spi=b"attacker")
        kind, message = answer(attacker, request)
        assert kind == "COOKIE"
        cookie = message.payloads[0].data
        again = init(cookie=cookie, nonce=bytes(32), spi=b"attacker")
        if expected is not None:
            assert answer(attacker, again)[0] == expected
        else:
            attacker.send(again.encode())
            daemon.wait_log("half-open IKE_SAs with 127.0.0.7, limit 5")


def test_a_flood_fills_neither_the_log_nor_the_daemon(
    daemon: Daemon, attacker: socket.socket
) -> None:
    for number in range(3000):
        attacker.send(
            (
                init().encode(),
                os.urandom(number % 200),
                b"\0" * 28,
                os.urandom(8) + init().encode()[8:-1],
            )[number % 4]
        )
    assert ask(daemon.root / "var/run/charon.ctl").startswith("Security Associations (0 up")
    assert len(daemon.log) < 30_000
    assert "job '" not in daemon.log


def test_what_went_wrong_is_explained_afterwards(daemon: Daemon, attacker: socket.socket) -> None:
    for _ in range(3):
        assert answer(attacker, init())[0] == "NO_PROPOSAL_CHOSEN"
    file = daemon.root / "var/run/charon.verdicts"
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert file.stat().st_mode & 0o777 == 0o640
    assert daemon.end() == 0

    def explain(*words: str) -> str:
        command = [str(CHARON), "explain", "--root", str(daemon.root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    shown = explain("127.0.0.7")
    assert "127.0.0.7, 3 times: peer-config-missing" in shown
    assert "load a connection whose addresses" in " ".join(shown.split())
    (line,) = explain("--json").splitlines()
    assert json.loads(line)["times"] == 3
    assert "nothing has gone wrong with 'nobody'" in explain("nobody")
