"""What an EAP method is: packets in, packets out, and a key at the end (RFC 3748)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class EapStatus(Enum):
    """How a method goes on after a packet."""

    MORE = "more"
    """`packet` is to be sent."""
    SUCCESS = "success"
    """A server's method: the peer is who it says. A peer's method: `packet` is to be sent, and the
    server may say Success from now on; before that, Success is refused."""
    FAILURE = "failure"
    """It is over. A server says Failure, a peer nothing, unless there is a `packet`."""


@dataclass(frozen=True, slots=True)
class EapStep:
    """What a method wants after it was given a packet."""

    status: EapStatus
    packet: bytes = b""
    """A complete EAP packet to send, empty for none."""


class EapMethod(Protocol):
    """One conversation of one method, in one role. Knows no time, no socket, no thread.

    `EapServer` and `EapPeer` make them, and do what belongs to EAP itself: Identity,
    Notification, Nak, Success, Failure, and bounds on how long it may take.
    """

    @property
    def is_mutual(self) -> bool:
        """Whether it proves the server to the peer as well (RFC 5998)."""
        ...

    @property
    def msk(self) -> bytes | None:
        """The Master Session Key once it succeeded; None if the method makes none."""
        ...

    def begin(self, identifier: int) -> EapStep:
        """Server only: return the first request, with this EAP identifier."""
        ...

    def process(self, packet: bytes) -> EapStep:
        """Take a packet: a response in the server's role, a request in the peer's.

        Its code, its length and the method's type are checked already; so is the identifier of a
        response. Success and Failure never come here.

        Raises:
            ParseError: It is malformed.
        """
        ...
