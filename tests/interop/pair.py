"""Our daemon and strongSwan, face to face with their tunnels loaded."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.interop import pki
from tests.interop.charon import SETTINGS, Charon
from tests.interop.network import wait_until
from tests.interop.strongswan import StrongSwan
from tests.interop.tunnels import Side, Tunnel

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from tests.interop.lab import Lab
    from tests.interop.network import Host
    from tests.interop.process import Log

# A third of a second, half a second...: lost messages cost little, and giving up 3 s.
IMPATIENT = SETTINGS.replace(
    "retransmit_timeout = 1.0\nretransmit_tries = 3",
    "retransmit_timeout = 0.3\nretransmit_base = 1.5\nretransmit_tries = 3",
)
THEY_ARE_IMPATIENT = "retransmit_timeout = 0.3\nretransmit_base = 1.5\nretransmit_tries = 5"


class Pair:
    """Both gateways; asks either by the side that it is on."""

    def __init__(self, lab: Lab, ours: Charon, theirs: StrongSwan) -> None:
        self.lab = lab
        self.ours = ours
        self.theirs = theirs
        self.empty = self.footprints()

    def at(self, side: Side) -> Charon | StrongSwan:
        """The daemon of a side."""
        return self.ours if side is Side.OURS else self.theirs

    def host(self, side: Side) -> Host:
        """The host of a side."""
        return self.lab.ours if side is Side.OURS else self.lab.theirs

    def footprints(self) -> list[str]:
        """Addresses, rules, routes and policies of both hosts."""
        return [host.footprint() for host in self.lab.hosts]

    def bring_up(self, tunnel: Tunnel) -> str:
        """Have the initiator bring a tunnel up, and wait until both have it; return its words."""
        worked, output = self.at(tunnel.initiator).up(tunnel.name)
        assert worked, output
        for at in (self.ours, self.theirs):
            self.wait_for_up(at, tunnel.name)
        return output

    @staticmethod
    def wait_for_up(at: Charon | StrongSwan, name: str) -> None:
        """Wait until a daemon has the tunnel."""
        wait_until(lambda: at.is_up(name), f"{at.side.value} have {name} up")

    def check_pings(self, tunnel: Tunnel, index: int = 1, *, size: int = 56) -> None:
        """Check that both ends reach each other through the tunnel."""
        for side in Side:
            source, destination = tunnel.inside(side, index), tunnel.inside(side.other, index)
            came_back = self.host(side).ping(source, destination, size=size)
            assert came_back, f"no echo from {destination} to {source} ({size} octets)"

    def take_down(self, tunnel: Tunnel, side: Side) -> None:
        """Have a side delete the IKE_SA, and check that nothing of it is left at either end."""
        done, output = self.at(side).down(tunnel.name)
        assert done, output
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        """Check that neither daemon has SAs, and that both hosts are as they were."""
        wait_until(lambda: not self.ours.sas(), "we have no SA left")
        wait_until(lambda: not self.theirs.sas(), "they have no SA left")
        wait_until(lambda: self.footprints() == self.empty, "hosts are as before", seconds=2)

    def reset(self) -> None:
        """Remove what a failed test has left behind, so that it is the only one that fails."""
        for number in re.findall(r"\[(\d+)\]: ", self.ours.sas()):
            self.ours.stroke("down", f"[{number}]")
        for number in re.findall(r": #(\d+), ", self.theirs.sas()):
            self.theirs.swanctl("--terminate", "--ike-id", number, "--force", "--timeout", "2")


def both_roles(name: str, numbers: Iterator[int], **settings: object) -> list[Tunnel]:
    """Return a tunnel that we initiate, and one that they do."""
    return [
        Tunnel(f"{name}-{side.value}", next(numbers), side, **settings)  # type: ignore[arg-type]
        for side in Side
    ]


@contextmanager
def paired(
    lab: Lab,
    folder: pathlib.Path,
    logs: list[Log],
    tunnels: Sequence[Tunnel],
    *,
    settings: str = SETTINGS,
    their_settings: str = "",
    more: str = "",
    authority: pki.Authority | None = None,
) -> Iterator[Pair]:
    """Start both daemons with these tunnels; at the end they must stop in order.

    `more` are further sections of our ipsec.conf.
    """
    authority = authority or pki.Authority()
    ours = Charon(lab.ours, folder / "ours", settings=settings)
    theirs = StrongSwan(lab.theirs, folder / "theirs", more=their_settings)
    logs += [ours.log, theirs.log]
    for tunnel in tunnels:
        for side, host in zip(Side, lab.hosts, strict=True):
            host.add_address("lo", *tunnel.addresses(side))
    ours.write(tunnels, authority, more=more)
    theirs.write_credentials(tunnels, authority)
    try:
        theirs.start()
        theirs.load(tunnels)
        ours.start(wait_for=tunnels[-1].name)
        yield Pair(lab, ours, theirs)
    finally:
        codes = ours.stop(), theirs.stop()
    assert codes == (0, 0), f"the daemons ended with {codes}; None is one that had to be killed"
    assert "Traceback" not in ours.everything_said()
