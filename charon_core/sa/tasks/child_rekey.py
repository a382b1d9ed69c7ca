"""Replaces a CHILD_SA by a new one without losing a packet (RFC 7296 1.3.3, 2.8, 2.25.1).

Whoever asks for the new one switches to it when the answer comes, and deletes the old one; whoever
answers receives on the new one at once, and sends on it when the delete comes: by then the other
side surely receives. Where both ask at once there are two new ones. The one that was made with the
lowest of the four nonces is redundant, and whoever asked for it deletes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from charon_core.bus.listener import Group, Level
from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import narrow
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import NotifyType, TransformType
from charon_core.sa.chance import random_share
from charon_core.sa.environment import TimerKind
from charon_core.sa.selectors import resolve, text_of
from charon_core.sa.state import ChildState
from charon_core.sa.tasks.child_delete import ChildDelete
from charon_core.sa.tasks.child_initiate import ChildInitiate
from charon_core.sa.tasks.child_respond import ChildRespond
from charon_core.sa.tasks.task import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.config.child import ChildConfig
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.child_initiate import Selectors
    from charon_core.sa.tasks.task import Outgoing


class _Rival(NamedTuple):
    """What the peer's request for the same CHILD_SA has made."""

    child: ChildSa
    lowest_nonce: bytes


class ChildRekey(ChildInitiate):
    """Asks for a CHILD_SA in the place of another one, and deletes that."""

    __slots__ = ("_rival", "replaced")
    name: ClassVar[str] = "CHILD_REKEY"

    def __init__(
        self,
        ike: IkeSa,
        replaced: ChildSa,
        *,
        method: int = 0,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        """Prepare the task.

        Args:
            ike: The IKE_SA.
            replaced: The CHILD_SA that is to go.
            method: The key exchange that the responder asked for, 0 for the one of the old
                CHILD_SA, or else the one that we prefer.
            on_done: Told once whether there is a new one.
        """
        super().__init__(ike, replaced.config, method=method, on_done=on_done)
        self.replaced = replaced
        self._replaces = replaced
        self._rival: _Rival | None = None
        if not method and replaced.proposal is not None:
            transform = replaced.proposal.first(TransformType.KE)
            self._method = transform.id if transform is not None else 0

    def meet(self, rival: ChildSa, lowest_nonce: bytes) -> None:
        """Learn that the peer asks for the same, and what our answer has made of it."""
        self._rival = _Rival(rival, lowest_nonce)

    def _is_due(self) -> bool:
        old = self.replaced
        if old in self.ike.children and old.state is ChildState.INSTALLED:
            old.set_state(ChildState.REKEYING)
            return True
        # Deleted or replaced since this task was queued.
        self.finish(old.successor is not None)
        return False

    def _lead(self, out: Outgoing) -> None:
        old = self.replaced
        spi = old.local_spi.to_bytes(4, "big")
        out.append(Notify(old.config.protocol, spi, NotifyType.REKEY_SA, b""))

    def _offered_selectors(self) -> tuple[Selectors, Selectors]:
        """Offer what is in use: the new one must not carry less (RFC 7296 2.9.2)."""
        return self.replaced.local_ts, self.replaced.remote_ts

    def _wanted_mode(self) -> ChildMode:
        return self.replaced.mode

    def _corrected(self, method: int) -> ChildInitiate:
        if self.replaced.state is ChildState.REKEYING:
            self.replaced.set_state(ChildState.INSTALLED)
        return ChildRekey(self.ike, self.replaced, method=method, on_done=self.take_watch())

    def _put_up(self, child: ChildSa) -> bool:
        ike, old = self.ike, self.replaced
        rival = self._rival
        is_here = old in ike.children
        if rival is not None and rival.child not in ike.children:
            rival = None
        lost = rival is not None and (
            not is_here or min(self._nonce_i, self._nonce_r) < rival.lowest_nonce
        )
        if not self._install(child, inbound_only=lost):
            return False
        child.log_established()
        if lost:
            ike.log(
                Group.IKE, Level.CONTROL,
                "rekeying of CHILD_SA %s collided with the peer's, deleting our redundant %s",
                old, child,
            )  # fmt: skip
            self._settle()
            ike.tasks.queue(ChildDelete(ike, child))
            return True
        if rival is not None:
            ike.log(
                Group.IKE, Level.CONTROL,
                "rekeying of CHILD_SA %s collided with the peer's, whose %s is redundant",
                old, rival.child,
            )  # fmt: skip
            ike.await_delete(rival.child)
        if is_here:
            old.successor = child
            old.set_state(ChildState.REKEYED)
            old.hand_over()
            ike.tasks.queue(ChildDelete(ike, old))
        else:
            child.announce()
        return True

    def _refused(self, refusal: Notify, child: ChildSa) -> Outcome:
        old = self.replaced
        if refusal.notify_type != NotifyType.CHILD_SA_NOT_FOUND or old.successor is not None:
            return super()._refused(refusal, child)
        child.destroy()
        self._child = None
        ike = self.ike
        if old in ike.children:
            ike.log(
                Group.IKE, Level.CONTROL,
                "peer does not have CHILD_SA %s any more, establishing a new one", old,
            )  # fmt: skip
            ike.remove_child(old, "the peer does not have it any more")
            ike.tasks.queue(ChildInitiate(ike, self._config, on_done=self.take_watch()))
        else:
            self.finish(False)
        return Outcome.DONE

    def _failed(self) -> None:
        """Go on with the old one, and try again before its life ends."""
        ike, old = self.ike, self.replaced
        if old not in ike.children or old.state is not ChildState.REKEYING:
            return
        if old.successor is not None:
            self._settle()
            return
        old.set_state(ChildState.INSTALLED)
        delay = ike.env.parameters.rekey_retry_delay(random_share(ike.env.random))
        ike.log(
            Group.IKE, Level.CONTROL,
            "rekeying CHILD_SA %s failed, trying again in %d seconds", old, delay,
        )  # fmt: skip
        ike.start_timer(TimerKind.CHILD_REKEY, delay, old.unique_id)

    def _settle(self) -> None:
        """The peer's new one takes the place: its delete of the old one is due."""
        old = self.replaced
        if old in self.ike.children and old.state is ChildState.REKEYING:
            self.ike.await_delete(old)


class ChildRekeyRespond(ChildRespond):
    """Makes a CHILD_SA in the place of the one that the peer names."""

    __slots__ = ("_notify",)
    name: ClassVar[str] = "CHILD_REKEY"

    def __init__(self, ike: IkeSa, notify: Notify) -> None:
        super().__init__(ike)
        self._notify = notify
        spi = int.from_bytes(notify.spi, "big")
        self._replaces = ike.child_by_remote_spi(notify.protocol, spi)

    def _is_allowed(self) -> bool:
        notify, old = self._notify, self._replaces
        if old is None:
            self.ike.log(
                Group.IKE, Level.CONTROL,
                "peer rekeys a CHILD_SA with SPI %s, which IKE_SA %s does not have",
                notify.spi.hex(), self.ike,
            )  # fmt: skip
            self._refusal = Notify(notify.protocol, notify.spi, NotifyType.CHILD_SA_NOT_FOUND, b"")
            return False
        if old.state in {ChildState.INSTALLED, ChildState.REKEYING} and old.successor is None:
            return True
        self.ike.log(
            Group.IKE, Level.CONTROL, "peer rekeys CHILD_SA %s, which is in state %s",
            old, old.state.value,
        )  # fmt: skip
        self._refuse(NotifyType.TEMPORARY_FAILURE)
        return False

    def _find_config(
        self,
        local: list[TrafficSelector],
        remote: list[TrafficSelector],
        agrees: Callable[[ChildConfig], bool],  # noqa: ARG002 - there is one only
    ) -> ChildConfig | None:
        """Take the configuration of the old one, and narrow the selectors to it."""
        ike, old = self.ike, self._replaces
        if old is None:
            return None
        config = old.config
        if self._transport is not None and old.mode is ChildMode.TRANSPORT:
            local, remote = list(self._transport.local), list(self._transport.remote)
            self._mode = ChildMode.TRANSPORT
        ours = narrow(resolve(config.local_ts, *ike.local_hosts), local)
        theirs = narrow(resolve(config.remote_ts, *ike.remote_hosts), remote)
        if ours and theirs:
            self._local_ts, self._remote_ts = tuple(ours), tuple(theirs)
            return config
        ike.log(
            Group.IKE, Level.CONTROL,
            "peer rekeys CHILD_SA %s with the traffic selectors %s === %s, which it may not have",
            old, text_of(local), text_of(remote),
        )  # fmt: skip
        self._refuse(NotifyType.TS_UNACCEPTABLE)
        return None

    def _put_up(self, child: ChildSa) -> bool:
        old = self._replaces
        if old is None or not self._take_into_kernel(child, inbound_only=True):
            return False
        child.log_established()
        old.successor = child
        ours = next(
            (t for t in self.ike.tasks.active if isinstance(t, ChildRekey) and t.replaced is old),
            None,
        )
        if ours is not None:
            ours.meet(child, min(self._nonce_i, self._nonce_r))
        else:
            self.ike.await_delete(old)
        return True
