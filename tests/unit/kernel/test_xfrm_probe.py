"""What the probe says about kernels that lack something."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from charon_core.crypto.random import SystemRandom
from charon_core.kernel.interface import SPI_MAXIMUM, SPI_MINIMUM, KernelUnavailable
from charon_core.kernel.netlink import NetlinkError, attributes
from charon_core.kernel.xfrm import constants, probe, structs
from charon_core.kernel.xfrm.probe import probe_xfrm
from tests.unit.kernel.factories import Surroundings

RANDOM = SystemRandom()


class FakeKernel:
    """Takes SAs with the algorithms that it has."""

    def __init__(self, refusals: dict[int, int], taken: int = 0) -> None:
        self.refusals = refusals
        self.taken = taken
        self.installed: list[int] = []
        self.asked: list[int] = []
        self.closed = False

    def __enter__(self) -> FakeKernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def request(self, kind: int, body: bytes) -> None:
        if kind == constants.XFRM_MSG_DELSA:
            self.installed.remove(structs.SaIdentity.unpack(body)["spi"])
            return
        assert kind == constants.XFRM_MSG_NEWSA
        info = structs.SaInfo.unpack(body)
        self.asked.append(info["id"]["spi"])
        assert info["lft"]["hard_add_expires_seconds"] == 10
        if self.taken:
            self.taken -= 1
            raise NetlinkError(errno.EEXIST)
        for algorithm, _ in attributes(body, structs.SaInfo.size):
            if algorithm in self.refusals:
                raise NetlinkError(self.refusals[algorithm], "Requested thing not found")
        self.installed.append(info["id"]["spi"])


def probed(
    monkeypatch: pytest.MonkeyPatch, refusals: dict[int, int] | None = None, taken: int = 0
) -> FakeKernel:
    kernel = FakeKernel(refusals or {}, taken)
    monkeypatch.setattr(probe, "has_net_admin", lambda: True)
    monkeypatch.setattr(probe, "NetlinkSocket", lambda protocol: kernel)
    return kernel


def test_complete_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = probed(monkeypatch)
    assert probe_xfrm(RANDOM) == ()
    assert kernel.installed == []
    assert len(kernel.asked) == 2
    assert all(SPI_MINIMUM <= spi <= SPI_MAXIMUM for spi in kernel.asked)
    assert kernel.closed


def test_taken_spi_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = probed(monkeypatch, taken=2)
    assert probe_xfrm(RANDOM) == ()
    assert len(set(kernel.asked)) == 4


def test_kernel_without_esp(monkeypatch: pytest.MonkeyPatch) -> None:
    probed(monkeypatch, {constants.XFRMA_ALG_AEAD: errno.EPROTONOSUPPORT})
    with pytest.raises(KernelUnavailable, match=r"no ESP \(Protocol not supported: Requested"):
        probe_xfrm(RANDOM)


def test_kernel_without_gcm_and_without_esp_names_esp(monkeypatch: pytest.MonkeyPatch) -> None:
    probed(
        monkeypatch,
        {
            constants.XFRMA_ALG_AEAD: errno.ENOSYS,
            constants.XFRMA_ALG_CRYPT: errno.EPROTONOSUPPORT,
        },
    )
    with pytest.raises(KernelUnavailable, match=r"the kernel has no ESP .* modprobe esp4 esp6"):
        probe_xfrm(RANDOM)


def test_kernel_without_gcm_works(monkeypatch: pytest.MonkeyPatch) -> None:
    probed(monkeypatch, {constants.XFRMA_ALG_AEAD: errno.ENOSYS})
    assert probe_xfrm(RANDOM) == ("AES-GCM",)


def test_missing_algorithms_are_logged_by_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    from charon_core.kernel.xfrm.backend import XfrmBackend

    probed(monkeypatch, {constants.XFRMA_ALG_CRYPT: errno.ENOSYS})
    surroundings = Surroundings()
    XfrmBackend(surroundings.context).probe()
    assert surroundings.lines == ["the kernel lacks AES-CBC with HMAC-SHA2-256 for ESP"]


def test_kernel_without_any_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = {constants.XFRMA_ALG_AEAD: errno.ENOSYS, constants.XFRMA_ALG_CRYPT: errno.ENOSYS}
    probed(monkeypatch, refusals)
    with pytest.raises(KernelUnavailable, match="neither AES-GCM nor AES-CBC"):
        probe_xfrm(RANDOM)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EPERM, "belongs to another user namespace"),
        (errno.ENOMEM, "refuses an ESP SA: Cannot allocate memory"),
    ],
)
def test_other_refusals(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    probed(monkeypatch, {constants.XFRMA_ALG_AEAD: code})
    with pytest.raises(KernelUnavailable, match=words):
        probe_xfrm(RANDOM)


def test_kernel_without_xfrm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(protocol: int) -> Any:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    probed(monkeypatch)
    monkeypatch.setattr(probe, "NetlinkSocket", refuse)
    with pytest.raises(KernelUnavailable, match=r"no XFRM netlink socket .* CONFIG_XFRM_USER"):
        probe_xfrm(RANDOM)


def test_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = probed(monkeypatch)

    def hang(kind: int, body: bytes) -> None:
        raise TimeoutError

    monkeypatch.setattr(kernel, "request", hang)
    with pytest.raises(KernelUnavailable, match="did not answer"):
        probe_xfrm(RANDOM)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Name:\tx\nCapEff:\t0000003fffffffff\n", True),
        ("CapEff:\t0000000000001000\n", True),
        ("CapEff:\t0000000000000fff\nCapBnd:\t0000003fffffffff\n", False),
        ("", False),
    ],
)
def test_capability(monkeypatch: pytest.MonkeyPatch, status: str, expected: bool) -> None:
    monkeypatch.setattr(probe.Path, "read_text", lambda path, **_: status)
    assert probe.has_net_admin() is expected


def test_without_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "has_net_admin", lambda: False)
    with pytest.raises(KernelUnavailable, match="CAP_NET_ADMIN is missing; run charon as root"):
        probe_xfrm(RANDOM)


def test_probe_does_not_load_pyroute2() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import charon_core.kernel.xfrm.backend, charon_core.kernel.net, "
        "charon_core.kernel.manager, charon_core.kernel.backends; "
        "sys.exit('pyroute2' in sys.modules or 'asyncio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
