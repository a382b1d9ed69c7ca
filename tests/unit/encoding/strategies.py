"""Hypothesis strategies for legal payloads and messages."""

from __future__ import annotations

from hypothesis import strategies as st

from charon_core.encoding.message import Message
from charon_core.encoding.payloads import (
    Authentication,
    Certificate,
    CertificateRequest,
    Configuration,
    ConfigurationAttribute,
    Delete,
    Eap,
    IdentificationInitiator,
    IdentificationResponder,
    KeyExchange,
    Nonce,
    Notify,
    ProposalSubstructure,
    SecurityAssociation,
    SelectorSubstructure,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    TransformSubstructure,
    VendorId,
)
from charon_core.encoding.registry import CertEncoding, NotifyType

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
SOME = st.binary(min_size=1, max_size=60)
ANY = st.binary(max_size=60)
SPI4 = st.binary(min_size=4, max_size=4).filter(any)
SPI8 = st.binary(min_size=8, max_size=8).filter(any)

TRANSFORMS = st.builds(
    TransformSubstructure, U8, U16, st.none() | st.integers(1, 0xFFFF), st.just(b"")
)


@st.composite
def proposals(draw: st.DrawFn) -> tuple[ProposalSubstructure, ...]:
    """Up to four proposals, numbered as they must be."""
    made = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        protocol, spi = draw(
            st.tuples(st.just(1), st.just(b"") | SPI8) | st.tuples(st.sampled_from((2, 3)), SPI4)
        )
        transforms = tuple(draw(st.lists(TRANSFORMS, min_size=1, max_size=6)))
        made.append(ProposalSubstructure(number, protocol, spi, transforms))
    return tuple(made)


@st.composite
def selectors(draw: st.DrawFn) -> SelectorSubstructure:
    """An IPv4 or IPv6 range."""
    ts_type, size = draw(st.sampled_from(((7, 4), (8, 16))))
    start, end = sorted(draw(st.tuples(*[st.binary(min_size=size, max_size=size)] * 2)))
    ports = draw(st.tuples(U16, U16).map(sorted) | st.just((0xFFFF, 0)))
    return SelectorSubstructure(ts_type, draw(U8), ports[0], ports[1], start, end)


def identities(payload_class: type) -> st.SearchStrategy:
    """Identities of every type, unknown ones too."""
    text = st.text("abc.@*-", min_size=1).map(str.encode)
    return (
        st.builds(payload_class, st.just(1), st.binary(min_size=4, max_size=4))
        | st.builds(payload_class, st.just(5), st.binary(min_size=16, max_size=16))
        | st.builds(payload_class, st.sampled_from((2, 3)), text)
        | st.builds(payload_class, st.sampled_from((9, 10, 11, 200)), SOME)
        | st.builds(payload_class, st.just(13), st.just(b""))
    )


# Types whose data scapy reads as a structure of its own, and those that name a CHILD_SA.
_SPECIAL_NOTIFIES = {
    NotifyType.REDIRECT,
    NotifyType.REDIRECTED_FROM,
    NotifyType.REKEY_SA,
    NotifyType.CHILD_SA_NOT_FOUND,
}
NOTIFIES = st.builds(
    Notify, U8, ANY, U16.filter(lambda number: number not in _SPECIAL_NOTIFIES), ANY
) | st.builds(
    Notify,
    st.sampled_from((2, 3)),
    SPI4,
    st.sampled_from((NotifyType.REKEY_SA, NotifyType.CHILD_SA_NOT_FOUND)),
    ANY,
)

ATTRIBUTES = st.builds(
    ConfigurationAttribute,
    st.sampled_from((7, 14, 25, 0x1234, 0x7FFF)),
    ANY,
) | st.builds(ConfigurationAttribute, st.sampled_from((1, 2, 3, 4)), st.just(b"") | SPI4)

ENCODINGS = st.sampled_from([encoding for encoding in CertEncoding if encoding not in {4, 7, 10}])

ONE_OF_EACH = (
    st.builds(SecurityAssociation, proposals()),
    st.builds(KeyExchange, U16, SOME),
    identities(IdentificationInitiator),
    identities(IdentificationResponder),
    st.builds(Authentication, U8, SOME),
    st.builds(Nonce, st.binary(min_size=16, max_size=256)),
    st.builds(TrafficSelectorsInitiator, st.lists(selectors(), min_size=1, max_size=5).map(tuple)),
    st.builds(TrafficSelectorsResponder, st.lists(selectors(), min_size=1, max_size=5).map(tuple)),
    st.tuples(U8, U8, ANY).map(
        lambda packet: Eap(bytes(packet[:2]) + (4 + len(packet[2])).to_bytes(2, "big") + packet[2])
    ),
)
MANY_OF_EACH = (
    st.builds(Certificate, ENCODINGS, SOME)
    | st.builds(
        CertificateRequest,
        st.just(4),
        st.lists(st.binary(min_size=20, max_size=20), max_size=3).map(b"".join),
    )
    | NOTIFIES
    | st.builds(Delete, st.sampled_from((2, 3)), st.lists(SPI4, max_size=4).map(tuple))
    | st.just(Delete(1))
    | st.builds(VendorId, ANY)
    | st.builds(Configuration, U8, st.lists(ATTRIBUTES, max_size=4).map(tuple))
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message whose payloads may stand together."""
    once = [draw(payload) for payload in draw(st.sets(st.sampled_from(ONE_OF_EACH), max_size=4))]
    payloads = draw(st.permutations(once + draw(st.lists(MANY_OF_EACH, max_size=5))))
    return Message(
        draw(SPI8),
        draw(st.binary(min_size=8, max_size=8)),
        draw(U8),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 0xFFFFFFFF)),
        tuple(payloads),
    )
