"""What an IKE_SA has to remember only until it is authenticated."""

from __future__ import annotations


class Handshake:
    """Nonces, first messages and announcements of an IKE_SA that is being set up.

    The IKE_SA drops it when it is established: that is most of a half-open IKE_SA's memory.
    """

    __slots__ = (
        "additional",
        "authorities",
        "intermediates",
        "own_int_auth",
        "own_message",
        "own_nonce",
        "peer_hashes",
        "peer_id_body",
        "peer_int_auth",
        "peer_message",
        "peer_nonce",
        "proposal_number",
    )

    def __init__(self) -> None:
        self.own_nonce = b""
        self.peer_nonce = b""
        self.own_message = b""
        """Our IKE_SA_INIT message as it was sent; AUTH covers it."""
        self.peer_message = b""
        self.peer_id_body = b""
        """The peer's last ID payload as it came, which its AUTH covers (RFC 7296 2.15)."""
        """The peer's IKE_SA_INIT message as it came."""
        self.proposal_number = 1
        """The number of the initiator's proposal that we selected."""
        self.peer_hashes: tuple[int, ...] = ()
        """Hash algorithms that the peer takes in signatures (RFC 7427 4)."""
        self.additional: list[int] = []
        """Key exchanges that are still to be done in IKE_INTERMEDIATE, in order (RFC 9370)."""
        self.intermediates = 0
        """IKE_INTERMEDIATE exchanges that were begun."""
        self.own_int_auth = b""
        """What our messages of these exchanges add to AUTH (RFC 9242 3.3.2)."""
        self.peer_int_auth = b""
        """What the peer's add."""
        self.authorities: frozenset[bytes] = frozenset()
        """SHA-1 hashes of the CA keys that the peer asked certificates of (RFC 7296 3.7)."""

    def int_auth(self, *, we_initiated: bool) -> bytes:
        """Return what AUTH covers of IKE_INTERMEDIATE; nothing without it (RFC 9242 3.3.2)."""
        if not self.intermediates:
            return b""
        parts = (self.own_int_auth, self.peer_int_auth)
        by_initiator, by_responder = parts if we_initiated else parts[::-1]
        auth_message_id = self.intermediates + 1
        return by_initiator + by_responder + auth_message_id.to_bytes(4, "big")
