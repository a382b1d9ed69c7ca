"""What an IKE_SA with one peer is to be: authentication of both sides, lifetimes, children."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Final

from charon_core.config.identification import KEY_ID, Identification
from charon_core.key_enum import KeyEnum

if TYPE_CHECKING:
    from collections.abc import Hashable

    from charon_core.config.child import ChildConfig
    from charon_core.config.ike import IkeConfig

MAX_AUTH_ROUNDS: Final = 8
"""Authentication rounds of one side (RFC 4739) that a configuration may ask for."""


_OWN: Final = frozenset({"name", "ike", "children"})


class AuthClass(KeyEnum):
    """How one side proves its identity; the value is the name that status output uses."""

    ANY = "any"
    PUBKEY = "public key"
    PSK = "pre-shared key"
    EAP = "EAP"
    NULL = "NULL"


def ppk_identity(name: str) -> Identification:
    """Return the identity of a post-quantum preshared key: octets, whatever the name looks like.

    Args:
        name: As written: ``carol@example.org``, ``gateway 7``, ``@#0a1b`` for any octets.

    Raises:
        ValueError: It is empty, or what should be hexadecimal digits is not.
    """
    data = Identification.parse(name).data if name.startswith("@#") else name.encode()
    if not data:
        raise ValueError("the identity of a post-quantum preshared key is empty")
    return Identification(KEY_ID, data)


class UniquePolicy(Enum):
    """What happens when a peer's identity has a second IKE_SA."""

    NO = "no"
    """Replace only when the peer sends INITIAL_CONTACT."""
    REPLACE = "replace"
    """The new one replaces the old one."""
    KEEP = "keep"
    """The new one is refused."""
    NEVER = "never"
    """Keep both, whatever the peer says."""


class SendCert(Enum):
    """When our certificate is sent."""

    ALWAYS = "always"
    IF_ASKED = "ifasked"
    NEVER = "never"


class RevocationPolicy(KeyEnum):
    """How much must be known about the revocation of a peer's certificates."""

    RELAXED = "no"
    """Refuse only what is known to be revoked."""
    IF_URI = "ifuri"
    """Good, or the certificate names no source of revocation information."""
    STRICT = "yes"
    """Good, for each certificate of the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """One authentication round of one side."""

    auth_class: AuthClass = AuthClass.PUBKEY
    identity: Identification = field(default_factory=Identification.any)
    """Who the side claims to be; a pattern for the remote side."""
    loose_identity: bool = False
    """Remote side, as initiator: send no IDr and accept any that the certificate confirms."""
    eap_method: tuple[int, int] | None = None
    """EAP type and vendor (0 = IETF); None leaves the choice to the negotiation."""
    eap_identity: Identification | None = None
    """Identity inside EAP; ANY means ask with EAP-Identity, None means the IKE identity."""
    aaa_identity: Identification | None = None
    """Identity that the EAP server must prove inside a tunnelled method."""
    certificates: tuple[bytes, ...] = ()
    """DER; the local side sends them (end entity first), the remote side is pinned to them."""
    public_keys: tuple[bytes, ...] = ()
    """SubjectPublicKeyInfo DER of raw keys; the remote side is pinned to them."""
    ca: Identification | None = None
    """Subject of a CA that the peer's trust chain must contain."""
    signature_constraints: tuple[str, ...] = ()
    """Constraints on keys and signatures as written, for example ``rsa-2048-sha256``."""
    min_key_bits: int = 0
    """Smallest key, in bits, of any certificate of the chain; 0 for the daemon's limits only."""
    groups: tuple[str, ...] = ()
    """The peer must be in one of these groups."""
    cert_policies: tuple[str, ...] = ()
    """Dotted OIDs of certificate policies that the peer's certificate must carry."""
    revocation: RevocationPolicy = RevocationPolicy.RELAXED

    def __str__(self) -> str:
        """``public key authentication as 'moon.example.org'``."""
        name = self.auth_class.value
        if self.eap_method is not None:
            name = "EAP_{}-{}".format(*self.eap_method)
        return f"{name} authentication as '{self.identity}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """An IKE_SA's configuration once the peer's identity is known.

    Times are seconds, 0 = never.

    Raises:
        ValueError: no name, no authentication round on a side, or a negative number.
    """

    name: str
    ike: IkeConfig
    local: tuple[AuthConfig, ...]
    """Our authentication rounds, in order."""
    remote: tuple[AuthConfig, ...]
    """The peer's authentication rounds, in order."""
    children: tuple[ChildConfig, ...] = ()
    unique: UniquePolicy = UniquePolicy.REPLACE
    keyingtries: int = 3
    """Sequences of retransmissions before giving up; 0 = for ever."""
    rekey_time: float = 0.0
    reauth_time: float = 0.0
    jitter_time: float = 0.0
    """A random part of this is taken off the rekey or reauthentication time."""
    over_time: float = 0.0
    """The IKE_SA is deleted this long after rekeying or reauthentication was due; 0 = never."""
    mobike: bool = True
    dpd_delay: float = 0.0
    """Silence before the peer's liveness is checked; 0 = never."""
    send_cert: SendCert = SendCert.IF_ASKED
    virtual_ips: tuple[str, ...] = ()
    """Addresses to ask for; ``0.0.0.0`` and ``::`` ask for any of their family."""
    pools: tuple[str, ...] = ()
    """Names of the pools that the peer's virtual addresses come from, in order."""
    dns: tuple[str, ...] = ()
    """Name servers to hand to the peer."""
    ppk_id: Identification | None = None
    """Names the post-quantum preshared key (RFC 8784), as `ppk_identity` makes it; as responder,
    None takes any that we have."""
    ppk_required: bool = False
    """Refuse a peer that has no such key."""
    request_dns: tuple[str, ...] = ()
    """Name servers to ask for; ``0.0.0.0`` and ``::`` ask for any of their family."""

    def __post_init__(self) -> None:
        """Refuse what could never be established."""
        if not self.name:
            message = "a peer configuration needs a name"
            raise ValueError(message)
        for side, rounds in (("local", self.local), ("remote", self.remote)):
            if not 1 <= len(rounds) <= MAX_AUTH_ROUNDS:
                message = (
                    f"connection '{self.name}': {len(rounds)} {side} authentication rounds, "
                    f"expected 1 to {MAX_AUTH_ROUNDS}"
                )
                raise ValueError(message)
        times = (
            self.rekey_time,
            self.reauth_time,
            self.jitter_time,
            self.over_time,
            self.dpd_delay,
            self.keyingtries,
        )
        if min(times) < 0:
            message = f"connection '{self.name}': a time or the number of tries is negative"
            raise ValueError(message)

    @property
    def content_key(self) -> Hashable:
        """A key that two configurations share if they differ in names and children only."""
        return (
            self.ike.content_key,
            *(getattr(self, entry.name) for entry in fields(self) if entry.name not in _OWN),
        )

    def child(self, name: str) -> ChildConfig | None:
        """Return the CHILD_SA configuration of that name, or None."""
        return next((child for child in self.children if child.name == name), None)
