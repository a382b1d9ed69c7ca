"""What an IKE_SA has to remember only until it is authenticated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charon_core.crypto.signature_schemes import SignatureScheme


class Handshake:
    """Nonces, first messages and announcements of an IKE_SA that is being set up.

    The IKE_SA drops it when it is established: that is most of a half-open IKE_SA's memory.
    """

    __slots__ = (
        "authorities",
        "own_message",
        "own_nonce",
        "peer_hashes",
        "peer_message",
        "peer_methods",
        "peer_nonce",
        "peer_schemes",
        "proposal_number",
    )

    def __init__(self) -> None:
        self.own_nonce = b""
        self.peer_nonce = b""
        self.own_message = b""
        """Our IKE_SA_INIT message as it was sent; AUTH covers it."""
        self.peer_message = b""
        """The peer's IKE_SA_INIT message as it came."""
        self.proposal_number = 1
        """The number of the initiator's proposal that we selected."""
        self.peer_hashes: tuple[int, ...] = ()
        """Hash algorithms that the peer takes in signatures (RFC 7427 4)."""
        self.peer_methods: frozenset[int] = frozenset()
        """Authentication methods that the peer takes; empty if it has not said (RFC 9593)."""
        self.peer_schemes: tuple[SignatureScheme, ...] = ()
        """Signature schemes that it takes; empty if it has not said."""
        self.authorities: frozenset[bytes] = frozenset()
        """SHA-1 hashes of the CA keys that the peer asked certificates of (RFC 7296 3.7)."""
