"""What creating a CHILD_SA has in common on both sides (RFC 7296 1.2, 1.3.1, 2.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.child import ChildMode
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType, ProtocolId
from charon_core.kernel.interface import KernelError, KernelFeature
from charon_core.sa.child_sa import ChildSa
from charon_core.sa.marks import lacking
from charon_core.sa.path import path_of_children
from charon_core.sa.reports import publish_child_keys
from charon_core.sa.selectors import pairs
from charon_core.sa.tasks.task import Outgoing, WatchedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from charon_core.config.child import ChildConfig
    from charon_core.config.proposal import Proposal
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.sa.ike_sa import IkeSa

BEFORE_AUTH: Final = frozenset({ExchangeType.IKE_SA_INIT, ExchangeType.IKE_INTERMEDIATE})
"""Exchanges of the set-up in which no CHILD_SA is negotiated."""

NONCE_LENGTH: Final = 32
"""Octets of the nonces that CREATE_CHILD_SA exchanges have of their own (RFC 7296 2.10)."""


class ChildCreate(WatchedTask):
    """A CHILD_SA on its way: what is negotiated so far."""

    __slots__ = (
        "_additional",
        "_child",
        "_local_ts",
        "_method",
        "_mode",
        "_nonce_i",
        "_nonce_r",
        "_remote_ts",
        "_replaces",
        "_selected",
        "_shared",
    )
    name: ClassVar[str] = "CHILD_CREATE"
    we_initiate: ClassVar[bool]

    def __init__(self, ike: IkeSa, on_done: Callable[[bool], None] | None = None) -> None:
        super().__init__(ike, on_done)
        self._child: ChildSa | None = None
        self._method = 0
        self._mode = ChildMode.TUNNEL
        self._shared: bytes | None = None
        self._additional = b""
        self._nonce_i = b""
        self._nonce_r = b""
        self._local_ts: tuple[TrafficSelector, ...] = ()
        self._remote_ts: tuple[TrafficSelector, ...] = ()
        self._selected: Proposal | None = None
        self._replaces: ChildSa | None = None

    def _proposals(self, config: ChildConfig) -> tuple[Proposal, ...]:
        """Return what of a configuration's proposals the kernel can do."""
        return self.ike.env.kernel.installable(config.proposals)

    def _make_child(self, config: ChildConfig) -> ChildSa:
        ike = self.ike
        local, remote, encapsulated = path_of_children(ike)
        return ChildSa(ike.env, config, ike.ref, local, remote, encapsulated=encapsulated)

    def _has_room(self) -> bool:
        """Whether the selectors fit into what one peer may have; says so if not.

        Policies are made of each with each: a peer that may choose its selectors freely could
        fill the kernel.
        """
        ike = self.ike
        wanted = pairs(self._local_ts, self._remote_ts)
        present = sum(
            pairs(child.local_ts, child.remote_ts)
            for child in ike.children
            if child is not self._replaces
        )
        limit = ike.env.parameters.max_selector_pairs
        if present + wanted <= limit:
            return True
        ike.log(
            Group.IKE, Level.CONTROL,
            "%d pairs of traffic selectors are too many for IKE_SA %s: it has %d, at most %d are "
            "allowed", wanted, ike, present, limit,
        )  # fmt: skip
        return False

    def _install(self, child: ChildSa, *, inbound_only: bool = False) -> bool:
        """Install what was negotiated; False if the kernel refused, which is logged."""
        ike = self.ike
        if self._selected is None or ike.keying is None:
            raise RuntimeError(f"CHILD_SA {child} was not negotiated")
        keys = ike.keying.child_keys(
            self._selected, self._nonce_i, self._nonce_r, self._shared, self._additional
        )
        publish_child_keys(ike, child, self._selected, keys, we_initiated=self.we_initiate)
        child.mode = self._mode
        if self._replaces is not None:
            child.marks = self._replaces.marks
        child.identities = (str(ike.local_id or "%any"), str(ike.remote_id or "%any"))
        try:
            # The addresses may have changed since it was asked for.
            local, remote, encapsulated = path_of_children(ike)
            child.move(local, remote, encapsulated=encapsulated)
            child.install(
                keys,
                we_initiated=self.we_initiate,
                proposal=self._selected,
                remote_spi=child.remote_spi,
                local_ts=self._local_ts,
                remote_ts=self._remote_ts,
                inbound_only=inbound_only,
            )
        except KernelError as error:
            ike.log(Group.IKE, Level.CONTROL, "unable to install CHILD_SA %s: %s", child, error)
            return False
        ike.add_child(child)
        self._child = None
        return True

    def abort(self) -> None:
        """The IKE_SA ends: give the reserved SPI back."""
        child, self._child = self._child, None
        if child is not None:
            child.destroy()
        super().abort()


def obstacle(config: ChildConfig, features: Container[KernelFeature]) -> str:
    """Return why this daemon cannot negotiate a CHILD_SA of a configuration; empty if it can.

    Args:
        config: The configuration.
        features: What the kernel backend can do.
    """
    if config.mode not in _MODES or config.proxy_mode:
        mode = f"{config.mode.value}{'_PROXY' if config.proxy_mode else ''}"
        return f"it is configured for {mode} mode, expected TUNNEL or TRANSPORT"
    if config.mode is ChildMode.TRANSPORT and KernelFeature.TRANSPORT not in features:
        return "the kernel backend does tunnel mode only, set type=tunnel"
    if config.protocol != ProtocolId.ESP and KernelFeature.AH not in features:
        return "the kernel backend does ESP only, it is configured for AH"
    return lacking(config, features)


_MODES: Final = frozenset({ChildMode.TUNNEL, ChildMode.TRANSPORT})


def add_notifies(out: Outgoing) -> None:
    """Say what our CHILD_SAs cannot do."""
    out.append(Notify.of(NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED))


def is_usable_spi(spi: bytes) -> bool:
    """Whether an SPI of the peer can name an SA: 4 octets, and none that IANA reserves."""
    return len(spi) == 4 and int.from_bytes(spi, "big") > RESERVED_SPIS


RESERVED_SPIS: Final = 0xFF
"""SPIs up to this one are reserved (RFC 4303 2.1)."""
