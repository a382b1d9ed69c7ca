"""What an IKE_SA is to be before the peer's identity is known: addresses, ports, proposals."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Final

from charon_core.config.hosts import HostKind, HostPattern, no_names, parse_host
from charon_core.encoding.registry import ProtocolId

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from charon_core.config.proposal import Proposal

MAX_ADDRESSES: Final = 1024
"""Items of one side's list of addresses."""


class Fragmentation(Enum):
    """Use of IKE fragmentation (RFC 7383)."""

    NO = "no"
    """Do not announce it."""
    ACCEPT = "accept"
    """Announce it, but send no fragments."""
    YES = "yes"
    """Announce it and use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeConfig:
    """The part of a connection that IKE_SA_INIT needs.

    Raises:
        ValueError: an address list is malformed, a number out of range, or a proposal not for IKE.
    """

    name: str
    version: int = 0
    """0 for any (we initiate version 2), 2 for version 2 only."""
    local: tuple[str, ...] = ("%any",)
    """Our addresses as configured: hosts, names, networks, ranges, %any."""
    remote: tuple[str, ...] = ("%any",)
    """The peer's addresses, likewise."""
    local_port: int = 500
    """500 stands for whatever port the daemon listens on."""
    remote_port: int = 500
    proposals: tuple[Proposal, ...] = ()
    """Ordered by preference."""
    send_certreq: bool = True
    force_encap: bool = False
    """Pretend to be behind a NAT, to have ESP carried in UDP."""
    fragmentation: Fragmentation = Fragmentation.YES
    dscp: int = 0
    """Differentiated services code point of the IKE packets we send, 0..63."""
    local_patterns: tuple[HostPattern, ...] = field(init=False, compare=False, repr=False)
    """`local`, taken apart."""
    remote_patterns: tuple[HostPattern, ...] = field(init=False, compare=False, repr=False)
    """`remote`, taken apart."""

    def __post_init__(self) -> None:
        """Take the addresses apart once, since every handshake is scored against them."""
        object.__setattr__(self, "local_patterns", self._parse("local", self.local))
        object.__setattr__(self, "remote_patterns", self._parse("remote", self.remote))
        if self.version not in {0, 2}:
            message = f"connection '{self.name}': IKE version {self.version}, expected 0 or 2"
            raise ValueError(message)
        if not (0 <= self.local_port <= 65535 and 0 < self.remote_port <= 65535):
            message = (
                f"connection '{self.name}': ports {self.local_port} (local) and "
                f"{self.remote_port} (remote), expected 1..65535"
            )
            raise ValueError(message)
        if not 0 <= self.dscp <= 63:
            message = f"connection '{self.name}': DSCP {self.dscp}, expected 0..63"
            raise ValueError(message)
        if any(proposal.protocol != ProtocolId.IKE for proposal in self.proposals):
            message = f"connection '{self.name}': a proposal for the IKE_SA is not for IKE"
            raise ValueError(message)

    def _parse(self, side: str, items: tuple[str, ...]) -> tuple[HostPattern, ...]:
        if not 1 <= len(items) <= MAX_ADDRESSES:
            message = (
                f"connection '{self.name}': {len(items)} {side} addresses, "
                f"expected 1 to {MAX_ADDRESSES}"
            )
            raise ValueError(message)
        try:
            return tuple(map(HostPattern.parse, items))
        except ValueError as error:
            message = f"connection '{self.name}': {side} address: {error}"
            raise ValueError(message) from None

    def match(
        self,
        local_host: str,
        remote_host: str,
        names: Callable[[str], Iterable[str]] = no_names,
    ) -> int:
        """Return how well two addresses fit, 0 if not at all.

        Each side gives 129 for the exact host, n + 1 for a network of n prefix bits, 1 for a
        range or any. The remote side counts twice; a fixed IKE version decides ties.

        Args:
            local_host: Our address, in text form.
            remote_host: The peer's address.
            names: Known addresses of a host name; must not block.

        Raises:
            ValueError: a host is not an address.
        """
        local = self.match_local(local_host, names)
        remote = self.match_remote(remote_host, names) if local else 0
        if not remote:
            return 0
        return 2 * (local + 2 * remote) + (self.version != 0)

    def match_local(self, host: str, names: Callable[[str], Iterable[str]] = no_names) -> int:
        """Return how well an address fits our side, 0 if not at all."""
        return _best(self.local_patterns, host, names)

    def match_remote(self, host: str, names: Callable[[str], Iterable[str]] = no_names) -> int:
        """Return how well an address fits the peer's side, 0 if not at all."""
        return _best(self.remote_patterns, host, names)

    @property
    def content_key(self) -> Hashable:
        """A key that two configurations share if they differ in their names only."""
        return tuple(
            getattr(self, entry.name)
            for entry in fields(self)
            if entry.compare and entry.name != "name"
        )

    @property
    def remote_hosts(self) -> tuple[str, ...]:
        """Single addresses and names of the peer: what an initiator can send to, in order."""
        return _single(self.remote_patterns)

    @property
    def local_hosts(self) -> tuple[str, ...]:
        """Single addresses and names of our side; empty leaves the choice to the routing table."""
        return _single(self.local_patterns)

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names of both sides, which must be looked up before `match` can know them."""
        patterns = self.local_patterns + self.remote_patterns
        return tuple(p.text for p in patterns if p.kind is HostKind.NAME)


def _single(patterns: tuple[HostPattern, ...]) -> tuple[str, ...]:
    kinds = {HostKind.HOST, HostKind.NAME}
    return tuple(pattern.text for pattern in patterns if pattern.kind in kinds)


def _best(
    patterns: tuple[HostPattern, ...], host: str, names: Callable[[str], Iterable[str]]
) -> int:
    family, number = parse_host(host)
    best = 0
    for pattern in patterns:
        score = pattern.score(family, number)
        if pattern.kind is HostKind.NAME and any(
            parse_host(address) == (family, number) for address in names(pattern.text)
        ):
            score = 129
        best = max(best, score)
    return best
