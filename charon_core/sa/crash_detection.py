"""Quick crash detection: a peer that starts anew proves that it has lost an IKE_SA (RFC 6290).

Each side gives the other a token while the IKE_SA is set up. It is made from a secret that outlives
the daemon and from the SPIs, so whoever gets a request for an IKE_SA that it does not know can make
the token again, and nobody else can.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.encoding.errors import ParseError
from charon_core.encoding.message import Message
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType, PayloadType
from charon_core.network.packet import Packet
from charon_core.network.rate import RateLimit
from charon_core.sa.state import IkeState

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

SECRET_LENGTH: Final = 32
"""Octets of the secret."""

MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 128
"""Octets of a token (RFC 6290 4.1)."""

ANSWERS: Final = 10.0
"""Answers a second to requests for IKE_SAs that are not here."""

ANSWERS_BURST: Final = 100.0

_NO_SPI: Final = bytes(8)


class CrashTokens:
    """Makes our tokens, and answers requests for IKE_SAs that we know nothing of."""

    __slots__ = ("_rate", "_secret")

    def __init__(self, secret: bytes) -> None:
        """Take the secret, which has to be the same after the next start.

        Raises:
            ValueError: It is too short to be one.
        """
        if len(secret) < SECRET_LENGTH:
            raise ValueError(f"a secret of {len(secret)} octets, expected {SECRET_LENGTH}")
        self._secret = secret
        self._rate = RateLimit(ANSWERS, ANSWERS_BURST)

    def __repr__(self) -> str:
        return "<CrashTokens ***>"

    def make(self, initiator_spi: bytes, responder_spi: bytes) -> bytes:
        """Return the token of an IKE_SA, 32 octets."""
        return hmac.digest(self._secret, initiator_spi + responder_spi, hashlib.sha256)

    def answer(self, packet: Packet, header: Header) -> Packet | None:
        """Return what tells a peer that we have lost its IKE_SA, or None.

        Only requests of IKE_SAs that once were are answered, and only so many a second: anybody
        may send them, and the answer is no larger than the smallest of them.

        Args:
            packet: A datagram whose SPIs are not here.
            header: Its header.
        """
        if (
            header.is_response
            or header.exchange == ExchangeType.IKE_SA_INIT
            or _NO_SPI in {header.initiator_spi, header.responder_spi}
            or not self._rate.allow()
        ):
            return None
        token = self.make(header.initiator_spi, header.responder_spi)
        message = Message(
            header.initiator_spi,
            header.responder_spi,
            header.exchange,
            not header.is_initiator,
            True,
            header.message_id,
            (
                Notify.of(NotifyType.INVALID_IKE_SPI),
                Notify.of(NotifyType.QUICK_CRASH_DETECTION, token),
            ),
        )
        return Packet(packet.destination, packet.source, message.encode())


def add_token(ike: IkeSa, out: Outgoing, spis: tuple[bytes, bytes] | None = None) -> None:
    """Give the peer our token of an IKE_SA: of this one, or of the SPIs of one that replaces it."""
    tokens = ike.env.crash_tokens
    if tokens is not None:
        token = tokens.make(*(spis or (ike.initiator_spi, ike.responder_spi)))
        out.append(Notify.of(NotifyType.QUICK_CRASH_DETECTION, token))


def token_of(message: Message) -> bytes:
    """Return the peer's token; empty if it has none, or none that can be one."""
    notify = message.notify(NotifyType.QUICK_CRASH_DETECTION)
    if notify is None or not MIN_TOKEN <= len(notify.data) <= MAX_TOKEN:
        return b""
    return notify.data


def has_crashed(ike: IkeSa, packet: Packet, header: Header) -> bool:
    """Whether an unprotected message proves that the peer has lost the IKE_SA; it ends then.

    What proves nothing is nobody's word, and changes nothing.
    """
    if (
        not ike.peer_token
        or header.next_payload != PayloadType.NOTIFY
        or header.exchange == ExchangeType.IKE_SA_INIT
        or not (ike.state.is_up or ike.state in {IkeState.REKEYED, IkeState.DELETING})
        or (header.initiator_spi, header.responder_spi) != (ike.initiator_spi, ike.responder_spi)
    ):
        return False
    try:
        message = Message.parse(packet.data)
    except ParseError:
        return False
    if message.notify(NotifyType.INVALID_IKE_SPI) is None:
        return False
    if not hmac.compare_digest(token_of(message), ike.peer_token):
        return False
    ike.alert(
        AlertKind.PEER_UNREACHABLE,
        f"{ike.remote} proves that it has lost IKE_SA {ike}: it was started anew, or has crashed "
        "(RFC 6290)",
        remote=str(ike.remote),
    )
    return True
