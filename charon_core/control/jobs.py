"""The operations behind the controller's commands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

from charon_core.bus.listener import Group, Level
from charon_core.processing.job import Job, Priority
from charon_core.sa.state import ChildState, IkeState

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.bus.refs import SaRef
    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.control.paths import PathFinder
    from charon_core.network.packet import Endpoint
    from charon_core.sa.child_sa import ChildSa
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.manager import IkeSaManager
    from charon_core.sa.renewal import Renewal


class Operation(Job):
    """A command at work: knows its IKE_SA, and tells when it has ended."""

    __slots__ = ("_thread", "ended", "found", "on_end", "priority", "succeeded", "unique_id")

    def __init__(self) -> None:
        self.priority = Priority.MEDIUM
        self.unique_id = 0
        """Number of the IKE_SA, 0 while there is none."""
        self.found: bool | None = None
        """False: there is nothing of that name or number."""
        self.succeeded = False
        self.ended = threading.Event()
        self.on_end: Callable[[], None] | None = None
        self._thread = 0

    def concerns(self, sa: SaRef | None) -> bool:
        """Whether a log line with this IKE_SA is about the operation."""
        if sa is not None:
            return sa.unique_id == self.unique_id
        return self._thread == threading.get_ident()

    def execute(self) -> None:
        """Do the work; an operation that cannot even start has failed."""
        self._thread = threading.get_ident()
        try:
            self.run()
        except BaseException:
            self.end(False)
            raise
        finally:
            self._thread = 0

    def run(self) -> None:
        """Start the operation; whoever finishes it calls `end`."""
        raise NotImplementedError

    def end(self, succeeded: bool) -> None:
        """The operation is over."""
        self.succeeded = succeeded
        self.ended.set()
        if self.on_end is not None:
            self.on_end()


class Initiation(Operation):
    """Brings a CHILD_SA up, or an IKE_SA alone (RFC 6023)."""

    __slots__ = ("_child", "_manager", "_paths", "_peer")

    def __init__(
        self,
        manager: IkeSaManager,
        paths: PathFinder,
        peer: PeerConfig,
        child: ChildConfig | None,
    ) -> None:
        super().__init__()
        # The name of a peer may have to be resolved, which can take its time.
        self.priority = Priority.LOW
        self._manager = manager
        self._paths = paths
        self._peer = peer
        self._child = child

    def __str__(self) -> str:
        return f"initiate '{(self._child or self._peer).name}'"

    def run(self) -> None:
        """Use the IKE_SA that is there, or make one."""
        for number in self._manager.numbers_by_name(self._peer.name):
            with self._manager.working_on(self._manager.checkout_by_number(number)) as ike:
                if ike is not None and self._joins(ike):
                    return
        path = self._path()
        if path is None:
            self.end(False)
            return
        with self._manager.working_on(self._manager.create_initiator(*path)) as ike:
            if ike is None:
                self.end(False)
                return
            self.unique_id = ike.unique_id
            if self._child is None:
                ike.begin(self._peer, on_done=self.end)
                ike.tasks.initiate()
                return
            ike.begin(self._peer)
            self._begin_child(ike, self._child)

    def _path(self) -> tuple[Endpoint, Endpoint] | None:
        """Return our endpoint and the peer's, None if there are none."""
        return self._paths.find(self._peer.ike)

    def _begin_child(self, ike: IkeSa, child: ChildConfig) -> None:
        ike.initiate_child(child, self.end)

    def _joins(self, ike: IkeSa) -> bool:
        """Initiate within an existing IKE_SA, if it is of this connection and lives."""
        usable = ike.state.is_up or (ike.is_initiator and ike.state is IkeState.CONNECTING)
        if not usable or ike.peer_config != self._peer:
            return False
        self.unique_id = ike.unique_id
        if self._child is None:
            ike.log(
                Group.IKE, Level.CONTROL, "not establishing IKE_SA %s: it is there, in state %s",
                ike, ike.state.value,
            )  # fmt: skip
            self.end(ike.state.is_up)
            return True
        twin = next(filter(self._is_twin, ike.children), None)
        if twin is not None:
            self._refuse_twin(ike, twin)
        else:
            self._begin_child(ike, self._child)
        return True

    def _is_twin(self, child: ChildSa) -> bool:
        """Whether a CHILD_SA is what we are to bring up."""
        is_there = child.state in {ChildState.INSTALLED, ChildState.REKEYING}
        return is_there and child.config == self._child

    def _refuse_twin(self, ike: IkeSa, twin: ChildSa) -> None:
        ike.log(
            Group.IKE, Level.CONTROL,
            "not establishing CHILD_SA %s due to existing duplicate {%d} with SPIs "
            "%08x_i %08x_o and TS %s",
            twin.config.name, twin.unique_id, twin.local_spi, twin.remote_spi,
            twin.selectors_text(),
        )  # fmt: skip
        self.end(False)


class Renew(Job):
    """Sets an IKE_SA up in the place of one that goes, with its CHILD_SAs."""

    __slots__ = ("_manager", "_paths", "_renewal", "priority")

    def __init__(self, manager: IkeSaManager, paths: PathFinder, renewal: Renewal) -> None:
        # The name of a peer may have to be resolved, which can take its time.
        self.priority = Priority.LOW
        self._manager = manager
        self._paths = paths
        self._renewal = renewal

    def __str__(self) -> str:
        return f"set up '{self._renewal.peer.name}' anew"

    def execute(self) -> None:
        """Initiate to where the connection says, or else to where the peer was last."""
        renewal = self._renewal
        config = renewal.peer.ike
        path = self._paths.find(config) if config.remote_hosts else None
        local, remote = path or (renewal.local, renewal.remote)
        with self._manager.working_on(self._manager.create_initiator(local, remote)) as ike:
            if ike is None:
                return
            ike.begin(renewal.peer, replaces=renewal.replaces)
            ike.virtual.preferred = renewal.addresses
            for child in renewal.children:
                ike.queue_child(child)
            ike.tasks.initiate()


class _OnSa(Operation):
    """A command about an IKE_SA or a CHILD_SA that is named by its number."""

    __slots__ = ("_child", "_ike", "_manager")

    verb: ClassVar[str]

    def __init__(self, manager: IkeSaManager, *, ike: int = 0, child: int = 0) -> None:
        super().__init__()
        self.priority = Priority.HIGH
        self._manager = manager
        self._ike = ike
        self._child = child

    def __str__(self) -> str:
        return f"{self.verb} [{self._ike}]" if self._ike else f"{self.verb} {{{self._child}}}"

    def run(self) -> None:
        """Find it and begin."""
        numbers = [self._ike] if self._ike else self._manager.numbers_by_child(self._child)
        for number in numbers:
            with self._manager.working_on(self._manager.checkout_by_number(number)) as ike:
                if ike is not None and self._begin(ike):
                    return
        self.found = False
        self.end(False)

    def _begin(self, ike: IkeSa) -> bool:
        child = next((c for c in ike.children if c.unique_id == self._child), None)
        if child is None and not self._ike:
            return False
        self.found = True
        self.unique_id = ike.unique_id
        self.act(ike, child)
        return True

    def act(self, ike: IkeSa, child: ChildSa | None) -> None:
        """Do it to the CHILD_SA, or to the IKE_SA if there is none."""
        raise NotImplementedError


class Termination(_OnSa):
    """Deletes an IKE_SA or a CHILD_SA."""

    __slots__ = ()
    verb = "terminate"

    def act(self, ike: IkeSa, child: ChildSa | None) -> None:
        """Start deleting."""
        if child is None:
            ike.delete(self.end)
        else:
            ike.delete_child(child, self.end)


class Oblivion(_OnSa):
    """Destroys an IKE_SA without a word to the peer, which knows nothing of it any more."""

    __slots__ = ()
    verb = "forget"

    def act(self, ike: IkeSa, child: ChildSa | None) -> None:  # noqa: ARG002
        """Let it end when it is checked in."""
        ike.set_state(IkeState.DESTROYING)
        self.end(True)


class Rekeying(_OnSa):
    """Replaces an IKE_SA or a CHILD_SA by a new one."""

    __slots__ = ()
    verb = "rekey"

    def act(self, ike: IkeSa, child: ChildSa | None) -> None:
        """Start rekeying."""
        if child is None:
            ike.rekey(self.end)
        else:
            ike.rekey_child(child, self.end)
