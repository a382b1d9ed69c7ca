"""Names of IP protocols and of ports, from the host's own tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOLS_FILE: Final = Path("/etc/protocols")
SERVICES_FILE: Final = Path("/etc/services")

# Hosts without these files (containers) still show and accept the common names.
_COMMON_PROTOCOLS: Final = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "ospf": 89,
    "sctp": 132,
}


@dataclass(frozen=True, slots=True)
class NameTables:
    """Both tables, both ways; names are lower-case on the way in.

    Attributes:
        protocol_names: Number to name.
        protocol_numbers: Name or alias to number.
        service_names: (Protocol name, port) to name; protocol ``""`` holds the first of any.
        service_ports: (Protocol name, service name or alias) to port, likewise.
    """

    protocol_names: Mapping[int, str]
    protocol_numbers: Mapping[str, int]
    service_names: Mapping[tuple[str, int], str]
    service_ports: Mapping[tuple[str, str], int]

    def protocol_number(self, name: str) -> int | None:
        """Return the protocol of that name or alias, or None."""
        return self.protocol_numbers.get(name.lower())

    def protocol_name(self, number: int) -> str:
        """Return the name, or the number as text where it has none."""
        return self.protocol_names.get(number, str(number))

    def port(self, name: str, protocol: int) -> int | None:
        """Return the port of a service under that protocol (0 = under any), or None."""
        key = self.protocol_names.get(protocol, "") if protocol else ""
        return self.service_ports.get((key, name.lower()))

    def service(self, port: int, protocol: int) -> str:
        """Return the name of the service, or the port as text where it has none."""
        key = self.protocol_names.get(protocol, "?") if protocol else ""
        return self.service_names.get((key, port), str(port))


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return []
    return [words for line in text.splitlines() if (words := line.partition("#")[0].split())]


def read_tables(protocols: Path = PROTOCOLS_FILE, services: Path = SERVICES_FILE) -> NameTables:
    """Read the tables; lines that make no sense are passed over, missing files leave them bare."""
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    for words in _lines(protocols):
        if len(words) < 2 or not words[1].isdecimal() or int(words[1]) > 255:
            continue
        names.setdefault(int(words[1]), words[0])
        for name in (words[0], *words[2:]):
            numbers.setdefault(name.lower(), int(words[1]))
    for name, number in _COMMON_PROTOCOLS.items():
        numbers.setdefault(name, number)
        names.setdefault(number, name)
    # "ip" is 0 in the file, where it means the pseudo protocol; to a selector 0 is any protocol.
    names.pop(0, None)
    ports: dict[tuple[str, str], int] = {}
    port_names: dict[tuple[str, int], str] = {}
    for words in _lines(services):
        port, _, protocol = words[1].partition("/") if len(words) > 1 else ("", "", "")
        if not port.isdecimal() or int(port) > 65535:
            continue
        for key in (protocol, ""):
            port_names.setdefault((key, int(port)), words[0])
            for name in (words[0], *words[2:]):
                ports.setdefault((key, name.lower()), int(port))
    return NameTables(*map(MappingProxyType, (names, numbers, port_names, ports)))  # type: ignore[arg-type]


@cache
def host_tables() -> NameTables:
    """Return the tables of this host, read once: status output shows thousands of selectors."""
    return read_tables()
