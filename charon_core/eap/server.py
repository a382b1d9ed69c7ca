"""The server's side of an EAP conversation (RFC 3748): packets in, packets out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from charon_core.eap.identity import IdentityMethod
from charon_core.eap.method import EapStatus, EapStep
from charon_core.eap.names import kind_name
from charon_core.eap.packet import FIRST_METHOD, IDENTITY, NAK, EapCode, EapPacket, wanted_by
from charon_core.eap.registry import EapRole
from charon_core.encoding.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.eap.method import EapMethod
    from charon_core.eap.registry import EapRegistry, EapType

MAX_ROUNDS: Final = 64
"""Requests of one conversation, those of all methods together."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What the peer has to prove.

    Attributes:
        server: Our identity towards the method.
        peer: The peer's, as far as it is known.
        method: The only method that will do; None for any that there is.
        mutual: Whether the method has to prove us to the peer as well, and make a key (RFC 5998).
    """

    server: bytes
    peer: bytes
    method: EapType | None = None
    mutual: bool = False


class EapServer:
    """Asks the peer who it is, agrees on a method, and has that prove it.

    Attributes:
        identity: Who the peer says it is inside of EAP, empty if it was not asked.
        kind: The method that is in use, None before there is one.
        problem: What has gone wrong, for the local log.
    """

    def __init__(
        self,
        registry: EapRegistry,
        plan: ServerPlan,
        first_identifier: int,
        ask: Callable[[bytes], ServerPlan | None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            registry: Has the methods.
            plan: What the peer has to prove.
            first_identifier: Of our first request, 0..255.
            ask: Ask the peer for its identity first, and hand it to this; it returns the plan
                for that peer, or None if there is no place for it. None not to ask.
        """
        self._registry = registry
        self._plan = plan
        self._identifier = first_identifier & 0xFF
        self._ask = ask
        self._rounds = 0
        self._method: EapMethod | None = None
        self._asking: EapMethod | None = None
        self._left: list[EapType] = []
        self._is_agreed = False
        self._is_over = False
        self.identity = b""
        self.kind: EapType | None = None
        self.problem = ""

    @property
    def is_mutual(self) -> bool:
        """Whether the method proves us to the peer as well."""
        return self._method is not None and self._method.is_mutual

    @property
    def msk(self) -> bytes | None:
        """The key that the method has made, if it makes one."""
        return self._method.msk if self._method is not None else None

    def begin(self) -> EapStep:
        """Return the first request, or FAILURE without a packet if there is nothing to ask."""
        if self._ask is None:
            return self._offer(self._choices())
        self._asking = self._registry.create(
            IDENTITY, EapRole.SERVER, self._plan.server, self._plan.peer
        )
        if self._asking is None:
            return self._fail(
                "the peer has to be asked for its EAP identity, and no plugin does that; load "
                "eap_identity, or remove eap_identity from the connection",
                None,
            )
        return self._asked(self._asking.begin(self._identifier))

    def process(self, octets: bytes) -> EapStep:
        """Take a response; the next request, Success or Failure is in the step's packet."""
        try:
            packet = EapPacket.parse(octets)
            return self._process(packet, octets)
        except ParseError as error:
            return self._fail(f"the peer's EAP packet is malformed: {error}", self._identifier)
        except Exception as error:  # noqa: BLE001 - one plugin's fault must not stop others
            # The text of a foreign exception might hold what must not be logged.
            return self._fail(
                f"{kind_name(self.kind)} has failed: {type(error).__name__}", self._identifier
            )

    def _process(self, packet: EapPacket, octets: bytes) -> EapStep:
        identifier = packet.identifier
        if self._is_over:
            return self._fail("the peer goes on after the end of EAP", identifier)
        if packet.code is not EapCode.RESPONSE or packet.kind is None:
            return self._fail(
                f"the peer sends EAP {packet.code.name}, expected is a response", identifier
            )
        if identifier != self._identifier:
            return self._fail(
                f"the response has identifier {identifier}, the request had {self._identifier}",
                identifier,
            )
        if self._rounds >= MAX_ROUNDS:
            return self._fail(f"no end after {MAX_ROUNDS} requests", identifier)
        if self._asking is not None:
            return self._identified(self._asking, packet, octets)
        if packet.kind == NAK:
            return self._refused(packet)
        if self._method is None or packet.kind != self.kind:
            return self._fail(
                f"the peer answers {kind_name(self.kind)} with {kind_name(packet.kind)}", identifier
            )
        self._is_agreed = True
        self._next_identifier()
        return self._stepped(self._method.process(octets), identifier)

    def _identified(self, asking: EapMethod, packet: EapPacket, octets: bytes) -> EapStep:
        if packet.kind != IDENTITY:
            return self._fail(
                f"asked who it is, the peer answers with {kind_name(packet.kind)}",
                packet.identifier,
            )
        self._next_identifier()
        step = asking.process(octets)
        if step.status is EapStatus.MORE:
            return self._asked(step)
        self._asking = None
        if step.status is EapStatus.FAILURE or not isinstance(asking, IdentityMethod):
            return self._fail("the peer does not say who it is", packet.identifier)
        self.identity = asking.identity
        plan = self._ask(self.identity) if self._ask is not None else None
        if plan is None:
            return self._fail(
                f"no connection takes the EAP identity '{self.identity.decode(errors='replace')}'",
                packet.identifier,
            )
        self._plan = plan
        return self._offer(self._choices(), packet.identifier)

    def _refused(self, nak: EapPacket) -> EapStep:
        """Offer another method, if the peer wants one that we have and none has begun."""
        refused = kind_name(self.kind)
        if self._is_agreed or self._method is None:
            return self._fail(
                f"the peer refuses {refused} after it has accepted it", nak.identifier
            )
        wanted = wanted_by(nak, tuple(self._left))
        if not wanted:
            return self._fail(
                f"the peer refuses {refused}, and wants no other method that is allowed here",
                nak.identifier,
            )
        self._next_identifier()
        return self._offer(list(wanted), nak.identifier)

    def _choices(self) -> list[EapType]:
        plan = self._plan
        available = self._registry.types(EapRole.SERVER)
        return [
            kind
            for kind in available
            if kind.type >= FIRST_METHOD or kind.vendor
            if plan.method is None or kind == plan.method
        ]

    def _offer(self, choices: list[EapType], answered: int | None = None) -> EapStep:
        """Begin the first method that can be begun."""
        plan = self._plan
        for number, kind in enumerate(choices):
            peer = self.identity or plan.peer
            method = self._registry.create(kind, EapRole.SERVER, plan.server, peer)
            if method is None or (plan.mutual and not method.is_mutual):
                continue
            step = method.begin(self._identifier)
            if step.status is not EapStatus.MORE or not step.packet:
                # It lacks what it needs for this peer, a password say; another one may have it.
                continue
            self._method, self.kind = method, kind
            self._left = choices[number + 1 :]
            return self._asked(step)
        wanted = "any EAP method" if plan.method is None else kind_name(plan.method)
        who = self.identity or plan.peer
        mutual = " that proves both sides" if plan.mutual else ""
        return self._fail(
            f"{wanted}{mutual} is needed for '{who.decode(errors='replace')}' and none is "
            "available; load its plugin, and see that it has the peer's secret",
            answered,
        )

    def _stepped(self, step: EapStep, answered: int) -> EapStep:
        if step.status is EapStatus.MORE:
            return self._asked(step)
        if step.status is EapStatus.FAILURE:
            return self._fail(f"{kind_name(self.kind)} does not prove the peer", answered)
        if self._plan.mutual and not self.msk:
            return self._fail(f"{kind_name(self.kind)} has made no key", answered)
        self._is_over = True
        return EapStep(EapStatus.SUCCESS, EapPacket(EapCode.SUCCESS, answered).encode())

    def _asked(self, step: EapStep) -> EapStep:
        self._rounds += 1
        return step

    def _next_identifier(self) -> None:
        self._identifier = (self._identifier + 1) & 0xFF

    def _fail(self, problem: str, answered: int | None) -> EapStep:
        self.problem = self.problem or problem
        self._is_over = True
        if answered is None:
            return EapStep(EapStatus.FAILURE)
        return EapStep(EapStatus.FAILURE, EapPacket(EapCode.FAILURE, answered).encode())
