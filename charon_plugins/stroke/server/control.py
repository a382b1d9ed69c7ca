"""Commands that bring SAs up and down."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from charon_core.control.result import Result
from charon_core.control.routing import Unrouted
from charon_core.sa.state import ChildState
from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.server.errand import Errand, Step
from charon_plugins.stroke.server.specifier import Specifier
from charon_plugins.stroke.wire.bodies import Purge, TerminateSrcip
from charon_plugins.stroke.wire.types import MessageType, PurgeFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from charon_core.config.backend import BackendManager
    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import PeerConfig
    from charon_core.control.controller import Controller
    from charon_core.sa.snapshot import IkeSaSnapshot
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.wire.message import Message


class ControlCommands:
    """Initiate, terminate and route, through the controller."""

    def __init__(
        self,
        controller: Controller,
        backends: BackendManager,
        report: Callable[[str], None],
        timeout: Callable[[], float | None],
        *,
        forget: Callable[[int], None],
        is_refused: Callable[[str], bool],
    ) -> None:
        """Connect.

        Args:
            controller: commands the IKE_SAs.
            backends: all sources of connections, not only this plugin's.
            report: takes a line about what could not be done.
            timeout: how long 'up' and 'down' wait for the result; ``None`` for no limit.
            forget: empties caches, given by the flags of PURGE.
            is_refused: whether a connection of this name was sent, with a mistake.
        """
        self._controller = controller
        self._backends = backends
        self._report = report
        self._timeout = timeout
        self._forget = forget
        self._is_refused = is_refused

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.INITIATE: Command(self._initiate),
            MessageType.TERMINATE: Command(self._terminate),
            MessageType.REKEY: Command(self._rekey),
            MessageType.ROUTE: Command(self._route, waits=True),
            MessageType.UNROUTE: Command(self._unroute),
            MessageType.TERMINATE_SRCIP: Command(self._terminate_srcip),
            MessageType.PURGE: Command(self._purge),
        }

    def _initiate(self, message: Message, channel: Channel) -> Errand | None:
        name = name_of(message)
        self._report(f"received stroke: initiate '{name}'")
        meant = self._meant(message, channel)
        wanted: list[tuple[PeerConfig, ChildConfig | None]] = []
        for peer, child in meant:
            if child is not None and child.mode.is_shunt:
                self._route_child(channel, peer, child)
            else:
                wanted.append((peer, child))
        if message.wants_output:
            steps = [self._initiation(peer, child) for peer, child in wanted]
            return self._errand(message, channel, steps) if steps else None
        for peer, child in wanted:
            if self._controller.initiate(peer, child) is not Result.SUCCESS:
                self._report(f"'{(child or peer).name}' cannot be initiated now")
        return None

    def _meant(
        self, message: Message, channel: Channel
    ) -> list[tuple[PeerConfig, ChildConfig | None]]:
        """Return the configurations that a name means; the client is told if there are none.

        A connection without CHILD_SAs stands for its IKE_SA alone (RFC 6023).
        """
        name = name_of(message)
        peer = self._backends.peer_by_name(name)
        if peer is None:
            text = f"no config named '{name}'"
            if self._is_refused(name):
                text += ": it was refused, the log says why ('charon-starter --conftest', too)"
            self._complain(message, channel, text)
            return []
        own = peer.child(name)
        children = peer.children if own is None else (own,)
        return [(peer, child) for child in (children or (None,))]

    def _initiation(self, peer: PeerConfig, child: ChildConfig | None) -> Step:
        timeout = self._timeout()
        name = (child or peer).name

        def tell(result: Result) -> Iterator[str]:
            if result is Result.SUCCESS:
                yield f"connection '{name}' established successfully"
            elif result is Result.TIMEOUT:
                yield f"connection '{name}' not established after {_ms(timeout)}, detaching"
            else:
                yield f"establishing connection '{name}' failed"

        return Step(partial(self._controller.initiate, peer, child), tell)

    def _route(self, message: Message, channel: Channel) -> None:
        self._report(f"received stroke: route '{name_of(message)}'")
        for peer, child in self._meant(message, channel):
            if child is None:
                self._complain(message, channel, f"'{peer.name}' has no CHILD_SA to be routed")
            else:
                self._route_child(channel, peer, child)

    def _route_child(self, channel: Channel, peer: PeerConfig, child: ChildConfig) -> None:
        """Install a trap or shunt; clients are told even if they want no log lines."""
        worked = self._controller.route(peer, child) is Result.SUCCESS
        if child.mode.is_shunt:
            ending = "installed" if worked else "installation failed"
            text = f"'{child.name}' shunt {child.mode.value} policy {ending}"
        elif worked:
            text = f"'{child.name}' routed"
        else:
            text = f"routing '{child.name}' failed"
        if not worked:
            self._report(text)
        channel.write_line(text)

    def _unroute(self, message: Message, channel: Channel) -> None:
        name = name_of(message)
        self._report(f"received stroke: unroute '{name}'")
        removed = self._controller.unroute(name)
        if removed is Unrouted.SHUNT:
            channel.write_line(f"shunt policy '{name}' uninstalled")
        elif removed is Unrouted.TRAP:
            channel.write_line(f"trap policy '{name}' unrouted")
        else:
            channel.write_line(f"configuration '{name}' not found")

    def _terminate(self, message: Message, channel: Channel) -> Errand | None:
        steps = [
            self._child_deletion(number) if is_child else self._ike_deletion(number)
            for number, is_child in self._named("terminate", message, channel)
        ]
        return self._run(message, channel, steps)

    def _rekey(self, message: Message, channel: Channel) -> None:
        for number, is_child in self._named("rekey", message, channel):
            if is_child:
                self._controller.rekey_child(number)
            else:
                self._controller.rekey_ike(number)

    def _named(self, command: str, message: Message, channel: Channel) -> list[tuple[int, bool]]:
        """Return the numbers of the SAs that a command names, each with whether it is a child."""
        self._report(f"received stroke: {command} '{name_of(message)}'")
        try:
            wanted = Specifier.parse(name_of(message))
        except ValueError as error:
            self._complain(message, channel, f"{command}: {error}")
            return []
        numbers = self._find(wanted)
        if not numbers:
            kind = "CHILD_SA" if wanted.is_child else "IKE_SA"
            self._complain(message, channel, f"{command}: no {kind} is called '{wanted.name}'")
        return [(number, wanted.is_child) for number in numbers]

    def _find(self, wanted: Specifier) -> list[int]:
        """Numbers of the SAs that are meant; a number that was given is not looked for."""
        if wanted.unique_id is not None:
            return [wanted.unique_id]
        snapshots = self._controller.list_ike_sas()
        if wanted.is_child:
            found = [
                child.unique_id
                for ike in snapshots
                for child in ike.children
                if child.name == wanted.name and child.state != ChildState.REKEYED.value
            ]
        else:
            found = [ike.unique_id for ike in snapshots if ike.name == wanted.name]
        return found if wanted.is_all else found[:1]

    def _ike_deletion(self, number: int) -> Step:
        def tell(result: Result) -> Iterator[str]:
            if result is Result.NOT_FOUND:
                yield f"unable to terminate IKE_SA: ID {number} not found"
            yield self._closed(result, f"IKE_SA [{number}]")

        return Step(partial(self._controller.terminate_ike, number), tell)

    def _child_deletion(self, number: int) -> Step:
        def tell(result: Result) -> Iterator[str]:
            if result is Result.NOT_FOUND:
                yield f"unable to terminate, CHILD_SA with ID {number} not found"
            yield self._closed(result, f"CHILD_SA {{{number}}}")

        return Step(partial(self._controller.terminate_child, number), tell)

    def _closed(self, result: Result, what: str) -> str:
        if result is Result.SUCCESS:
            return f"{what} closed successfully"
        if result is Result.TIMEOUT:
            return f"{what} not closed after {_ms(self._timeout())}, detaching"
        return f"closing {what} failed"

    def _run(self, message: Message, channel: Channel, steps: list[Step]) -> Errand | None:
        """Have the client wait for the steps, or begin all of them if it does not wait."""
        if message.wants_output:
            return self._errand(message, channel, steps)
        for step in steps:
            step.begin()
        return None

    def _errand(self, message: Message, channel: Channel, steps: list[Step]) -> Errand:
        return Errand(channel, steps, message.verbosity, self._timeout())

    def _terminate_srcip(self, message: Message, _: Channel) -> None:
        body = message.body
        if not isinstance(body, TerminateSrcip):
            return
        try:
            first = ip_address(body.start or "")
            last = first if body.end is None else ip_address(body.end)
        except ValueError as error:
            self._report(f"terminate_srcip: expected one or two IP addresses: {error}")
            return
        for ike in self._controller.list_ike_sas():
            virtual = [ip_address(address) for address in ike.remote_vips]
            if any(
                address.version == first.version == last.version
                and int(first) <= int(address) <= int(last)
                for address in virtual
            ):
                self._controller.terminate_ike(ike.unique_id)

    def _purge(self, message: Message, channel: Channel) -> Errand | None:
        if not isinstance(message.body, Purge):
            return None
        self._forget(message.body.flags)
        if not message.body.flags & PurgeFlag.IKE:
            return None
        numbers = _childless(self._controller.list_ike_sas())
        return self._run(message, channel, [self._ike_deletion(number) for number in numbers])

    def _complain(self, message: Message, channel: Channel, text: str) -> None:
        self._report(text)
        if message.wants_output:
            channel.write_line(text)


def _childless(snapshots: Iterable[IkeSaSnapshot]) -> list[int]:
    return [ike.unique_id for ike in snapshots if not ike.children and not ike.half_open]


def _ms(seconds: float | None) -> str:
    return f"{round((seconds or 0) * 1000)}ms"
