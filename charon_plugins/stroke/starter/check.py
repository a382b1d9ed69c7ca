"""What the daemon would refuse, found beforehand by its own parsers, with file and line."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from charon_plugins.stroke.starter.convert import convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.place import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from charon_plugins.stroke.starter.convert import Configuration, Connection
    from charon_plugins.stroke.starter.place import Place


def read_configuration(conf: Path, certs: Path) -> Configuration:
    """Read a file, and look at its connections as the daemon will.

    Args:
        conf: ipsec.conf.
        certs: folder of the certificates that connections name.

    Raises:
        OSError: the file cannot be read.
        ConfError: it cannot be used.
    """
    return check(convert(load(conf)), certs)


def check(configuration: Configuration, certs: Path) -> Configuration:
    """Note which connections the daemon will refuse, and why.

    Names are not looked up, and nothing is asked of the daemon.
    """
    # Loads what the daemon reads connections with, which a start without any does not need.
    from charon_core.attributes.memory import MemoryPools
    from charon_plugins.stroke.connections.builder import Surroundings, build
    from charon_plugins.stroke.connections.problems import InvalidConnectionError

    surroundings = Surroundings(
        certs=certs, is_local=is_local, look_up=lambda _: (), pools=MemoryPools()
    )
    refused: dict[str, tuple[Problem, ...]] = {}
    for name, connection in configuration.connections.items():
        try:
            build(connection.body, surroundings)
        except InvalidConnectionError as error:
            refused[name] = tuple(
                Problem(_place(connection, complaint.key), str(complaint))
                for complaint in error.complaints
            )
    return replace(configuration, refused=refused)


def is_local(address: str) -> bool:
    """Whether an address is one of this host's: whether a socket can have it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def left_out(configuration: Configuration) -> int:
    """How many sections the daemon will not have."""
    return len(configuration.skipped) + len(configuration.refused)


def complaints(configuration: Configuration) -> Iterable[str]:
    """Everything that there is to say about a file, a line each."""
    for warning in configuration.warnings:
        yield f"warning: {warning}"
    for section, problems in configuration.skipped.items():
        for problem in problems:
            yield f"{section} is not loaded: {problem}"
    for name, problems in configuration.refused.items():
        for problem in problems:
            yield f"conn {name} is refused: {problem}"


def _place(connection: Connection, key: str) -> Place:
    places = connection.places
    # A default, or what several keywords say together, stands nowhere: then the section does.
    for word in (key, *_RELATED.get(key, ()), ""):
        if word in places:
            return places[word]
    raise KeyError(key)


#: Where to point at when the keyword of a complaint is not what was written.
_RELATED = {
    "leftauth": ("authby",),
    "rightauth": ("authby",),
    "leftsubnet": ("leftprotoport",),
    "rightsubnet": ("rightprotoport",),
    "mediation": ("mediated_by",),
    "ikelifetime": ("margintime",),
    "lifetime": ("margintime",),
    "lifebytes": ("marginbytes",),
    "lifepackets": ("marginpackets",),
}
