"""Additional key exchanges after CREATE_CHILD_SA, in IKE_FOLLOWUP_KE (RFC 9370 2.2.4).

The responder hands out a link with each answer after which a further key exchange is due, and the
initiator's next request names it: other exchanges may come between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.crypto.errors import CryptoError
from charon_core.crypto.key_exchange import generate, respond
from charon_core.encoding.payloads import KeyExchange, Notify
from charon_core.encoding.registry import KeyExchangeId, NotifyType, name_of

if TYPE_CHECKING:
    from charon_core.crypto.key_exchange import KeyExchange as OwnKeyExchange
    from charon_core.crypto.random import RandomSource
    from charon_core.encoding.message import Message
    from charon_core.sa.tasks.task import Outgoing

LINK_LENGTH: Final = 8
"""Octets of our links."""

_MAX_LINK: Final = 1024


class FollowUpRequests:
    """The initiator's side: asks for one key exchange after the other."""

    __slots__ = ("_key_exchange", "_link", "_methods", "_secrets")

    def __init__(self, methods: tuple[int, ...]) -> None:
        self._methods = list(methods)
        self._secrets: list[bytes] = []
        self._link = b""
        self._key_exchange: OwnKeyExchange | None = None

    @property
    def is_done(self) -> bool:
        """Whether no key exchange is left."""
        return not self._methods

    @property
    def secret(self) -> bytes:
        """SK(1) | SK(2) | ..., as far as they are there."""
        return b"".join(self._secrets)

    def take_link(self, message: Message) -> str:
        """Keep the link of an answer; return what is wrong with it, or nothing."""
        notify = message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
        if notify is None:
            return "the response lacks the link to the key exchange that follows"
        if not 1 <= len(notify.data) <= _MAX_LINK:
            return f"peer's link has {len(notify.data)} octets, expected 1 to {_MAX_LINK}"
        self._link = notify.data
        return ""

    def build(self, out: Outgoing) -> None:
        """Begin the next key exchange."""
        self._key_exchange = generate(self._methods[0])
        out.append(KeyExchange(method=self._methods[0], data=self._key_exchange.public_value))
        out.append(Notify.of(NotifyType.ADDITIONAL_KEY_EXCHANGE, self._link))

    def process(self, message: Message) -> str:
        """Complete it; return what is wrong with the answer, or nothing."""
        method = self._methods[0]
        answer = message.first(KeyExchange)
        if answer is None or answer.method != method or self._key_exchange is None:
            return f"the response lacks the key exchange {name_of(KeyExchangeId, method)}"
        try:
            self._secrets.append(self._key_exchange.shared_secret(answer.data))
        except CryptoError as error:
            return f"peer's key exchange is refused: {error}"
        self._key_exchange = None
        self._methods.pop(0)
        return "" if self.is_done else self.take_link(message)


class FollowUpAnswers:
    """The responder's side."""

    __slots__ = ("_methods", "_public", "_random", "_secrets", "link")

    def __init__(self, methods: tuple[int, ...], random: RandomSource) -> None:
        self._methods = list(methods)
        self._random = random
        self._secrets: list[bytes] = []
        self._public = b""
        self.link = random.bytes(LINK_LENGTH)
        """By which the next request is known."""

    @property
    def is_done(self) -> bool:
        """Whether no key exchange is left."""
        return not self._methods

    @property
    def secret(self) -> bytes:
        """SK(1) | SK(2) | ..., as far as they are there."""
        return b"".join(self._secrets)

    def announce(self, out: Outgoing) -> None:
        """Say that a key exchange is due."""
        out.append(Notify.of(NotifyType.ADDITIONAL_KEY_EXCHANGE, self.link))

    def process(self, message: Message) -> Notify | None:
        """Complete the next key exchange; return the refusal if the request is no good."""
        method = self._methods[0]
        offer = message.first(KeyExchange)
        if offer is None or offer.method != method:
            return Notify.of(NotifyType.INVALID_SYNTAX)
        try:
            self._public, secret = respond(method, offer.data)
        except CryptoError:
            return Notify.of(NotifyType.INVALID_SYNTAX)
        self._secrets.append(secret)
        return None

    def build(self, out: Outgoing) -> None:
        """Send our half, and a new link if another key exchange is due."""
        out.append(KeyExchange(method=self._methods.pop(0), data=self._public))
        if not self.is_done:
            self.link = self._random.bytes(LINK_LENGTH)
            self.announce(out)
