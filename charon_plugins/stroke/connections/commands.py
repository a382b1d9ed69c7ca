"""The connections that stroke has been told of, and the commands that change them."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Final

from charon_plugins.stroke.connections.problems import InvalidConnectionError
from charon_plugins.stroke.server.commands import Command, name_of
from charon_plugins.stroke.wire.bodies import AddConn
from charon_plugins.stroke.wire.types import MessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from charon_core.config.memory import ConnectionTable
    from charon_core.config.peer import PeerConfig
    from charon_core.credentials.certificates import Certificate
    from charon_plugins.stroke.connections.builder import Surroundings
    from charon_plugins.stroke.server.channel import Channel
    from charon_plugins.stroke.wire.message import Message


#: Names of refused connections that are remembered.
MAX_REFUSED: Final = 1024


class ConnectionCommands:
    """Adds and deletes connections.

    Every connection brings an IKE_SA and a CHILD_SA configuration. One that differs from an
    existing connection in its child alone becomes a further child of that one, so that both share
    an IKE_SA.
    """

    def __init__(
        self,
        table: ConnectionTable,
        surroundings: Callable[[], Surroundings],
        keep: Callable[[Iterable[Certificate]], None],
        unroute: Callable[[str], object],
        report: Callable[[str], None],
    ) -> None:
        """Connect.

        Args:
            table: takes the connections.
            surroundings: what building needs to know, as it is now.
            keep: takes the certificates that a connection names.
            unroute: removes the shunt or trap of a connection that goes.
            report: takes lines for the log.
        """
        self._table = table
        self._surroundings = surroundings
        self._keep = keep
        self._unroute = unroute
        self._report = report
        # Adding and deleting are several steps each.
        self._lock = Lock()
        self._refused: dict[str, None] = {}

    def is_refused(self, name: str) -> bool:
        """Whether a connection of this name was sent last with a mistake, and is not there."""
        return name in self._refused

    def table(self) -> Mapping[MessageType, Command]:
        """The commands."""
        return {
            MessageType.ADD_CONN: Command(self._add),
            MessageType.DEL_CONN: Command(self._delete),
        }

    def _add(self, message: Message, _: Channel) -> None:
        if not isinstance(message.body, AddConn):
            return
        # Loads half of the configuration's code, which a daemon without connections never needs.
        from charon_plugins.stroke.connections.builder import build

        name = message.body.name or ""
        self._report(f"received stroke: add connection '{name}'")
        try:
            built = build(message.body, self._surroundings())
        except InvalidConnectionError as error:
            for complaint in error.complaints:
                self._report(f"connection '{name}': {complaint}")
            self._report(f"connection '{name}' refused, see above")
            with self._lock:
                self._refused[name] = None
                while len(self._refused) > MAX_REFUSED:
                    del self._refused[next(iter(self._refused))]
            return
        for note in built.notes:
            self._report(f"connection '{name}': {note}")
        self._keep(built.certificates)
        with self._lock:
            self._refused.pop(name, None)
            self._insert(built.peer)

    def _insert(self, peer: PeerConfig) -> None:
        name = peer.name
        if self._remove(name):
            self._report(f"connection '{name}' was there already, its definition is replaced")
        child = peer.children[0]
        twin = self._table.twin_of(peer)
        if twin is not None and self._table.attach_child(twin, child) is not None:
            self._report(f"added child to existing configuration '{twin.name}'")
            return
        self._table.add(peer)
        self._report(f"added configuration '{name}'")

    def _delete(self, message: Message, _: Channel) -> None:
        name = name_of(message)
        self._report(f"received stroke: delete connection '{name}'")
        with self._lock:
            found = self._remove(name)
            self._refused.pop(name, None)
            self._unroute(name)
        if found:
            self._report(f"deleted connection '{name}', what is established stays up")
        else:
            self._report(f"there is no connection '{name}' to delete")

    def _remove(self, name: str) -> bool:
        """Remove every child of that name, and the connections that have no child left."""
        found = self._table.with_child(name)
        for peer in found:
            children = tuple(child for child in peer.children if child.name != name)
            if children:
                self._table.replace(peer, replace(peer, children=children))
            else:
                self._table.discard(peer)
        return bool(found)
