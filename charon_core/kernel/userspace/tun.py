"""The TUN device: opening it, probing its offloads, reading and writing frames."""

from __future__ import annotations

import fcntl
import os
import sys
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from charon_core.kernel.interface import KernelUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.kernel.userspace.types import Buffer

DEVICE: Final = "/dev/net/tun"

VNET_HEADER: Final = Struct("=BBHHHH")
"""flags, GSO type, header length, GSO size, checksum start, checksum offset (native order)."""

VNET_NEEDS_CHECKSUM: Final = 1
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP: Final = 5
GSO_ECN: Final = 0x80

FRAME_LIMIT: Final = 0x10000
"""Octets of the largest packet that the device gives, rounded up."""

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNGETFEATURES: Final = 0x800454CF

_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_REQUEST: Final = Struct("=16sH22x")

_CHECKSUM: Final = 0x01
_TSO4: Final = 0x02
_TSO6: Final = 0x04
_TSO_ECN: Final = 0x08
_USO4: Final = 0x20
_USO6: Final = 0x40
_TSO: Final = _CHECKSUM | _TSO4 | _TSO6 | _TSO_ECN


class Offloads(NamedTuple):
    """What the kernel leaves to us, and what it takes from us."""

    checksum: bool = False
    tcp: bool = False
    """TCP super-packets of up to 64 KiB, both ways."""
    udp: bool = False
    """Trains of UDP datagrams in one packet."""

    def __str__(self) -> str:
        """``checksum, TCP segmentation``."""
        names = ("checksum", "TCP segmentation", "UDP segmentation")
        return ", ".join(name for name, on in zip(names, self, strict=True) if on) or "none"


_CANDIDATES: Final = (
    (_TSO | _USO4 | _USO6, Offloads(checksum=True, tcp=True, udp=True)),
    (_TSO, Offloads(checksum=True, tcp=True)),
    (_CHECKSUM, Offloads(checksum=True)),
)


class Tun:
    """One open TUN device; it vanishes when it is closed.

    Attributes:
        name: Its name, as the kernel gave it.
        fd: Its file descriptor, which never blocks.
        header_length: Octets in front of each packet: a VNET_HEADER, or none on kernels without.
        offloads: What the kernel agreed to.
    """

    __slots__ = ("fd", "header_length", "name", "offloads")

    def __init__(self, name: str, *, offloads: bool = True) -> None:
        """Create the device.

        Args:
            name: Its name; ``%d`` in it becomes the first free number.
            offloads: Whether to ask for offloads.

        Raises:
            KernelUnavailable: With what is missing and what would help.
        """
        self.fd = _open_device()
        try:
            features = int.from_bytes(
                fcntl.ioctl(self.fd, _TUNGETFEATURES, bytes(4)), sys.byteorder
            )
            flags = _IFF_TUN | _IFF_NO_PI | (features & _IFF_VNET_HDR)
            self.header_length = VNET_HEADER.size if flags & _IFF_VNET_HDR else 0
            self.name = self._create(name, flags)
            self.offloads = self._negotiate(offloads and self.header_length > 0)
        except BaseException:
            os.close(self.fd)
            raise

    def _create(self, name: str, flags: int) -> str:
        try:
            reply = fcntl.ioctl(self.fd, _TUNSETIFF, _REQUEST.pack(name.encode(), flags))
        except PermissionError:
            raise KernelUnavailable(
                f"creating the TUN device {name!r} is not permitted: give the daemon CAP_NET_ADMIN "
                "in its network namespace"
            ) from None
        except OSError as error:
            raise KernelUnavailable(
                f"creating the TUN device {name!r} failed: {error.strerror}; another process may "
                "use a device of this name: set kernel.userspace.device"
            ) from error
        given: bytes = _REQUEST.unpack(reply)[0]
        return given.rstrip(b"\0").decode()

    def _negotiate(self, wanted: bool) -> Offloads:
        if wanted:
            for flags, offloads in _CANDIDATES:
                try:
                    fcntl.ioctl(self.fd, _TUNSETOFFLOAD, flags)
                except OSError:
                    continue
                return offloads
        return Offloads()

    def read_into(self, buffer: bytearray) -> int:
        """Read one frame; return its length, or 0 when there is none now.

        Raises:
            OSError: The device is gone or down.
        """
        try:
            return os.readv(self.fd, [buffer])
        except BlockingIOError:
            return 0

    def write(self, pieces: Sequence[Buffer]) -> bool:
        """Write one frame, header first; False if the kernel did not take it."""
        try:
            os.writev(self.fd, pieces)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Remove the device, with its addresses and routes."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        reason = (
            f"{DEVICE} does not exist: load the module tun, or pass the device into the container"
        )
    except PermissionError:
        reason = f"{DEVICE} may not be opened: run as root, or allow the device in the container"
    except OSError as error:
        reason = f"{DEVICE} cannot be opened: {error.strerror}; is the module tun loaded?"
    raise KernelUnavailable(reason)
