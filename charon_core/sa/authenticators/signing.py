"""Our proof of who we are in one round that needs no EAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_core.bus.listener import Group, Level
from charon_core.config.peer import AuthClass
from charon_core.sa.authenticators import announcements, null, psk, pubkey
from charon_core.sa.authenticators.proof import AuthenticationError, own_proof

if TYPE_CHECKING:
    from charon_core.config.identification import Identification
    from charon_core.config.peer import AuthConfig
    from charon_core.encoding.payloads import Authentication
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.keying import IkeKeying


def sign(
    ike: IkeSa,
    auth: AuthConfig,
    identity: Identification,
    other: Identification,
    keying: IkeKeying | None = None,
) -> Authentication:
    """Make the AUTH payload of one of our rounds.

    Args:
        ike: The IKE_SA.
        auth: The round.
        identity: Who we are.
        other: Who wants to know it.
        keying: The keys to do it with, if they are not those of the IKE_SA.

    Raises:
        AuthenticationError: There is no secret or key for it.
    """
    proof = own_proof(ike, identity, other, keying)
    if auth.auth_class is AuthClass.PSK:
        payload, how = psk.sign(proof), "pre-shared key"
    elif auth.auth_class is AuthClass.NULL:
        payload, how = null.sign(proof), "NULL"
    elif auth.auth_class is AuthClass.EAP:
        raise AuthenticationError(
            f"'{identity}' has to be proved by EAP, which the peer has not begun"
        )
    else:
        payload, how = pubkey.sign(proof, auth)
    announcements.remark(ike, payload.method)
    ike.log(
        Group.IKE, Level.CONTROL, "authentication of '%s' (myself) with %s successful",
        identity, how,
    )  # fmt: skip
    return payload
