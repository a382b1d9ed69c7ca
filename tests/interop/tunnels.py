"""A tunnel as the tests describe it, and its configuration in the languages of both daemons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tests.interop.lab import Path

if TYPE_CHECKING:
    from collections.abc import Iterable

PSK = "psk"
#: As proposals: those that a daemon has where nothing is configured.
DEFAULT = "default"
#: Signatures that are not what a key of the kind makes by default.
_AUTH = {PSK: PSK, "rsa/pss": "ike:rsa/pss-sha256"}


class Side(Enum):
    """One of the two gateways."""

    OURS = "we"
    THEIRS = "they"

    @property
    def other(self) -> Side:
        """The gateway at the other end."""
        return Side.THEIRS if self is Side.OURS else Side.OURS


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One connection, with networks of its own at each end.

    Attributes:
        name: of the connection at both ends, and of its CHILD_SA.
        number: makes its networks; unique in a lab.
        initiator: who begins. Matters to the configuration only where a router hides them.
        auth: "psk", or the kind of the keys (see `pki.KEY_MAKERS`).
        ike, esp: proposals of both ends, in the language of ipsec.conf, or `DEFAULT`.
        their_ike, their_esp: proposals of the other end, if it has others.
        identities: of what kind they are: "fqdn", "email", "keyid", "dn" or "address".
        raw: The ends have each other's public keys instead of certificates.
        intermediate: Each end has its certificate from a CA that the other end does not know.
        padding: octets that make the certificates large.
        defect: what is wrong with a certificate: "untrusted", "expired" or "other-name".
        defective: whose certificate that is.
        ocsp, crl: Where the certificates of both ends say that revocation is told.
        inner: 4 or 6, the family inside of the tunnel; None for that of the path.
        selectors: networks at each end of the one CHILD_SA.
        second_esp: proposals of a second CHILD_SA, named like the first with "-2" behind.
        their_second_esp: those of the other end, if it has others.
        hub: the end whose network both CHILD_SAs share.
        wide: The initiator asks for more than the responder grants.
        our_secret: what we take for the pre-shared key, instead of the right one.
        far_network: what we take for the network at the other end, instead of the right one.
        ours, theirs: further settings of the connection, in the language of each daemon.
        their_child: further settings of their CHILD_SAs.
    """

    name: str
    number: int
    initiator: Side = Side.OURS
    path: Path = Path.IPV4
    auth: str = PSK
    ike: str = "aes128-sha256-x25519"
    esp: str = "aes128gcm16"
    their_ike: str = ""
    their_esp: str = ""
    identities: str = "fqdn"
    raw: bool = False
    intermediate: bool = False
    padding: int = 0
    defect: str = ""
    defective: Side = Side.THEIRS
    ocsp: str = ""
    crl: str = ""
    inner: int | None = None
    selectors: int = 1
    second_esp: str = ""
    their_second_esp: str = ""
    hub: Side | None = None
    wide: bool = False
    our_secret: str = ""
    far_network: str = ""
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    their_child: tuple[str, ...] = ()

    @property
    def has_certificates(self) -> bool:
        """Whether the ends prove who they are by certificates."""
        return self.auth != PSK and not self.raw

    @property
    def second(self) -> str:
        """The name of the second CHILD_SA."""
        return f"{self.name}-2"

    @property
    def secret(self) -> str:
        """The pre-shared key."""
        return f"interop of {self.name}"

    @property
    def key_kind(self) -> str:
        """What keys the ends have; empty with pre-shared keys."""
        return "" if self.auth == PSK else self.auth.partition("/")[0]

    def dns_name(self, side: Side) -> str:
        """The domain name of an end, which its certificate is for."""
        return f"{side.name.lower()}-{self.name}.test"

    def identity(self, side: Side) -> str:
        """The IKE identity of an end, in the language of either daemon."""
        name = self.dns_name(side)
        return {
            "fqdn": f"@{name}",
            "email": f"gateway@{name}",
            "keyid": f"@#{name.encode().hex()}",
            "dn": f"C=CH, O=Interop, CN={name}",
            "address": self.path.ours if side is Side.OURS else self.path.theirs,
        }[self.identities]

    def inside(self, side: Side, index: int = 1) -> str:
        """A protected address of an end: in its first, second... network."""
        digit = self._digit(side, index)
        if self._inner == 6:
            return f"fd0{digit}:{self.number:x}::1"
        return f"10.{digit}.{self.number}.1"

    def network(self, side: Side, index: int = 1) -> str:
        """A protected network of an end."""
        digit = self._digit(side, index)
        if self._inner == 6:
            return f"fd0{digit}:{self.number:x}::/64"
        return f"10.{digit}.{self.number}.0/24"

    def second_network(self, side: Side) -> str:
        """The network of an end that the second CHILD_SA is for."""
        return self.network(side, 1 if side is self.hub else 2)

    def addresses(self, side: Side) -> list[str]:
        """All protected addresses of an end."""
        count = 2 if self.second_esp else self.selectors
        return [self.inside(side, index) for index in range(1, count + 1)]

    def selector(self, side: Side, *, configured_at: Side) -> str:
        """The traffic selectors of an end of the first CHILD_SA, as one end has them configured."""
        if self.wide and configured_at is self.initiator:
            return f"10.{self._digit(side, 1)}.0.0/16"
        if self.far_network and configured_at is Side.OURS and side is Side.THEIRS:
            return self.far_network
        return ",".join(self.network(side, index) for index in range(1, self.selectors + 1))

    def gateway(self, side: Side, *, configured_at: Side) -> str:
        """The configured address of an end: any, for an initiator behind the router."""
        if self.path is Path.NAT and side is self.initiator and configured_at is not side:
            return "%any"
        return self.path.ours if side is Side.OURS else self.path.theirs

    @property
    def _inner(self) -> int:
        return self.inner or (6 if self.path is Path.IPV6 else 4)

    @staticmethod
    def _digit(side: Side, index: int) -> int:
        return 2 * index - (side is Side.OURS)


def key_file(kind: str, side: Side) -> str:
    """Return the name of the file with an end's public key."""
    return f"{side.name.lower()}-{kind}.pem"


def ipsec_conf(tunnels: Iterable[Tunnel], *, side: Side = Side.OURS) -> str:
    """Return the connections of an end in the language of ipsec.conf."""
    return "\n".join(_conn(tunnel, side) for tunnel in tunnels)


def _conn(tunnel: Tunnel, side: Side) -> str:
    other = side.other
    method = _AUTH.get(tunnel.auth, "pubkey")
    lines = [
        f"conn {tunnel.name}",
        "keyexchange=ikev2",
        f"left={tunnel.gateway(side, configured_at=side)}",
        f'leftid="{tunnel.identity(side)}"',
        f"leftauth={method}",
        f"leftsubnet={tunnel.selector(side, configured_at=side)}",
        f"right={tunnel.gateway(other, configured_at=side)}",
        f'rightid="{tunnel.identity(other)}"',
        f"rightauth={method}",
        f"rightsubnet={tunnel.selector(other, configured_at=side)}",
        "auto=add",
    ]
    if tunnel.ike != DEFAULT:
        lines.append(f"ike={tunnel.ike}!")
    if tunnel.esp != DEFAULT:
        lines.append(f"esp={tunnel.esp}!")
    if tunnel.has_certificates:
        lines.append(f"leftcert={tunnel.name}.pem")
    elif tunnel.raw:
        lines.append(f"leftsigkey={key_file(tunnel.key_kind, side)}")
        lines.append(f"rightsigkey={key_file(tunnel.key_kind, other)}")
    if side is Side.OURS:
        lines += tunnel.ours
    text = "\n    ".join(lines) + "\n"
    if tunnel.second_esp:
        text += f"""
conn {tunnel.second}
    also={tunnel.name}
    esp={tunnel.second_esp}!
    leftsubnet={tunnel.second_network(side)}
    rightsubnet={tunnel.second_network(other)}
"""
    return text


def ipsec_secrets(tunnels: Iterable[Tunnel], *, side: Side = Side.OURS) -> str:
    """Return the secrets of an end in the language of ipsec.secrets."""
    tunnels = list(tunnels)
    lines = []
    for tunnel in tunnels:
        if tunnel.auth == PSK:
            secret = tunnel.our_secret if side is Side.OURS and tunnel.our_secret else tunnel.secret
            owners = f'"{tunnel.identity(side)}" "{tunnel.identity(side.other)}"'
            lines.append(f'{owners} : PSK "{secret}"')
    # PKCS#8 files are one kind of entry, whatever key is in them.
    kinds = sorted({tunnel.key_kind for tunnel in tunnels} - {""})
    lines += [f": PKCS8 {kind}.pem" for kind in kinds]
    return "\n".join(lines) + "\n"


def swanctl_conf(tunnels: Iterable[Tunnel]) -> str:
    """Return the connections and secrets of strongSwan's end."""
    tunnels = list(tunnels)
    connections = "\n".join(_connection(tunnel) for tunnel in tunnels)
    secrets = "\n".join(_secret(tunnel) for tunnel in tunnels if tunnel.auth == PSK)
    return f"connections {{\n{connections}\n}}\nsecrets {{\n{secrets}\n}}\n"


def _secret(tunnel: Tunnel) -> str:
    identities = "".join(
        f'    id-{number} = "{tunnel.identity(side)}"\n' for number, side in enumerate(Side, 1)
    )
    return f'  ike-{tunnel.name} {{\n{identities}    secret = "{tunnel.secret}"\n  }}'


def _connection(tunnel: Tunnel) -> str:
    local, remote = Side.THEIRS, Side.OURS
    auth = _AUTH.get(tunnel.auth, "pubkey")
    own = peers = ""
    if tunnel.has_certificates:
        own = f"certs = {tunnel.name}.pem"
    elif tunnel.raw:
        own = f"pubkeys = {key_file(tunnel.key_kind, local)}"
        peers = f"pubkeys = {key_file(tunnel.key_kind, remote)}"
    settings = "\n    ".join(tunnel.theirs)
    first = _child(
        tunnel.name,
        tunnel.selector(local, configured_at=local),
        tunnel.selector(remote, configured_at=local),
        tunnel.their_esp or tunnel.esp,
        tunnel.their_child,
    )
    second = ""
    if tunnel.second_esp:
        networks = tunnel.second_network(local), tunnel.second_network(remote)
        proposals = tunnel.their_second_esp or tunnel.second_esp
        second = _child(tunnel.second, *networks, proposals, tunnel.their_child)
    return f"""
  {tunnel.name} {{
    version = 2
    local_addrs = {tunnel.gateway(local, configured_at=local)}
    remote_addrs = {tunnel.gateway(remote, configured_at=local)}
    proposals = {tunnel.their_ike or tunnel.ike}
    {settings}
    local {{
      id = "{tunnel.identity(local)}"
      auth = {auth}
      {own}
    }}
    remote {{
      id = "{tunnel.identity(remote)}"
      auth = {auth}
      {peers}
    }}
    children {{{first}{second}
    }}
  }}"""


def _child(name: str, local: str, remote: str, proposals: str, settings: tuple[str, ...]) -> str:
    more = "\n        ".join(settings)
    return f"""
      {name} {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {proposals}
        {more}
      }}"""
