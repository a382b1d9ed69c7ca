"""The keys of charon.toml about the kernel backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from charon_core.settings import checks
from charon_core.settings.option import Section, option, section

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UserspaceSettings(Section):
    """``[kernel.userspace]``: ESP in this process, over a TUN device."""

    device: str = option(
        "ipsec%d",
        "Name of the TUN device; %d is the first free number.",
        check=checks.interface_name,
    )
    mtu: int = option(1400, "MTU of the TUN device.", unit="bytes", minimum=576, maximum=65535)
    offloads: bool = option(
        True, "Use segmentation offloads of TUN and UDP where the kernel has them."
    )
    mark: int = option(
        220,
        "Mark of the packets that do not go into the device: those of the IKE sockets.",
        minimum=1,
        maximum=0xFFFFFFFF,
    )
    raw_esp: bool = option(
        True, "Send and take plain ESP (protocol 50) where no NAT is between and we may."
    )
    guard: str = option(
        "auto",
        "Drop packets that a tunnel protects and that come or go around the device, by nf_tables. "
        "auto: where the kernel can; on: no start without it.",
        choices=("auto", "on", "off"),
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class XfrmSettings(Section):
    """``[kernel.xfrm]``: the Linux kernel's IPsec."""

    acquire_timeout: int = option(
        165,
        "How long the kernel waits for the SA of a trap policy.",
        unit="s",
        minimum=1,
        maximum=86400,
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class KernelSettings(Section):
    """``[kernel]``: who encrypts the traffic."""

    backend: str = option(
        "auto",
        "The kernel backend by name: xfrm, userspace, null, or a plugin's. "
        "auto: the first of xfrm and userspace that works.",
    )
    replay_window: int = option(
        32,
        "Packets of the anti-replay window, where a connection does not say. 0: off.",
        unit="packets",
        minimum=0,
        maximum=4096,
    )
    spi_min: int = option(
        0xC0000000,
        "Least SPI that is given to an IPsec SA.",
        minimum=0x100,
        maximum=0xFFFFFFFF,
        example="0xc0000000",
    )
    spi_max: int = option(
        0xCFFFFFFF,
        "Greatest SPI that is given to an IPsec SA.",
        minimum=0x100,
        maximum=0xFFFFFFFF,
        example="0xcfffffff",
    )
    install_routes: bool = option(True, "Install routes for tunnels where the backend needs them.")
    table: int = option(220, "Routing table for these routes.", minimum=1, maximum=0xFFFFFFFF)
    priority: int = option(
        220, "Priority of the rule that leads to this table.", minimum=1, maximum=32765
    )
    roam_delay: float = option(
        0.1,
        "Changes of addresses and routes within this time count as one.",
        unit="s",
        minimum=0,
        maximum=10,
    )
    userspace: UserspaceSettings = section(UserspaceSettings, "ESP in this process")
    xfrm: XfrmSettings = section(XfrmSettings, "The Linux kernel's IPsec")

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield keys that do not go together, each with what is wrong."""
        if self.spi_min > self.spi_max:
            yield (
                "spi_max",
                f"expected at least kernel.spi_min = {self.spi_min:#x}, got {self.spi_max:#x}",
            )
