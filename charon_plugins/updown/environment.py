"""The environment of the command: what ipsec.conf(5) and its scripts call PLUTO_*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from charon_core.bus.events import ChildTraffic, TrafficPair

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_VERSION: Final = "1.1"
_LONGEST: Final = 512
_ICMP: Final = (1, 58)
_ANY: Final = (0, 0xFFFF)


def variables(event: ChildTraffic, pair: TrafficPair, interface: str) -> Mapping[str, str]:
    """Return the whole environment for one pair of networks; nothing of ours is in it.

    Args:
        event: What happens.
        pair: The traffic that it is about.
        interface: The interface that has our address, empty if none has.
    """
    verb = "up" if event.begins else "down"
    address, _, _ = pair.local.partition("/")
    is_host = address == event.local and pair.local.endswith(("/32", "/128"))
    family = "-v6" if ":" in pair.local else ""
    found = {
        "PATH": PATH,
        "PLUTO_VERSION": _VERSION,
        "PLUTO_VERB": f"{verb}-{'host' if is_host else 'client'}{family}",
        "PLUTO_CONNECTION": event.child.name,
        "PLUTO_INTERFACE": interface or "unknown",
        "PLUTO_REQID": str(event.child.reqid),
        "PLUTO_PROTO": event.protocol,
        "PLUTO_UNIQUEID": str(event.sa.unique_id),
        "PLUTO_ME": event.local,
        "PLUTO_MY_ID": event.local_id,
        "PLUTO_MY_CLIENT": pair.local,
        "PLUTO_MY_PORT": _ports(pair.protocol, pair.local_ports),
        "PLUTO_MY_PROTOCOL": str(pair.protocol),
        "PLUTO_PEER": event.remote,
        "PLUTO_PEER_ID": event.remote_id,
        "PLUTO_PEER_CLIENT": pair.remote,
        "PLUTO_PEER_PORT": _ports(pair.protocol, pair.remote_ports),
        "PLUTO_PEER_PROTOCOL": str(pair.protocol),
    }
    for name, mark in zip(("PLUTO_MARK_IN", "PLUTO_MARK_OUT"), event.marks, strict=True):
        if mark is not None:
            found[name] = f"{mark[0]}/0x{mark[1]:08x}"
    if event.remote_port:
        found["PLUTO_UDP_ENC"] = str(event.remote_port)
    if event.host_access:
        found["PLUTO_HOST_ACCESS"] = "1"
    return {name: _clean(value) for name, value in found.items()}


def _ports(protocol: int, ports: tuple[int, int]) -> str:
    """Return one port, ``first:last`` as iptables has it, or 0 for any; of ICMP the type."""
    first, last = ports
    if ports == _ANY or first > last:
        return "0"
    if protocol in _ICMP:
        first, last = first >> 8, last >> 8
    return str(first) if first == last else f"{first}:{last}"


def _clean(value: str) -> str:
    """A peer chooses its identity: no control characters, quotes or substitutions in a script."""
    kept = (c if c.isprintable() and c not in "\"'`$\\;&|<>" else "_" for c in value[:_LONGEST])
    return "".join(kept)
