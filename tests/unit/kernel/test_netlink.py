"""The netlink transport: framing, answers, errors, dumps, events."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.kernel import netlink
from charon_core.kernel.netlink import (
    EventSocket,
    Message,
    NetlinkError,
    NetlinkSocket,
    OverrunError,
    attribute,
    attributes,
    split_frames,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ACK_TLVS, CAPPED, MULTI, INTERRUPTED = 0x200, 0x100, 2, 0x10
ERROR, DONE = 2, 3


def frame(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 1234) + body
    return data + bytes(-len(data) % 4)


def ack(sequence: int, code: int = 0, extra: bytes = b"", flags: int = 0) -> bytes:
    return frame(ERROR, sequence, struct.pack("=i", -code) + extra, flags)


class FakeSocket:
    """Answers each request with what a script says; a plain int is an errno of recvfrom."""

    def __init__(self, script: Callable[[int, int], list[Any]]) -> None:
        self.script = script
        self.sent: list[bytes] = []
        self.waiting: list[Any] = []
        self.closed = False

    def bind(self, address: Any) -> None: ...
    def settimeout(self, seconds: float) -> None:
        self.seconds = seconds

    def setsockopt(self, *option: Any) -> None:
        raise OSError(errno.ENOPROTOOPT, "an old kernel")

    def getsockname(self) -> tuple[int, int]:
        return (1234, 0)

    def sendto(self, data: bytes, address: Any) -> None:
        self.sent.append(data)
        kind, _, sequence = struct.unpack_from("=HHI", data, 4)
        self.waiting += self.script(kind, sequence)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.waiting:
            raise TimeoutError if self.seconds else BlockingIOError
        answer = self.waiting.pop(0)
        return answer if isinstance(answer, tuple) else (answer, (0, 0))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[NetlinkSocket, FakeSocket]]:
    def open_with(script: Callable[[int, int], list[Any]]) -> tuple[NetlinkSocket, FakeSocket]:
        fake = FakeSocket(script)
        monkeypatch.setattr(netlink.socket, "socket", lambda *_: fake)
        return NetlinkSocket(0), fake

    return open_with


def test_request_waits_for_its_acknowledgement(opened: Any) -> None:
    sock, fake = opened(lambda kind, sequence: [ack(sequence)])
    sock.request(20, b"abcd", 0x400)
    sock.request(21, b"")
    assert struct.unpack("=IHHII", fake.sent[0][:16]) == (20, 20, 0x405, 1, 0)
    assert fake.sent[0][16:] == b"abcd"
    assert struct.unpack("=IHHII", fake.sent[1][:16]) == (16, 21, 5, 2, 0)
    assert sock.port == 1234


def test_refusal_has_errno_and_the_words_of_the_kernel(opened: Any) -> None:
    words = attribute(1, b"Requested type not found\0") + attribute(2, b"\0\0\0\0")
    capped = struct.pack("=IHHII", 16, 20, 5, 1, 0)
    sock, _ = opened(lambda kind, sequence: [ack(sequence, 93, capped + words, ACK_TLVS | CAPPED)])
    with pytest.raises(NetlinkError) as refused:
        sock.request(20, b"")
    assert refused.value.errno == errno.EPROTONOSUPPORT
    assert refused.value.reason == "Protocol not supported: Requested type not found"


def test_words_behind_a_repeated_request(opened: Any) -> None:
    repeated = struct.pack("=IHHII", 21, 20, 5, 1, 0) + b"abcde" + bytes(3)
    words = attribute(1, b"no\0")
    sock, _ = opened(lambda kind, sequence: [ack(sequence, 22, repeated + words, ACK_TLVS)])
    with pytest.raises(NetlinkError) as refused:
        sock.request(20, b"abcde")
    assert refused.value.reason == "Invalid argument: no"


def test_refusal_without_words(opened: Any) -> None:
    sock, _ = opened(lambda kind, sequence: [ack(sequence, 3, bytes(16))])
    with pytest.raises(NetlinkError) as refused:
        sock.query(20, b"")
    assert refused.value.reason == "No such process"


def test_query_returns_the_answer(opened: Any) -> None:
    sock, _ = opened(lambda kind, sequence: [frame(30, sequence, b"answer")])
    answer = sock.query(18, b"")
    assert (answer.type, answer.body) == (30, b"answer")


def test_query_that_is_acknowledged_only(opened: Any) -> None:
    sock, _ = opened(lambda kind, sequence: [ack(sequence)])
    with pytest.raises(NetlinkError, match="No data available"):
        sock.query(18, b"")


def test_late_foreign_and_forged_messages_are_skipped(opened: Any) -> None:
    sock, _ = opened(
        lambda kind, sequence: [
            frame(30, sequence + 5, b"late"),
            (frame(30, sequence, b"forged"), (4711, 0)),
            frame(30, sequence - 1, b"old") + frame(30, sequence, b"good"),
        ]
    )
    assert sock.query(18, b"").body == b"good"


def test_no_answer_is_a_timeout(opened: Any) -> None:
    sock, _ = opened(lambda kind, sequence: [])
    with pytest.raises(TimeoutError):
        sock.request(18, b"")


def test_dump_collects_all_parts(opened: Any) -> None:
    sock, fake = opened(
        lambda kind, sequence: [
            frame(20, sequence, b"one.", MULTI) + frame(20, sequence, b"two.", MULTI),
            frame(20, sequence, b"three...", MULTI),
            frame(DONE, sequence, bytes(4), MULTI),
        ]
    )
    assert [found.body for found in sock.dump(22, b"")] == [b"one.", b"two.", b"three..."]
    assert len(fake.sent) == 1


def test_interrupted_dump_is_asked_again(opened: Any) -> None:
    def script(kind: int, sequence: int) -> list[bytes]:
        flags = MULTI | (INTERRUPTED if sequence == 1 else 0)
        return [frame(20, sequence, b"x" * 4, flags), frame(DONE, sequence, bytes(4), MULTI)]

    sock, fake = opened(script)
    assert len(sock.dump(22, b"")) == 1
    assert len(fake.sent) == 2


def test_dump_that_is_interrupted_for_ever_ends(opened: Any) -> None:
    def script(kind: int, sequence: int) -> list[bytes]:
        flags = MULTI | INTERRUPTED
        return [frame(20, sequence, b"x" * 4, flags), frame(DONE, sequence, bytes(4), MULTI)]

    sock, fake = opened(script)
    assert len(sock.dump(22, b"")) == 1
    assert len(fake.sent) == 4


def test_context_manager_closes(opened: Any) -> None:
    sock, fake = opened(lambda kind, sequence: [])
    with sock:
        pass
    assert fake.closed


@pytest.mark.parametrize("length", [0, 15, 17, 2**31])
def test_frame_with_a_bad_length_ends_the_datagram(length: int) -> None:
    good = frame(20, 1)
    bad = struct.pack("=IHHII", length, 20, 0, 1, 0)
    assert [found.type for found in split_frames(good + bad)] == [20]


@pytest.mark.parametrize("length", [0, 3, 9, 65535])
def test_attribute_with_a_bad_length_ends_the_list(length: int) -> None:
    good = attribute(1, b"abc")
    bad = struct.pack("=HH", length, 2) + b"abcd"
    assert list(attributes(good + bad)) == [(1, b"abc")]


def test_flags_of_attribute_types_are_masked() -> None:
    assert list(attributes(attribute(0x8000 | 7, b""))) == [(7, b"")]


@given(st.binary(max_size=200))
def test_random_octets_end(data: bytes) -> None:
    assert len(list(split_frames(data))) <= len(data) // 16
    assert len(list(attributes(data))) <= len(data) // 4 + 1


def events() -> EventSocket:
    """A real socket, which nobody sends anything."""
    try:
        return EventSocket(netlink.NETLINK_ROUTE, [])
    except OSError as error:
        pytest.skip(f"no netlink here: {error}")


def test_waiting_for_events_ends_in_time_and_when_woken() -> None:
    sock = events()
    assert sock.receive(0) == []
    sock.wake()
    assert sock.receive(None) == []
    sock.close()
    sock.wake()


def test_lost_events_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sock = events()

    class Overrun:
        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def recvfrom(self, size: int) -> Any:
            raise OSError(errno.ENOBUFS, "No buffer space available")

        def close(self) -> None:
            self.real.close()

    monkeypatch.setattr(sock, "_socket", Overrun(sock._socket))
    with pytest.raises(OverrunError):
        sock.receive(0)
    sock.close()


Opened: TypeAlias = "Callable[..., tuple[NetlinkSocket, FakeSocket]]"
BEGIN, WORK, LAST = Message(16, b"edge"), Message(7, b"work!", 0x400), Message(8, b"", 4)


def test_a_transaction_is_one_datagram(opened: Opened) -> None:
    made, fake = opened(lambda kind, _: [frame(7, 2, b"echo"), ack(3)] if kind == 16 else [])
    frames = made.transact([BEGIN, WORK, LAST])
    assert [each.body for each in frames] == [b"echo"]
    (sent,) = fake.sent
    assert list(split_frames(sent)) == [
        netlink.Frame(16, 1, 1, 0, struct.pack("=IHHII", 20, 16, 1, 1, 0) + b"edge"),
        netlink.Frame(7, 0x401, 2, 0, struct.pack("=IHHII", 21, 7, 0x401, 2, 0) + b"work!"),
        netlink.Frame(8, 5, 3, 0, struct.pack("=IHHII", 16, 8, 5, 3, 0)),
    ]
    assert fake.seconds == 5.0  # other requests wait again


def test_the_first_refusal_of_a_transaction_counts(opened: Opened) -> None:
    late, foreign = ack(99, errno.EIO), (ack(2, errno.EIO), (7, 0))
    answers = [late, foreign, ack(2, errno.EEXIST), ack(3, errno.ENOENT), ack(3)]
    made, fake = opened(lambda *_: answers)
    with pytest.raises(NetlinkError, match="exists"):
        made.transact([BEGIN, WORK, LAST])
    assert fake.seconds == 5.0


def test_a_transaction_without_the_acknowledgement_has_failed(opened: Opened) -> None:
    made, _ = opened(lambda *_: [])
    with pytest.raises(NetlinkError) as caught:
        made.transact([BEGIN, WORK, LAST])
    assert caught.value.errno == errno.ENODATA
    assert made.transact([BEGIN, WORK]) == []  # it was not asked for
