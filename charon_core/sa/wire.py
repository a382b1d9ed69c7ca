"""From datagrams to messages and back, for one IKE_SA: integrity, fragments, malformed input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.alert import AlertKind
from charon_core.bus.listener import Group, Level
from charon_core.encoding.errors import IntegrityError, ParseError
from charon_core.encoding.fragments import Reassembler, seal_fragments
from charon_core.encoding.message import Message, open_message, seal_message
from charon_core.encoding.payloads import Notify
from charon_core.encoding.registry import ExchangeType, NotifyType, PayloadType, name_of
from charon_core.network.packet import Packet
from charon_core.processing.errand import NotYet
from charon_core.sa.crash_detection import has_crashed
from charon_core.sa.path import follow_packet
from charon_core.sa.postponed import Checkpoint, Kept, Postponed, is_waiting
from charon_core.sa.reports import publish_message
from charon_core.sa.state import Arrival, IkeState, Trait
from charon_core.sa.tasks.ike_intermediate import cover
from charon_core.sa.tries import restart

if TYPE_CHECKING:
    from charon_core.encoding.header import Header
    from charon_core.network.packet import Endpoint
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

NO_SPI: Final = bytes(8)
_IPV4_OVERHEAD: Final = 20 + 8
_IPV6_OVERHEAD: Final = 40 + 8
_NON_ESP_MARKER: Final = 4


def process_packet(ike: IkeSa, packet: Packet, header: Header) -> None:
    """Take a datagram that was addressed to this IKE_SA's SPI.

    Never raises for anything that a peer can send.
    """
    if is_waiting(ike):
        return
    if has_crashed(ike, packet, header):
        restart(ike)
        ike.set_state(IkeState.DESTROYING)
        return
    arrival = ike.tasks.judge(header)
    if arrival is Arrival.REPEATED:
        ike.tasks.repeat_response(packet)
        return
    if arrival is Arrival.UNWANTED:
        _log_noise(
            ike, Group.IKE, "received %s %s with message ID %d, not expected in state %s; ignored",
            name_of(ExchangeType, header.exchange),
            "response" if header.is_response else "request",
            header.message_id, ike.state.value,
        )  # fmt: skip
        return
    try:
        message = _open(ike, packet.data, header)
    except IntegrityError as error:
        _log_noise(ike, Group.ENC, "message from %s dropped: %s", packet.source, error)
    except ParseError as error:
        # What is not answerable was not opened: anybody may have sent it.
        if header.exchange == ExchangeType.IKE_SA_INIT or error.answerable:
            _refuse_malformed(ike, packet, header, error)
        else:
            _log_noise(ike, Group.ENC, "message from %s is malformed: %s", packet.source, error)
    else:
        ike.log(
            Group.NET, Level.CONTROL, "received packet: from %s to %s (%d bytes)",
            packet.source, packet.destination, len(packet.data),
        )  # fmt: skip
        if message is not None:
            _process(ike, message, packet, header)


def _log_noise(ike: IkeSa, group: Group, message: str, *args: object) -> None:
    """Log a datagram that somebody else than the peer may have sent, but not each of a flood."""
    noise = ike.env.noise
    if noise.allow():
        ike.log(group, Level.CONTROL, message + "%s", *args, noise.take_suppressed())


def _open(ike: IkeSa, data: bytes, header: Header) -> Message | None:
    """Return the message of a datagram, or None while fragments are missing."""
    if header.exchange == ExchangeType.IKE_SA_INIT:
        return Message.parse(data)
    if ike.keying is None:
        raise IntegrityError("header", 0, "protected by keys that do not exist yet")
    if header.next_payload != PayloadType.SKF:
        return open_message(data, ike.keying.inbound)
    if Trait.FRAGMENTATION not in ike.traits:
        raise IntegrityError("SKF", 0, "a fragment, without fragmentation having been agreed on")
    if ike.reassembler is None:
        ike.reassembler = Reassembler()
    message = ike.reassembler.add(data, ike.keying.inbound)
    if message is not None:
        ike.reassembler = None
    return message


def _process(ike: IkeSa, message: Message, packet: Packet, header: Header) -> None:
    summary = message.summary()
    ike.log(Group.ENC, Level.CONTROL, "parsed %s", summary)
    publish_message(ike, message, summary, packet.source, packet.destination, incoming=True)
    ike.last_inbound = ike.env.clock()
    if message.exchange == ExchangeType.IKE_SA_INIT:
        ike.handshake.peer_message = packet.data
    elif message.exchange == ExchangeType.IKE_INTERMEDIATE:
        cover(ike, message, is_ours=False)
    follow_packet(ike, packet)
    _hand_over(ike, Kept(message, packet, header))


def process_postponed(ike: IkeSa, ticket: int | None = None) -> None:
    """Take up the message that was put off, if it is still put off.

    Args:
        ike: The IKE_SA.
        ticket: The number under which it was put off; None for whatever it is, and for good: it
            is decided with what is there.
    """
    postponed = ike.postponed
    if postponed is None or not postponed.is_waiting:
        return
    kept = postponed.take_for_good() if ticket is None else postponed.take(ticket)
    if kept is not None:
        _hand_over(ike, kept)


def _hand_over(ike: IkeSa, kept: Kept) -> None:
    """Have the tasks process a message, or put it off."""
    message, packet, header = kept
    before = Checkpoint(ike)
    try:
        if message.is_response:
            ike.tasks.process_response(message)
        else:
            ike.tasks.process_request(message, packet)
    except NotYet as need:
        before.restore()
        if ike.postponed is None:
            ike.postponed = Postponed()
        ike.postponed.put_off(ike, need.errand, kept)
        return
    except ParseError as error:
        # The payloads are well-formed, but what they hold cannot be (a reversed range, say).
        _refuse_malformed(ike, packet, header, error)
        ike.set_state(IkeState.DESTROYING)
    if ike.postponed is not None:
        ike.postponed.end()


def _refuse_malformed(ike: IkeSa, packet: Packet, header: Header, error: ParseError) -> None:
    """Deal with a message that passed its integrity check, or had none to pass.

    What nobody has vouched for gets no answer and changes nothing. An authenticated request with
    wrong syntax ends the IKE_SA after the peer was told (RFC 7296 2.21.3); an unknown critical
    payload only makes the request fail.
    """
    ike.alert(
        AlertKind.PARSE_ERROR,
        f"message from {packet.source} is malformed: {error}",
        payload=error.payload, reason=error.reason,
    )  # fmt: skip
    if header.is_response:
        return
    initial = header.exchange == ExchangeType.IKE_SA_INIT
    if not error.answerable:
        if initial:
            ike.set_state(IkeState.DESTROYING)
        return
    notify = Notify.of(error.notify, error.notify_data)
    ike.tasks.respond(header.exchange, header.message_id, [notify], packet, refused=initial)
    if initial or error.notify != NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD:
        ike.set_state(IkeState.DESTROYING)


def protect(
    ike: IkeSa,
    exchange: int,
    message_id: int,
    out: Outgoing,
    *,
    is_response: bool,
    refused: bool = False,
) -> list[bytes]:
    """Return the datagrams of a message of ours.

    Args:
        ike: The IKE_SA.
        exchange: The exchange type.
        message_id: The message ID.
        out: The payloads.
        is_response: Whether it answers a request.
        refused: The IKE_SA ends with this message; in IKE_SA_INIT the responder's SPI is zero
            then (RFC 7296 2.6).
    """
    initial = exchange == ExchangeType.IKE_SA_INIT
    message = Message(
        ike.initiator_spi,
        NO_SPI if initial and refused else ike.responder_spi,
        exchange,
        ike.is_initiator,
        is_response,
        message_id,
        tuple(out),
    )
    summary = message.summary()
    ike.log(Group.ENC, Level.CONTROL, "generating %s", summary)
    publish_message(ike, message, summary, ike.local, ike.remote, incoming=False)
    if initial:
        data = message.encode()
        ike.handshake.own_message = data
        return [data]
    if ike.keying is None:
        raise RuntimeError(f"IKE_SA {ike} has no keys to protect {summary}")
    if exchange == ExchangeType.IKE_INTERMEDIATE:
        cover(ike, message, is_ours=True)
    if Trait.FRAGMENTATION in ike.traits:
        return seal_fragments(message, ike.keying.outbound, _largest_message(ike))
    return [seal_message(message, ike.keying.outbound)]


def _largest_message(ike: IkeSa) -> int:
    overhead = _IPV6_OVERHEAD if ":" in ike.remote.host else _IPV4_OVERHEAD
    return ike.env.parameters.fragment_size - overhead - _NON_ESP_MARKER


def dscp_of(ike: IkeSa) -> int:
    """Return the differentiated services code point of our datagrams."""
    return ike.ike_config.dscp if ike.ike_config is not None else 0


def send(ike: IkeSa, datagrams: list[bytes]) -> None:
    """Send a request to where the peer is now."""
    _send(ike, datagrams, ike.local, ike.remote)


def answer(ike: IkeSa, datagrams: list[bytes], request: Packet) -> None:
    """Send a response to where its request came from (RFC 7296 2.11)."""
    _send(ike, datagrams, request.destination, request.source)


def _send(ike: IkeSa, datagrams: list[bytes], local: Endpoint, remote: Endpoint) -> None:
    dscp = dscp_of(ike)
    for data in datagrams:
        ike.env.send(Packet(local, remote, data, dscp))
    ike.last_outbound = ike.env.clock()
