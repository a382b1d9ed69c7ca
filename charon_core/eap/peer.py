"""The peer's side of an EAP conversation (RFC 3748): packets in, packets out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.eap.method import EapStatus, EapStep
from charon_core.eap.names import kind_name
from charon_core.eap.packet import (
    FIRST_METHOD,
    IDENTITY,
    NAK,
    NOTIFICATION,
    EapCode,
    EapPacket,
    nak_of,
)
from charon_core.eap.registry import EapRole
from charon_core.encoding.errors import ParseError

if TYPE_CHECKING:
    from charon_core.eap.method import EapMethod
    from charon_core.eap.registry import EapRegistry, EapType

MAX_ROUNDS: Final = 64
"""Requests that are answered in one conversation."""

_MAX_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """How we prove who we are.

    Attributes:
        server: Whom we expect the server to be, as the method is told.
        peer: Our identity inside of EAP.
        method: The only method that we use; None for any that there is.
    """

    server: bytes
    peer: bytes
    method: EapType | None = None


class EapPeer:
    """Answers the server's requests, and believes its Success when the method allows it.

    Attributes:
        kind: The method that is in use, None before there is one.
        must_be_mutual: Whether the method has to prove the server as well, and make a key: there
            is no other proof of it (RFC 5998).
        notification: What the server wanted to be shown, for the log.
        problem: What has gone wrong, for the local log.
    """

    def __init__(self, registry: EapRegistry, plan: PeerPlan) -> None:
        self._registry = registry
        self._plan = plan
        self._method: EapMethod | None = None
        self._may_succeed = False
        self._is_over = False
        self._rounds = 0
        self.kind: EapType | None = None
        self.must_be_mutual = False
        self.notification = ""
        self.problem = ""

    @property
    def is_mutual(self) -> bool:
        """Whether the method proves the server as well."""
        return self._method is not None and self._method.is_mutual

    @property
    def msk(self) -> bytes | None:
        """The key that the method has made, if it makes one."""
        return self._method.msk if self._method is not None else None

    def process(self, octets: bytes) -> EapStep:
        """Take a packet of the server.

        Returns:
            MORE with what is to be sent; SUCCESS without a packet when the server has said so and
            may; FAILURE when it is over.
        """
        try:
            packet = EapPacket.parse(octets)
            return self._process(packet, octets)
        except ParseError as error:
            return self._fail(f"the server's EAP packet is malformed: {error}")
        except Exception as error:  # noqa: BLE001 - one plugin's fault must not stop others
            # The text of a foreign exception might hold what must not be logged.
            return self._fail(f"{kind_name(self.kind)} has failed: {type(error).__name__}")

    def _process(self, packet: EapPacket, octets: bytes) -> EapStep:
        if self._is_over:
            return self._fail("the server goes on after the end of EAP")
        if packet.code is EapCode.SUCCESS:
            return self._succeed()
        if packet.code is EapCode.FAILURE:
            return self._fail(
                "the server does not believe us: it says EAP Failure; compare the EAP identity "
                "and its secret at both ends"
            )
        if packet.code is not EapCode.REQUEST or packet.kind is None:
            return self._fail("the server sends an EAP response, expected is a request")
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            return self._fail(f"no end after {MAX_ROUNDS} requests")
        if packet.kind == NOTIFICATION:
            text = packet.data[:_MAX_SHOWN].decode(errors="replace")
            self.notification = "".join(c if c.isprintable() else "?" for c in text)
            return _answer(EapPacket(EapCode.RESPONSE, packet.identifier, NOTIFICATION))
        if packet.kind == NAK:
            return self._fail("the server sends a Nak, which only a peer may")
        if self._method is not None:
            if packet.kind != self.kind:
                return self._fail(
                    f"the server asks for {kind_name(packet.kind)} in the middle of "
                    f"{kind_name(self.kind)}"
                )
            return self._stepped(self._method.process(octets))
        if packet.kind == IDENTITY:
            return self._tell_identity(octets)
        return self._begin(packet, octets)

    def _tell_identity(self, octets: bytes) -> EapStep:
        method = self._registry.create(IDENTITY, EapRole.PEER, self._plan.server, self._plan.peer)
        if method is None:
            return self._fail(
                "the server asks for our EAP identity, and no plugin answers that; load "
                "eap_identity"
            )
        step = method.process(octets)
        if step.status is EapStatus.FAILURE:
            return self._fail("our EAP identity cannot be told")
        return EapStep(EapStatus.MORE, step.packet)

    def _begin(self, request: EapPacket, octets: bytes) -> EapStep:
        """Take the method that the server wants, or say which ones we have."""
        kind, plan = request.kind, self._plan
        if kind is None:
            return self._fail("the server asks for no method")
        choices = [
            known
            for known in self._registry.types(EapRole.PEER)
            if known.type >= FIRST_METHOD or known.vendor
            if plan.method is None or known == plan.method
        ]
        if not choices:
            wanted = "any EAP method" if plan.method is None else kind_name(plan.method)
            return self._fail(f"{wanted} is needed, and is not available; load its plugin")
        method = (
            self._registry.create(kind, EapRole.PEER, plan.server, plan.peer)
            if kind in choices
            else None
        )
        if method is None or (self.must_be_mutual and not method.is_mutual):
            others = tuple(known for known in choices if known != kind)
            if not others:
                return self._fail(
                    f"the server wants {kind_name(kind)}, which does not prove who it is; have it "
                    "send its certificate"
                )
            return _answer(nak_of(request, others))
        self._method, self.kind = method, kind
        return self._stepped(method.process(octets))

    def _stepped(self, step: EapStep) -> EapStep:
        if step.status is EapStatus.FAILURE or not step.packet:
            return self._fail(f"{kind_name(self.kind)} fails: the server proves nothing, or we "
                              "lack the secret")  # fmt: skip
        self._may_succeed = step.status is EapStatus.SUCCESS
        return EapStep(EapStatus.MORE, step.packet)

    def _succeed(self) -> EapStep:
        if not self._may_succeed:
            return self._fail("the server says EAP Success before its method has come to its end")
        if self.must_be_mutual and not (self.is_mutual and self.msk):
            return self._fail(
                f"{kind_name(self.kind)} does not prove who the server is, and nothing else does"
            )
        self._is_over = True
        return EapStep(EapStatus.SUCCESS)

    def _fail(self, problem: str) -> EapStep:
        self.problem = self.problem or problem
        self._is_over = True
        return EapStep(EapStatus.FAILURE)


def _answer(packet: EapPacket) -> EapStep:
    return EapStep(EapStatus.MORE, packet.encode())
