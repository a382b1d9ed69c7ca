"""Which messages the daemon is sent, in which order: at start, on update, on reload."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charon_plugins.stroke.starter.convert import Auto
from charon_plugins.stroke.wire.bodies import Body, Config, Name
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import SILENT, MessageType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charon_plugins.stroke.starter.convert import Authority, Configuration, Connection


@dataclass(frozen=True, slots=True)
class Request:
    """One message to send.

    Attributes:
        message: what is sent.
        order: of its strings, if not the usual one.
        name: of the section that it is about.
    """

    message: Message
    name: str = ""
    order: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        """Encode the message.

        Raises:
            EncodeError: the values of the section do not fit into a message.
        """
        return encode(self.message, self.order)

    def __str__(self) -> str:
        return f"{self.message.label} {self.name}".rstrip()


def start_plan(new: Configuration) -> list[Request]:
    """Everything, for a daemon that has just started."""
    requests = []
    if new.cache_crls:
        requests.append(_request(MessageType.CONFIG, Config(1), ""))
    requests += [_add_ca(authority) for authority in new.authorities.values()]
    for connection in new.connections.values():
        requests += _add(connection)
    return requests


def update_plan(old: Configuration, new: Configuration) -> list[Request]:
    """What makes the second configuration of the first; nothing for what is equal in both."""
    requests: list[Request] = []
    for name, connection in old.connections.items():
        if new.connections.get(name) != connection:
            requests += _delete(connection)
    requests += [
        _request(MessageType.DEL_CA, Name(name), name)
        for name, authority in old.authorities.items()
        if new.authorities.get(name) != authority
    ]
    requests += [
        _add_ca(authority)
        for name, authority in new.authorities.items()
        if old.authorities.get(name) != authority
    ]
    for name, connection in new.connections.items():
        if old.connections.get(name) != connection:
            requests += _add(connection)
    return requests


def reload_plan(old: Configuration, new: Configuration) -> list[Request]:
    """Everything removed and added again; what is established is not touched by it."""
    nothing = replace(new, connections={}, authorities={})
    return update_plan(old, nothing) + update_plan(nothing, new)


def keep_skipped(old: Configuration, new: Configuration) -> Configuration:
    """Give sections that are skipped or refused the definition that they had before.

    A typing error must not take away a connection that works.
    """
    connections = dict(new.connections)
    authorities = dict(new.authorities)
    refused = [f"conn {name}" for name in new.refused]
    for section in (*new.skipped, *refused):
        kind, name = section.split(" ", 1)
        if kind == "conn" and name in old.connections:
            connections[name] = old.connections[name]
        elif kind == "ca" and name in old.authorities:
            authorities[name] = old.authorities[name]
    return replace(new, connections=connections, authorities=authorities)


def _request(kind: MessageType, body: Body, name: str) -> Request:
    return Request(Message(kind, body, SILENT), name)


def _add_ca(authority: Authority) -> Request:
    return _request(MessageType.ADD_CA, authority.body, authority.name)


def _add(connection: Connection) -> Iterator[Request]:
    name = connection.name
    yield Request(Message(MessageType.ADD_CONN, connection.body, SILENT), name, connection.order)
    if connection.auto is Auto.ROUTE:
        yield _request(MessageType.ROUTE, Name(name), name)
    elif connection.auto is Auto.START:
        yield _request(MessageType.INITIATE, Name(name), name)


def _delete(connection: Connection) -> Iterator[Request]:
    name = connection.name
    if connection.auto is Auto.ROUTE:
        yield _request(MessageType.UNROUTE, Name(name), name)
    yield _request(MessageType.DEL_CONN, Name(name), name)
