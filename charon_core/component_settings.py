"""What each component is told of the settings: from one document to the values they take."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from charon_core.network.receiver import ReceiverLimits
from charon_core.network.socket import SocketConfig
from charon_core.processing.job import Priority
from charon_core.sa.parameters import IkeParameters, RoutabilityCheck

if TYPE_CHECKING:
    from charon_core.settings import Settings


def socket_config(settings: Settings) -> SocketConfig:
    """Return where the IKE sockets listen."""
    network = settings.network
    return SocketConfig(
        port=network.port,
        nat_port=network.port_nat_t,
        addresses=network.addresses,
        ipv4=network.ipv4,
        ipv6=network.ipv6,
        receive_buffer=network.receive_buffer,
        max_packet=network.max_packet,
    )


def receiver_limits(settings: Settings) -> ReceiverLimits:
    """Return from when on strangers are asked for cookies, or turned away."""
    ike = settings.ike
    return ReceiverLimits(
        cookie_threshold=ike.cookie_threshold,
        cookie_threshold_ip=ike.cookie_threshold_ip,
        block_threshold=ike.block_threshold,
        init_limit_half_open=ike.init_limit_half_open,
        init_limit_job_load=ike.init_limit_job_load,
    )


def ike_parameters(settings: Settings) -> IkeParameters:
    """Return what holds for all IKE_SAs."""
    ike, attributes = settings.ike, settings.attributes
    return IkeParameters(
        retransmit_timeout=ike.retransmit_timeout,
        retransmit_base=ike.retransmit_base,
        retransmit_tries=ike.retransmit_tries,
        retransmit_jitter=ike.retransmit_jitter,
        retransmit_limit=ike.retransmit_limit,
        half_open_timeout=ike.half_open_timeout,
        patience=settings.revocation.patience,
        keep_alive=ike.keep_alive,
        fragment_size=ike.fragment_size,
        init_restarts=ike.init_restarts,
        announce_auth_methods=ike.announce_auth_methods,
        make_before_break=ike.make_before_break,
        routability_check=RoutabilityCheck(ike.mobike_check),
        mobike_networks=ike.mobike_networks,
        mobike_no_nats=ike.mobike_no_nats,
        own_addresses=settings.network.addresses,
        replay_window=settings.kernel.replay_window,
        max_virtual_ips=attributes.max_virtual_ips,
        virtual_ip_interface=attributes.interface,
        accept_domains=attributes.accept_domains,
        accept_trust_anchors=attributes.accept_trust_anchors,
    )


def backend_options(settings: Settings) -> dict[str, object]:
    """Return the options of the kernel backends, those of one backend under its own names."""
    kernel = settings.kernel
    return {
        **asdict(kernel.userspace),
        **asdict(kernel.xfrm),
        "install_routes": kernel.install_routes,
        "table": kernel.table,
        "priority": kernel.priority,
        "spi_min": kernel.spi_min,
        "spi_max": kernel.spi_max,
    }


def by_priority(numbers: object) -> dict[Priority, int]:
    """Return numbers of threads or jobs, as the settings have them by name, by priority."""
    return {Priority[name.upper()]: number for name, number in dict(numbers).items()}  # type: ignore[call-overload]
