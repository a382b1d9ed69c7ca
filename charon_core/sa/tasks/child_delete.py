"""Deletes CHILD_SAs (RFC 7296 1.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.config.child import Action
from charon_core.encoding.payloads import Delete
from charon_core.encoding.registry import ProtocolId
from charon_core.kernel.interface import IpsecProtocol
from charon_core.sa.renewal import hold
from charon_core.sa.state import ChildState
from charon_core.sa.tasks.task import Outcome, Outgoing, Task, WatchedTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.encoding.message import Message
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa

_MAX_LISTED = 8
"""Unknown SPIs that a message shows."""

_PROTOCOL_ID = {IpsecProtocol.ESP: ProtocolId.ESP, IpsecProtocol.AH: ProtocolId.AH}


class ChildDelete(WatchedTask):
    """Deletes one CHILD_SA on our wish, or those that the peer names.

    Each side names its inbound SPIs. Where both delete the same CHILD_SA at once, the answer
    leaves it out: its two halves are named by the two requests already (RFC 7296 1.4.1).
    """

    __slots__ = ("_child", "_peers")
    name: ClassVar[str] = "CHILD_DELETE"

    def __init__(
        self,
        ike: IkeSa,
        child: ChildSa | None = None,
        on_done: Callable[[bool], None] | None = None,
    ) -> None:
        super().__init__(ike, on_done)
        self._child = child
        self._peers: list[ChildSa] = []

    def build_request(self, out: Outgoing) -> Outcome:
        """Name our inbound SPI."""
        child = self._child
        if child is None or child not in self.ike.children:
            self.finish(True)
            return Outcome.DONE
        child.log_closing()
        child.set_state(ChildState.DELETING)
        self.ike.log(
            Group.IKE, Level.CONTROL, "sending DELETE for %s CHILD_SA with SPI %08x",
            child.protocol.name, child.local_spi,
        )  # fmt: skip
        out.append(_delete(child.protocol, [child]))
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:  # noqa: ARG002
        """Whatever the response says, the CHILD_SA is gone."""
        if self._child is not None and self._child in self.ike.children:
            self._remove(self._child, "deleted")
        self.ike.log(Group.IKE, Level.AUDIT, "CHILD_SA closed")
        self.finish(True)
        return Outcome.DONE

    def process_request(self, message: Message) -> Outcome:
        """Look up what the peer names; SPIs that are not ours are reported and passed over."""
        ike = self.ike
        named = dict.fromkeys(
            (delete.protocol, int.from_bytes(spi, "big"))
            for delete in message.all(Delete)
            for spi in delete.spis
        )
        known = {(child.config.protocol, child.remote_spi): child for child in ike.children}
        unknown = [f"{spi:08x}" for protocol, spi in named if (protocol, spi) not in known]
        self._peers = [known[name] for name in named if name in known]
        for child in self._peers:
            ike.log(
                Group.IKE, Level.CONTROL, "received DELETE for %s CHILD_SA with SPI %08x",
                child.protocol.name, child.remote_spi,
            )  # fmt: skip
        if unknown:
            # One alert for all: a message has room for thousands.
            listed = " ".join(unknown[:_MAX_LISTED])
            more = f" and {len(unknown) - _MAX_LISTED} more" if len(unknown) > _MAX_LISTED else ""
            ike.alert(
                AlertKind.INVALID_SPI,
                f"peer deletes CHILD_SAs with the SPIs {listed}{more}, which IKE_SA {ike} does "
                "not have; ignored",
                spi=unknown[0],
            )
        return Outcome.MORE

    def build_response(self, out: Outgoing) -> Outcome:
        """Name the other halves, and remove the CHILD_SAs."""
        answered: dict[IpsecProtocol, list[ChildSa]] = {}
        for child in self._peers:
            if child.state is ChildState.DELETING:
                self._remove(child, "deleted by both sides")
                continue
            child.log_closing()
            answered.setdefault(child.protocol, []).append(child)
        for protocol, children in answered.items():
            out.append(_delete(protocol, children))
            for child in children:
                if child.successor is None and child.config.close_action is Action.TRAP:
                    hold(self.ike, child.config)
                self._remove(child, "deleted by the peer")
                if child.successor is None and child.config.close_action is Action.START:
                    self._establish_again(child)
        self.ike.log(Group.IKE, Level.AUDIT, "CHILD_SA closed")
        return Outcome.DONE

    def _establish_again(self, child: ChildSa) -> None:
        """The peer closes what is to be started again then (closeaction=restart)."""
        config, ike = child.config, self.ike
        if any(config == other.config for other in ike.children):
            return
        ike.log(Group.IKE, Level.AUDIT, "establishing CHILD_SA %s again", config.name)
        ike.queue_child(config)

    def _remove(self, child: ChildSa, reason: str) -> None:
        """Take the CHILD_SA down; one that was replaced receives for a moment longer."""
        if child.successor is not None:
            self.ike.retire_child(child)
        else:
            self.ike.remove_child(child, reason)

    def abort(self) -> None:
        """The IKE_SA goes, and the CHILD_SA with it."""
        self.finish(True)


class ChildAbandon(Task):
    """Tells the responder that a CHILD_SA, which it has installed, is not wanted here.

    That is how it ends when its answer is no good, or when our kernel refuses it.
    """

    __slots__ = ("_protocol", "_spi")
    name: ClassVar[str] = "CHILD_DELETE"

    def __init__(self, ike: IkeSa, protocol: IpsecProtocol, spi: int) -> None:
        super().__init__(ike)
        self._protocol = protocol
        self._spi = spi

    def build_request(self, out: Outgoing) -> Outcome:
        """Name the SPI that was to be ours."""
        spi = self._spi.to_bytes(4, "big")
        out.append(Delete(protocol=_PROTOCOL_ID[self._protocol], spis=(spi,)))
        return Outcome.MORE


def _delete(protocol: IpsecProtocol, children: list[ChildSa]) -> Delete:
    spis = tuple(child.local_spi.to_bytes(4, "big") for child in children)
    return Delete(protocol=_PROTOCOL_ID[protocol], spis=spis)
