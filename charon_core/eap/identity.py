"""EAP-Identity (RFC 3748 5.1): shaped like a method, and offered by a plugin like one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from charon_core.eap.method import EapMethod, EapStatus, EapStep
from charon_core.eap.packet import IDENTITY, EapCode, EapPacket

if TYPE_CHECKING:
    from typing import ClassVar

MAX_IDENTITY: Final = 1020
"""Octets of an identity: what is left of the least MTU that EAP asks for (RFC 3748 3.1)."""


@runtime_checkable
class IdentityMethod(EapMethod, Protocol):
    """A server's method that asks who the peer is, and proves nothing."""

    @property
    def identity(self) -> bytes:
        """What the peer has said; empty if it has not said anything."""
        ...


class IdentityServer:
    """Asks the peer who it is."""

    is_mutual: ClassVar[bool] = False
    msk: ClassVar[None] = None

    def __init__(self, server: bytes, peer: bytes) -> None:
        del server, peer  # it is to be learned who the peer is
        self.identity = b""

    def begin(self, identifier: int) -> EapStep:
        """Return the request, without a text to show."""
        request = EapPacket(EapCode.REQUEST, identifier, IDENTITY)
        return EapStep(EapStatus.MORE, request.encode())

    def process(self, packet: bytes) -> EapStep:
        """Take the answer."""
        said = EapPacket.parse(packet).data
        if len(said) > MAX_IDENTITY:
            return EapStep(EapStatus.FAILURE)
        self.identity = said
        return EapStep(EapStatus.SUCCESS)


class IdentityPeer:
    """Says who we are."""

    is_mutual: ClassVar[bool] = False
    msk: ClassVar[None] = None

    def __init__(self, server: bytes, peer: bytes) -> None:
        del server
        self._peer = peer

    def begin(self, identifier: int) -> EapStep:
        """Refuse: the server begins."""
        del identifier
        return EapStep(EapStatus.FAILURE)

    def process(self, packet: bytes) -> EapStep:
        """Answer with our identity; a text to show is passed over."""
        request = EapPacket.parse(packet)
        answer = EapPacket(EapCode.RESPONSE, request.identifier, IDENTITY, self._peer)
        return EapStep(EapStatus.MORE, answer.encode())
