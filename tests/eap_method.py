"""An EAP method for tests: a challenge and a response, mutual or not, with a key or without."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, ClassVar

from charon_core.eap.identity import IdentityPeer, IdentityServer
from charon_core.eap.method import EapStatus, EapStep
from charon_core.eap.packet import IDENTITY, EapCode, EapPacket
from charon_core.eap.registry import EapRegistry, EapRole, EapType
from charon_core.encoding.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE = 32
"""Octets of challenges and responses."""

MUTUAL = EapType(200)
"""Proves both sides, and makes a key."""
KEYED = EapType(201)
"""Proves the peer, and makes a key."""
BARE = EapType(202)
"""Proves the peer, and makes no key."""
KEYLESS_MUTUAL = EapType(203)
"""Says that it proves both sides, and makes no key."""
LONG = EapType(204)
"""Goes on for ever."""
VENDOR = EapType(1, 4711)
"""As MUTUAL, of a vendor."""

Passwords = dict[bytes, bytes]


class Method:
    """What both roles have in common."""

    kind: ClassVar[EapType]
    is_mutual: ClassVar[bool] = False
    has_key: ClassVar[bool] = True
    is_endless: ClassVar[bool] = False

    def __init__(self, passwords: Mapping[bytes, bytes], server: bytes, peer: bytes) -> None:
        self.server = server
        self.peer = peer
        self.password = passwords.get(peer)
        self.msk: bytes | None = None
        self.challenge = bytes(SIZE)

    def proof(self, role: bytes, challenge: bytes) -> bytes:
        assert self.password is not None
        return hmac.digest(self.password, role + challenge + self.peer, "sha256")

    def make_key(self) -> None:
        if self.has_key:
            assert self.password is not None
            self.msk = hmac.digest(self.password, b"key" + self.challenge, "sha512")

    def packet(self, code: EapCode, identifier: int, data: bytes) -> bytes:
        return EapPacket(code, identifier, self.kind, data).encode()


class Server(Method):
    """Asks for a proof, and gives one itself where it is mutual."""

    def begin(self, identifier: int) -> EapStep:
        if self.password is None:
            return EapStep(EapStatus.FAILURE)
        self.challenge = hmac.digest(self.password, bytes((identifier,)), "sha256")
        request = self.packet(EapCode.REQUEST, identifier, self.challenge)
        return EapStep(EapStatus.MORE, request)

    def process(self, packet: bytes) -> EapStep:
        response = EapPacket.parse(packet)
        following = (response.identifier + 1) & 0xFF
        if self.is_endless:
            request = self.packet(EapCode.REQUEST, following, self.challenge)
            return EapStep(EapStatus.MORE, request)
        if self.msk is not None or response.data == b"fine":
            return EapStep(EapStatus.SUCCESS)
        if len(response.data) != SIZE + (SIZE if self.is_mutual else 0):
            raise ParseError("EAP-Test", 0, f"{len(response.data)} octets")
        if response.data[:SIZE] != self.proof(b"peer", self.challenge):
            return EapStep(EapStatus.FAILURE)
        self.make_key()
        if not self.is_mutual:
            return EapStep(EapStatus.SUCCESS)
        answer = self.proof(b"server", response.data[SIZE:])
        return EapStep(EapStatus.MORE, self.packet(EapCode.REQUEST, following, answer))


class Peer(Method):
    """Answers, and wants a proof where it is mutual."""

    asked = b""

    def begin(self, identifier: int) -> EapStep:
        raise AssertionError(identifier)

    def process(self, packet: bytes) -> EapStep:
        request = EapPacket.parse(packet)
        if self.password is None:
            return EapStep(EapStatus.FAILURE)
        if self.asked:
            if request.data != self.proof(b"server", self.asked):
                return EapStep(EapStatus.FAILURE)
            answer = self.packet(EapCode.RESPONSE, request.identifier, b"fine")
            return EapStep(EapStatus.SUCCESS, answer)
        self.challenge = request.data
        proof = self.proof(b"peer", request.data)
        self.make_key()
        if self.is_endless:
            answer = self.packet(EapCode.RESPONSE, request.identifier, proof)
            return EapStep(EapStatus.MORE, answer)
        if not self.is_mutual:
            answer = self.packet(EapCode.RESPONSE, request.identifier, proof)
            return EapStep(EapStatus.SUCCESS, answer)
        self.asked = bytes(range(SIZE))
        answer = self.packet(EapCode.RESPONSE, request.identifier, proof + self.asked)
        return EapStep(EapStatus.MORE, answer)


_TRAITS: dict[EapType, dict[str, bool]] = {
    MUTUAL: {"is_mutual": True},
    KEYED: {},
    BARE: {"has_key": False},
    KEYLESS_MUTUAL: {"is_mutual": True, "has_key": False},
    LONG: {"is_endless": True},
    VENDOR: {"is_mutual": True},
}


def offer(
    registry: EapRegistry,
    passwords: Mapping[bytes, bytes],
    *kinds: EapType,
    identity: bool = True,
) -> None:
    """Register methods in both roles."""
    if identity:
        registry.add(IDENTITY, EapRole.SERVER, IdentityServer)
        registry.add(IDENTITY, EapRole.PEER, IdentityPeer)
    for kind in kinds:
        for role, base in ((EapRole.SERVER, Server), (EapRole.PEER, Peer)):
            made = type(base.__name__, (base,), {"kind": kind, **_TRAITS[kind]})
            registry.add(kind, role, lambda server, peer, made=made: made(passwords, server, peer))
