"""The XFRM backend over a kernel that answers as the test says."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.config.child import Mark
from charon_core.kernel.interface import (
    AlgorithmNotSupported,
    Encapsulation,
    IpsecProtocol,
    KernelError,
    KernelUnavailable,
    SaExists,
    SaNotFound,
)
from charon_core.kernel.netlink import Frame, NetlinkError
from charon_core.kernel.xfrm import backend as backend_module
from charon_core.kernel.xfrm import constants, structs
from charon_core.kernel.xfrm.backend import XfrmBackend
from charon_core.kernel.xfrm.errors import kernel_error
from tests.unit.kernel.factories import (
    HERE,
    THERE,
    Recorder,
    Surroundings,
    gcm_sa,
    policy,
    sa_id,
)

if TYPE_CHECKING:
    from pathlib import Path

ESP = IpsecProtocol.ESP
NAMES = {
    number: name.removeprefix("XFRM_MSG_")
    for name, number in vars(constants).items()
    if name.startswith("XFRM_MSG_")
}


class FakeKernel:
    """Remembers requests; fails those that the test has planned."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.failures: dict[str, list[int | Exception]] = {}
        self.answers: dict[str, bytes] = {}
        self.closed = False

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.requests]

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        name = NAMES[kind]
        self.requests.append((name, body))
        planned = self.failures.get(name, [])
        failure = planned.pop(0) if planned else 0
        if isinstance(failure, Exception):
            raise failure
        if failure:
            raise NetlinkError(failure)

    def query(self, kind: int, body: bytes, flags: int = 0) -> Frame:
        self.request(kind, body)
        return Frame(0, 0, 0, 0, bytes(16) + self.answers[NAMES[kind]])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def xfrm(kernel: FakeKernel) -> XfrmBackend:
    made = XfrmBackend(Surroundings().context)
    made._netlink = kernel  # type: ignore[assignment]
    return made


def test_outbound_sa_is_new(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    xfrm.add_sa(gcm_sa(inbound=False))
    xfrm.delete_sa(sa_id())
    assert kernel.asked == ["NEWSA", "DELSA"]


def test_inbound_sa_updates_its_reservation(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.answers["ALLOCSPI"] = structs.SaInfo.pack({"id": {"spi": 0xC1234567}})
    assert xfrm.allocate_spi(THERE, HERE, ESP) == 0xC1234567
    assert not xfrm._is_ours(0xC1234567, HERE, ESP)
    xfrm.add_sa(gcm_sa())
    assert kernel.asked == ["ALLOCSPI", "UPDSA"]
    assert xfrm._is_ours(0xC1234567, HERE, ESP)


def test_lost_reservation_makes_a_new_sa(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.answers["ALLOCSPI"] = structs.SaInfo.pack({"id": {"spi": 0xC1234567}})
    kernel.failures["UPDSA"] = [errno.ESRCH]
    xfrm.allocate_spi(THERE, HERE, ESP)
    xfrm.add_sa(gcm_sa())
    assert kernel.asked == ["ALLOCSPI", "UPDSA", "NEWSA"]


def test_range_of_spis_can_be_set(kernel: FakeKernel) -> None:
    xfrm = XfrmBackend(Surroundings(spi_range=(0x200, 0x2FF)).context)
    xfrm._netlink = kernel  # type: ignore[assignment]
    kernel.answers["ALLOCSPI"] = structs.SaInfo.pack({})
    xfrm.allocate_spi(THERE, HERE, ESP)
    asked = structs.SpiInfo.unpack(kernel.requests[0][1])
    assert (asked["min"], asked["max"]) == (0x200, 0x2FF)


def test_second_add_is_refused_without_asking(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    xfrm.add_sa(gcm_sa())
    with pytest.raises(SaExists, match="installed already"):
        xfrm.add_sa(gcm_sa())
    assert kernel.asked == ["NEWSA"]


def test_refused_sa_is_not_remembered(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.failures["NEWSA"] = [errno.ENOSYS]
    with pytest.raises(AlgorithmNotSupported, match="load its crypto module"):
        xfrm.add_sa(gcm_sa())
    xfrm.flush()
    assert kernel.asked == ["NEWSA"]


def test_marks_are_used_to_find_an_sa_again(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.answers["GETSA"] = structs.SaInfo.pack({"curlft": {"bytes": 5, "packets": 1}})
    xfrm.add_sa(gcm_sa(mark=Mark(7, 15), if_id=9))
    assert xfrm.query_sa(sa_id()) == (5, 1, None)
    tail = kernel.requests[1][1][structs.SaIdentity.size :]
    assert tail.hex() == "0c001500070000000f00000008001f0009000000"


def test_update_deletes_and_adds(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    xfrm.add_sa(gcm_sa())
    kernel.answers["GETSA"] = kernel.requests[0][1]
    xfrm.update_sa(sa_id(), THERE, "192.0.2.9", Encapsulation(1, 2))
    assert kernel.asked == ["NEWSA", "GETSA", "DELSA", "NEWSA"]
    assert not xfrm._is_ours(0xC1234567, HERE, ESP)
    assert xfrm._is_ours(0xC1234567, "192.0.2.9", ESP)


def test_failed_update_puts_the_old_sa_back(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    xfrm.add_sa(gcm_sa())
    kernel.answers["GETSA"] = kernel.requests[0][1]
    kernel.failures["NEWSA"] = [errno.EEXIST]
    with pytest.raises(SaExists, match=r"move SA .* to 192\.0\.2\.2 -> 192\.0\.2\.9"):
        xfrm.update_sa(sa_id(), THERE, "192.0.2.9", None)
    assert kernel.asked == ["NEWSA", "GETSA", "DELSA", "NEWSA", "NEWSA"]
    assert structs.SaInfo.unpack(kernel.requests[-1][1])["id"]["daddr"][:4] == bytes(
        map(int, HERE.split("."))
    )
    assert xfrm._is_ours(0xC1234567, HERE, ESP)


def test_update_of_nothing(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.failures["GETSA"] = [errno.ESRCH]
    with pytest.raises(SaNotFound, match="No such process"):
        xfrm.update_sa(sa_id(), THERE, HERE, None)
    assert kernel.asked == ["GETSA"]


RANGES = ("10.1.0.1-10.1.0.3", "10.2.0.0/16")


def test_failed_part_of_a_policy_takes_the_others_back(
    xfrm: XfrmBackend, kernel: FakeKernel
) -> None:
    kernel.failures["UPDPOLICY"] = [0, errno.ENOBUFS]
    with pytest.raises(KernelError, match="out of memory"):
        xfrm.add_policy(policy(*RANGES, priority=1))
    assert kernel.asked == ["UPDPOLICY", "UPDPOLICY", "DELPOLICY"]
    xfrm.flush()
    assert len(kernel.asked) == 3


def test_failed_replacement_puts_the_old_policy_back(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    xfrm.add_policy(policy(*RANGES, priority=1))
    kernel.failures["UPDPOLICY"] = [0, errno.ENOBUFS]
    with pytest.raises(KernelError):
        xfrm.add_policy(policy(*RANGES, priority=2))
    assert kernel.asked == ["UPDPOLICY"] * 6
    priorities = [structs.PolicyInfo.unpack(body)["priority"] for _, body in kernel.requests]
    assert priorities == [1, 1, 2, 2, 1, 1]


def test_all_parts_of_a_policy_are_deleted_even_if_one_fails(
    xfrm: XfrmBackend, kernel: FakeKernel
) -> None:
    xfrm.add_policy(policy(*RANGES, priority=1))
    kernel.failures["DELPOLICY"] = [errno.ENOENT]
    with pytest.raises(SaNotFound):
        xfrm.delete_policy(policy(*RANGES, priority=1))
    assert kernel.asked == ["UPDPOLICY"] * 2 + ["DELPOLICY"] * 2


def test_last_use_is_that_of_the_latest_part(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.answers["GETPOLICY"] = structs.PolicyInfo.pack({})
    assert xfrm.query_policy(policy(*RANGES)) is None
    kernel.answers["GETPOLICY"] = structs.PolicyInfo.pack({"curlft": {"use_time": 1}})
    assert xfrm.query_policy(policy(*RANGES)) is not None


def test_flush_removes_ours_and_goes_on_after_failures(
    xfrm: XfrmBackend, kernel: FakeKernel
) -> None:
    kernel.answers["ALLOCSPI"] = structs.SaInfo.pack({"id": {"spi": 0xC0000001}})
    xfrm.allocate_spi(THERE, HERE, ESP)
    xfrm.add_sa(gcm_sa())
    xfrm.add_policy(policy(priority=1))
    kernel.requests.clear()
    kernel.failures["DELPOLICY"] = [errno.EPERM]
    kernel.failures["DELSA"] = [errno.ESRCH]
    with pytest.raises(KernelError, match="charon needs CAP_NET_ADMIN"):
        xfrm.flush()
    assert kernel.asked == ["DELPOLICY", "DELSA", "DELSA"]
    xfrm.flush()
    assert len(kernel.asked) == 3


def test_slow_kernel(xfrm: XfrmBackend, kernel: FakeKernel) -> None:
    kernel.failures["NEWSA"] = [TimeoutError()]
    with pytest.raises(KernelError, match="did not answer in time"):
        xfrm.add_sa(gcm_sa())


def test_backend_that_was_not_started() -> None:
    with pytest.raises(KernelError, match="is not running"):
        XfrmBackend(Surroundings().context).add_policy(policy(priority=1))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.ESRCH, SaNotFound, "No such process"),
        (errno.ENOENT, SaNotFound, "No such file"),
        (errno.EEXIST, SaExists, "File exists"),
        (errno.ENOSYS, AlgorithmNotSupported, "lacks an algorithm"),
        (errno.EPROTONOSUPPORT, KernelError, "modprobe esp4 esp6"),
        (errno.EPERM, KernelError, "CAP_NET_ADMIN"),
        (errno.EINVAL, KernelError, "Invalid argument: Weird: no"),
    ],
)
def test_errors_say_what_to_do(code: int, kind: type[KernelError], words: str) -> None:
    error = kernel_error("add SA x", NetlinkError(code, "Weird: no" if code == 22 else ""))
    assert type(error) is kind
    assert error.code == code
    assert str(error).startswith("add SA x: ")
    assert words in str(error)


def test_life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start opens both sockets and begins the loop; stop ends all of it."""

    class Deaf:
        def __init__(self, *_: Any) -> None:
            self.closed = False

        def run(self) -> None: ...
        def wake(self) -> None: ...
        def close(self) -> None:
            self.closed = True

    kernel = FakeKernel()
    monkeypatch.setattr(backend_module, "NetlinkSocket", lambda protocol: kernel)
    monkeypatch.setattr(backend_module, "XfrmEvents", Deaf)
    monkeypatch.setattr(backend_module, "_ACQUIRE_TIMEOUT_FILE", tmp_path / "acq_expires")
    surroundings = Surroundings(options={"acquire_timeout": 165})
    xfrm = XfrmBackend(surroundings.context)
    xfrm.start(Recorder())
    watcher: Any = xfrm._watcher
    ((delay, load),) = surroundings.delayed
    assert delay == 1.0
    load()
    assert (tmp_path / "acq_expires").read_text() == "165\n"
    xfrm.stop()
    assert watcher.closed
    assert kernel.closed
    xfrm.stop()


def test_start_without_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(protocol: int) -> Any:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(backend_module, "NetlinkSocket", refuse)
    with pytest.raises(KernelUnavailable, match="Protocol not supported"):
        XfrmBackend(Surroundings().context).start(Recorder())


def test_acquire_timeout_that_cannot_be_set_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(backend_module, "_ACQUIRE_TIMEOUT_FILE", tmp_path / "none" / "file")
    surroundings = Surroundings(options={"acquire_timeout": 165})
    XfrmBackend(surroundings.context)._set_acquire_timeout()
    assert "cannot be set to 165" in surroundings.lines[0]


def test_socket_options_report_what_is_refused() -> None:
    surroundings = Surroundings()
    xfrm = XfrmBackend(surroundings.context)
    left, right = socket.socketpair()
    with left, right:
        with pytest.raises(KernelError, match="exempt the IKE socket from IPsec policies"):
            xfrm.bypass_socket(left.fileno(), socket.AF_INET)
        with pytest.raises(KernelError, match="receive ESP in UDP over IPv4"):
            xfrm.enable_udp_encapsulation(left.fileno(), socket.AF_INET)
        xfrm.enable_udp_encapsulation(left.fileno(), socket.AF_INET6)
        assert "receive ESP in UDP over IPv6" in surroundings.lines[0]
        left.send(b"still open")
