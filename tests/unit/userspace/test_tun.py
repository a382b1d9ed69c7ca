from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Any

import pytest

from charon_core.kernel.interface import KernelUnavailable
from charon_core.kernel.userspace.tun import Offloads, Tun

SET_INTERFACE, SET_OFFLOAD, GET_FEATURES = 0x400454CA, 0x400454D0, 0x800454CF
VNET_HDR = 0x4000


class FakeKernel:
    """What answers the requests on the descriptor of a TUN device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.features = 0x7FFF
        self.offloads = 0xFF
        self.error: OSError | None = None
        self.open_error: OSError | None = None
        self.requests: list[int] = []
        monkeypatch.setattr(os, "open", self.open)
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)

    def open(self, path: str, flags: int) -> int:
        if self.open_error is not None:
            raise self.open_error
        assert flags & os.O_NONBLOCK
        return os.eventfd(0)

    def ioctl(self, fd: int, request: int, argument: Any) -> bytes:
        self.requests.append(request)
        if request == GET_FEATURES:
            return struct.pack("=I", self.features)
        if request == SET_OFFLOAD:
            if argument & ~self.offloads:
                raise OSError(errno.EINVAL, "Invalid argument")
            return b""
        if self.error is not None:
            raise self.error
        name, flags = struct.unpack("=16sH22x", argument)
        assert flags & 0x1001 == 0x1001
        assert flags & ~self.features & VNET_HDR == 0
        return struct.pack("=16sH22x", name.replace(b"%d", b"3"), flags)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(monkeypatch)


def test_the_kernel_gives_the_name(kernel: FakeKernel) -> None:
    with Tun("ipsec%d") as tun:
        assert tun.name == "ipsec3"
        assert tun.header_length == 10
    assert tun.fd == -1
    tun.close()


@pytest.mark.parametrize(
    ("known", "expected", "text"),
    [
        (0xFF, Offloads(checksum=True, tcp=True, udp=True),
         "checksum, TCP segmentation, UDP segmentation"),
        (0x0F, Offloads(checksum=True, tcp=True), "checksum, TCP segmentation"),
        (0x01, Offloads(checksum=True), "checksum"),
        (0, Offloads(), "none"),
    ],
)  # fmt: skip
def test_offloads_are_what_the_kernel_knows(
    kernel: FakeKernel, known: int, expected: Offloads, text: str
) -> None:
    kernel.offloads = known
    with Tun("ipsec%d") as tun:
        assert tun.offloads == expected
        assert str(tun.offloads) == text


def test_offloads_can_be_switched_off(kernel: FakeKernel) -> None:
    with Tun("ipsec%d", offloads=False) as tun:
        assert tun.offloads == Offloads()
    assert SET_OFFLOAD not in kernel.requests


def test_a_kernel_without_headers_gets_packets_without(kernel: FakeKernel) -> None:
    kernel.features &= ~VNET_HDR
    with Tun("ipsec%d") as tun:
        assert (tun.header_length, tun.offloads) == (0, Offloads())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), "load the module tun"),
        (PermissionError(errno.EACCES, "x"), "run as root"),
        (OSError(errno.ENODEV, "No such device"), "No such device"),
    ],
)
def test_why_there_is_no_device(kernel: FakeKernel, error: OSError, words: str) -> None:
    kernel.open_error = error
    with pytest.raises(KernelUnavailable, match=words):
        Tun("ipsec%d")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EPERM, "x"), "CAP_NET_ADMIN"),
        (OSError(errno.EBUSY, "Device or resource busy"), "kernel.userspace.device"),
    ],
)
def test_why_it_cannot_be_made(kernel: FakeKernel, error: OSError, words: str) -> None:
    kernel.error = error
    with pytest.raises(KernelUnavailable, match=words):
        Tun("ipsec0")


def test_reading_and_writing(monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel) -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    with Tun("ipsec%d") as tun:
        os.close(tun.fd)
        buffer = bytearray(100)
        tun.fd = write
        assert tun.write([b"head", memoryview(b"body")])
        tun.fd = read
        assert tun.read_into(buffer) == 8
        assert buffer[:8] == b"headbody"
        assert tun.read_into(buffer) == 0
        assert not tun.write([b"x"])
        os.close(write)
