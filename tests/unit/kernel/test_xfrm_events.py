"""Multicast messages of XFRM become events of this daemon, or nothing."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel.interface import IpsecProtocol
from charon_core.kernel.netlink import Frame, OverrunError
from charon_core.kernel.xfrm import constants, messages
from charon_core.kernel.xfrm.events import XfrmEvents
from charon_core.network.packet import Endpoint
from tests.unit.kernel.factories import HERE, THERE, Recorder, ts

OURS = (0xC1234567, HERE, IpsecProtocol.ESP)


class Desk:
    """The events with what they lead to, without a socket."""

    def __init__(self) -> None:
        self.told = Recorder()
        self.lines: list[str] = []
        self.events = XfrmEvents.__new__(XfrmEvents)
        self.events._events = self.told
        self.events._log = lambda level, message, *args: self.lines.append(message % args)
        self.events._is_ours = lambda *sa: sa == OURS
        self.events._closed = False

    def dispatch(self, kind: int, body: bytes) -> None:
        header = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0)
        self.events.dispatch(Frame(kind, 0, 0, 0, header + body))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def body_of(name: str, attrs: list[Any] | None = None, **fields: Any) -> bytes:
    message = getattr(messages, name)()
    message.update(fields)
    message["attrs"] = attrs or []
    return messages.encode_body(message)


def state(**changes: Any) -> dict[str, Any]:
    identity = {"daddr": HERE, "spi": 0xC1234567, "proto": 50}
    return {"id": identity | changes, "family": socket.AF_INET, "saddr": THERE, "reqid": 4}


def acquire(reqid: int = 9) -> bytes:
    template = {"id": {"daddr": THERE, "proto": 50}, "family": socket.AF_INET, "reqid": reqid}
    selector = {
        "saddr": "10.1.0.1",
        "daddr": "10.2.0.1",
        "prefixlen_s": 32,
        "prefixlen_d": 32,
        "family": socket.AF_INET,
        "proto": 6,
        "sport": 1000,
        "sport_mask": 0xFFFF,
        "dport": 80,
        "dport_mask": 0xFFFF,
    }
    return body_of(
        "user_acquire",
        [("XFRMA_TMPL", [template])],
        id={"daddr": THERE, "proto": 50},
        saddr=HERE,
        sel=selector,
    )


MAPPING = body_of(
    "user_mapping",
    id={"daddr": HERE, "spi": 0xC1234567, "family": socket.AF_INET, "proto": 50},
    reqid=4,
    old_saddr=THERE,
    new_saddr="192.0.2.99",
    old_sport=4500,
    new_sport=1025,
)


@pytest.mark.parametrize("hard", [False, True])
def test_expire(desk: Desk, hard: bool) -> None:
    desk.dispatch(constants.XFRM_MSG_EXPIRE, body_of("user_expire", state=state(), hard=hard))
    assert desk.told.seen == [("expire", IpsecProtocol.ESP, 0xC1234567, HERE, hard)]


@pytest.mark.parametrize(
    "changes", [{"spi": 0xC0000000}, {"daddr": THERE}, {"proto": 51}, {"proto": 108}]
)
def test_expire_of_others_is_not_ours(desk: Desk, changes: dict[str, Any]) -> None:
    body = body_of("user_expire", state=state(**changes), hard=1)
    desk.dispatch(constants.XFRM_MSG_EXPIRE, body)
    assert desk.told.seen == []


def test_acquire(desk: Desk) -> None:
    desk.dispatch(constants.XFRM_MSG_ACQUIRE, acquire())
    assert desk.told.seen == [
        ("acquire", 9, ts("10.1.0.1[tcp/1000]"), ts("10.2.0.1[tcp/80]")),
    ]


def test_acquire_of_somebody_elses_policy(desk: Desk) -> None:
    desk.dispatch(constants.XFRM_MSG_ACQUIRE, acquire(reqid=0))
    assert desk.told.seen == []
    assert "without a reqid" in desk.lines[0]


def test_mapping(desk: Desk) -> None:
    desk.dispatch(constants.XFRM_MSG_MAPPING, MAPPING)
    assert desk.told.seen == [
        ("mapping", 4, 0xC1234567, Endpoint(THERE, 4500), Endpoint("192.0.2.99", 1025)),
    ]


def test_other_messages_are_skipped(desk: Desk) -> None:
    desk.dispatch(constants.XFRM_MSG_NEWSA, b"")
    assert desk.told.seen == desk.lines == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (constants.XFRM_MSG_EXPIRE, body_of("user_expire", state=state(), hard=1)),
        (constants.XFRM_MSG_ACQUIRE, acquire()),
        (constants.XFRM_MSG_MAPPING, MAPPING),
    ],
)
def test_truncated_messages_are_logged(desk: Desk, kind: int, body: bytes) -> None:
    size = messages.MESSAGE_CLASSES[kind].structure.size
    for length in range(0, size, 7):
        desk.dispatch(kind, body[:length])
    assert desk.told.seen == []
    assert all("was not understood" in line for line in desk.lines)
    assert len(desk.lines) == len(range(0, size, 7))


@given(
    st.sampled_from(
        [constants.XFRM_MSG_EXPIRE, constants.XFRM_MSG_ACQUIRE, constants.XFRM_MSG_MAPPING]
    ),
    st.binary(max_size=500),
)
def test_random_octets_do_not_end_the_loop(kind: int, body: bytes) -> None:
    Desk().dispatch(kind, body)


def test_lost_events_are_said(desk: Desk) -> None:
    class Overrun:
        def receive(self, timeout: float | None) -> list[Frame]:
            raise OverrunError

    desk.events._socket = Overrun()  # type: ignore[assignment]
    desk.events.run()
    assert "were lost" in desk.lines[0]
