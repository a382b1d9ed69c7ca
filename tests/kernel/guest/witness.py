"""What `ip xfrm` and the daemon's status say of the SAs of a host, in a form to be compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.interop.network import sh

if TYPE_CHECKING:
    from tests.interop.network import Host

_SA = re.compile(
    r"src (?P<source>\S+) dst (?P<destination>\S+)\n"
    r"\tproto esp spi 0x(?P<spi>[0-9a-f]{8})\(\d+\) reqid (?P<reqid>\d+)\(\S+\) mode (?P<mode>\w+)"
)
_ALGORITHM = re.compile(r"\n\t(?:aead|enc|auth-trunc|auth|comp) (\S+) 0x[0-9a-f]+ \((\d+) bits\)")
_ENCAPSULATION = re.compile(r"\n\tencap type espinudp sport (\d+) dport (\d+) ")
_CURRENT = re.compile(r"lifetime current:\n\s+(\d+)\(bytes\), (\d+)\(packets\)")
_POLICY = re.compile(
    r"src (?P<source>\S+) dst (?P<destination>\S+) ?\n"
    r"\tdir (?P<direction>\w+) .*\n"
    r"\ttmpl src (?P<outer_source>\S+) dst (?P<outer_destination>\S+)\n"
    r"\t\tproto esp (?:spi \S+ )?reqid (?P<reqid>\d+) mode (?P<mode>\w+)"
)
_CHILD = re.compile(
    r"^ *(?P<name>\S+)\{\d+\}:  INSTALLED, TUNNEL, reqid (?P<reqid>\d+), "
    r"ESP(?P<in_udp> in UDP)? SPIs: (?P<in>[0-9a-f]{8})_i (?P<out>[0-9a-f]{8})_o\n"
    r" *\S+:  (?P<algorithms>\S+)"
    r", (?P<bytes_in>\d+) bytes_i(?: \((?P<packets_in>\d+) pkts?, (?P<idle_in>\d+)s ago\))?"
    r", (?P<bytes_out>\d+) bytes_o(?: \((?P<packets_out>\d+) pkts?, (?P<idle_out>\d+)s ago\))?",
    re.MULTILINE,
)


class Sa(NamedTuple):
    """An SA as the kernel has it."""

    source: str
    destination: str
    spi: str
    reqid: int
    mode: str
    algorithms: tuple[tuple[str, int], ...]
    """Names, and bits of their keys."""
    ports: tuple[int, int] | None
    """Of ESP in UDP: source and destination."""
    is_esn: bool
    octets: int
    packets: int


class Policy(NamedTuple):
    """A policy as the kernel has it, with its template."""

    source: str
    destination: str
    direction: str
    outer_source: str
    outer_destination: str
    reqid: int
    mode: str


class Child(NamedTuple):
    """An installed CHILD_SA as the daemon's status shows it."""

    name: str
    reqid: int
    in_udp: bool
    spi_in: str
    spi_out: str
    algorithms: str
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int
    idle: int
    """Seconds since the last packet of any direction."""


def security_associations(host: Host) -> list[Sa]:
    """Return the SAs of a host, oldest last."""
    text = sh("ip", "-n", host.name, "-s", "xfrm", "state")
    found = []
    for part in re.split(r"^(?=src )", text, flags=re.MULTILINE)[1:]:
        match = _SA.match(part)
        assert match is not None, part
        ports = _ENCAPSULATION.search(part)
        current = _CURRENT.search(part)
        assert current is not None, part
        found.append(
            Sa(
                source=match["source"],
                destination=match["destination"],
                spi=match["spi"],
                reqid=int(match["reqid"]),
                mode=match["mode"],
                algorithms=tuple(
                    (name, int(bits)) for name, bits in sorted(_ALGORITHM.findall(part))
                ),
                ports=(int(ports[1]), int(ports[2])) if ports else None,
                is_esn=" esn" in part,
                octets=int(current[1]),
                packets=int(current[2]),
            )
        )
    return found


def policies(host: Host) -> set[Policy]:
    """Return the policies of a host, without those of single sockets."""
    text = sh("ip", "-n", host.name, "xfrm", "policy", "list", "nosock")
    matches = list(_POLICY.finditer(text))
    assert len(matches) == text.count("\tdir "), text
    return {Policy(**{**each.groupdict(), "reqid": int(each["reqid"])}) for each in matches}


def left_in_kernel(host: Host, *, of_sockets: bool = False) -> str:
    """Return what the kernel has of IPsec at a host, as `ip` shows it; empty for nothing.

    Args:
        host: The host.
        of_sockets: Policies of single sockets count, too: daemons have them as long as they run.
    """
    shown = (("state",), ("policy", "list", *([] if of_sockets else ["nosock"])))
    return "".join(sh("ip", "-n", host.name, "xfrm", *each) for each in shown)


def child_of(status: str, name: str) -> Child:
    """Find an installed CHILD_SA in what `statusall` shows."""
    found = next((each for each in _CHILD.finditer(status) if each["name"] == name), None)
    assert found is not None, f"{name} is not installed:\n{status}"
    return Child(
        name=name,
        reqid=int(found["reqid"]),
        in_udp=found["in_udp"] is not None,
        spi_in=found["in"],
        spi_out=found["out"],
        algorithms=found["algorithms"],
        octets_in=int(found["bytes_in"]),
        octets_out=int(found["bytes_out"]),
        packets_in=int(found["packets_in"] or 0),
        packets_out=int(found["packets_out"] or 0),
        idle=min(int(found["idle_in"] or 0), int(found["idle_out"] or 0)),
    )
