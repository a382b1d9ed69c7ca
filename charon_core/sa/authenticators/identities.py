"""Who we say we are in a round, and what EAP methods call both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.config.identification import FQDN, KEY_ID, NULL, RFC822_ADDR, Identification
from charon_core.config.peer import AuthClass

if TYPE_CHECKING:
    from charon_core.config.peer import AuthConfig
    from charon_core.sa.ike_sa import IkeSa

NOBODY = Identification(NULL, b"")
"""ID_NULL: who proves nothing claims nothing (RFC 7619 2.2)."""


def own_identity(
    ike: IkeSa, auth: AuthConfig, wanted: Identification | None = None
) -> Identification:
    """Return who we say we are: as configured, as the peer wants it, or by address."""
    if auth.auth_class is AuthClass.NULL:
        return NOBODY
    if not auth.identity.is_any and not auth.identity.is_pattern:
        return auth.identity
    if wanted is not None and wanted.matches(auth.identity):
        return wanted
    return Identification.from_address(ike.local.host)


def parse_eap_name(said: bytes) -> Identification:
    """Return the identity that a peer has told inside of EAP: a name, or octets of its own."""
    try:
        text = said.decode()
    except UnicodeDecodeError:
        return Identification(KEY_ID, said)
    if not text.isprintable():
        return Identification(KEY_ID, said)
    # Taken apart by hand: a peer does not write patterns or types.
    return Identification(RFC822_ADDR if "@" in text else FQDN, said)


def eap_name(identity: Identification | None) -> bytes:
    """Return an identity as EAP methods have it: the bare name; empty for nobody in particular."""
    if identity is None or identity.is_any:
        return b""
    if identity.id_type in {FQDN, RFC822_ADDR, KEY_ID}:
        return identity.data
    return str(identity).encode()
