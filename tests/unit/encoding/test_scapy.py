"""Both directions against scapy's IKEv2 layers, which share no code with ours."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from charon_core.encoding.message import Message, seal_message
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
    Payload,
    ProposalSubstructure,
    SecurityAssociation,
    SelectorSubstructure,
    TrafficSelectorsInitiator,
    TrafficSelectorsResponder,
    TransformSubstructure,
    VendorId,
)
from tests.unit.encoding.samples import ToySealer, ike_auth_request, sample_messages
from tests.unit.encoding.strategies import messages

scapy = pytest.importorskip("scapy.contrib.ikev2")

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SAMPLES = {
    name: sample
    for name, sample in sample_messages().items()
    # Scapy reads selectors of security labels as address ranges.
    if name != "create-child-rekey"
}


def layers(packet: Any) -> list[Any]:
    """A stack of scapy layers as a list."""
    stack = []
    while packet is not None and type(packet).__name__ != "NoPayload":
        stack.append(packet)
        packet = packet.payload
    return stack


def address(text: str) -> bytes:
    """Network octets of what scapy shows as text."""
    return ipaddress.ip_address(text).packed


# -- what scapy reads, in our terms


def proposal_from(layer: Any) -> ProposalSubstructure:
    transforms = tuple(
        TransformSubstructure(
            one.transform_type,
            one.transform_id,
            one.key_length if one.length > 8 else None,
        )
        for one in layers(layer.trans)
    )
    assert layer.trans_nb == len(transforms)
    return ProposalSubstructure(layer.proposal, layer.proto, layer.SPI, transforms)


def selector_from(layer: Any) -> SelectorSubstructure:
    version = {7: "v4", 8: "v6"}[layer.TS_type]
    return SelectorSubstructure(
        layer.TS_type,
        layer.IP_protocol_ID,
        layer.start_port,
        layer.end_port,
        address(getattr(layer, f"starting_address_{version}")),
        address(getattr(layer, f"ending_address_{version}")),
    )


def attribute_from(layer: Any) -> ConfigurationAttribute:
    value = layer.value
    return ConfigurationAttribute(layer.type, address(value) if isinstance(value, str) else value)


def payload_from(layer: Any) -> Payload:
    match type(layer).__name__:
        case "IKEv2_SA":
            return SecurityAssociation(tuple(proposal_from(one) for one in layers(layer.prop)))
        case "IKEv2_KE":
            return KeyExchange(layer.group, layer.ke)
        case "IKEv2_IDi" | "IKEv2_IDr" as name:
            data = address(layer.ID) if isinstance(layer.ID, str) else layer.ID
            kind = IdentificationInitiator if name == "IKEv2_IDi" else IdentificationResponder
            return kind(layer.IDtype, data)
        case "IKEv2_CERT":
            return Certificate(layer.cert_encoding, layer.cert_data)
        case "IKEv2_CERTREQ":
            return CertificateRequest(layer.cert_encoding, layer.cert_authority)
        case "IKEv2_AUTH":
            return Authentication(layer.auth_type, layer.load)
        case "IKEv2_Nonce":
            return Nonce(layer.nonce)
        case "IKEv2_Notify":
            return Notify(layer.proto, layer.SPI, layer.type, layer.notify)
        case "IKEv2_Delete":
            return Delete(layer.proto, tuple(layer.SPI))
        case "IKEv2_VendorID":
            return VendorId(layer.vendorID)
        case "IKEv2_TSi":
            return TrafficSelectorsInitiator(tuple(map(selector_from, layer.traffic_selector)))
        case "IKEv2_TSr":
            return TrafficSelectorsResponder(tuple(map(selector_from, layer.traffic_selector)))
        case "IKEv2_CP":
            return Configuration(layer.CFGType, tuple(map(attribute_from, layer.attributes)))
        case "IKEv2_EAP":
            return Eap(layer.load)
    raise TypeError(layer)


def message_from(octets: bytes) -> Message:
    head, *stack = layers(scapy.IKEv2(octets))
    assert head.length == len(octets)
    return Message(
        head.init_SPI,
        head.resp_SPI,
        head.exch_type,
        bool(head.flags & 0x08),
        bool(head.flags & 0x20),
        head.id,
        tuple(payload_from(layer) for layer in stack),
    )


# -- what we have, built by scapy


def chained(stack: list[Any]) -> Any:
    """Scapy layers on top of each other."""
    whole, *rest = stack
    for layer in rest:
        whole = whole / layer
    return whole


def numbered(stack: list[Any], more: int) -> Any:
    """Proposals or transforms whose first octet tells whether another one follows."""
    for layer in stack[:-1]:
        layer.next_payload = more
    stack[-1].next_payload = 0
    return chained(stack)


def to_proposal(proposal: ProposalSubstructure) -> Any:
    transforms = []
    for one in proposal.transforms:
        fields = {"transform_type": one.type, "transform_id": one.id}
        if one.key_length is not None:
            fields |= {"length": 12, "key_length": one.key_length}
        transforms.append(scapy.IKEv2_Transform(**fields))
    return scapy.IKEv2_Proposal(
        proposal=proposal.number,
        proto=proposal.protocol,
        SPI=proposal.spi,
        trans_nb=len(transforms),
        trans=numbered(transforms, 3),
    )


def to_selector(selector: SelectorSubstructure) -> Any:
    common = {
        "IP_protocol_ID": selector.protocol,
        "start_port": selector.start_port,
        "end_port": selector.end_port,
    }
    start, end = (str(ipaddress.ip_address(octets)) for octets in (selector.start, selector.end))
    if selector.ts_type == 7:
        return scapy.IPv4TrafficSelector(starting_address_v4=start, ending_address_v4=end, **common)
    # Scapy's default length of this one is that of another selector.
    return scapy.IPv6TrafficSelector(
        length=40, starting_address_v6=start, ending_address_v6=end, **common
    )


def to_attribute(attribute: ConfigurationAttribute) -> Any:
    value: Any = attribute.value
    if attribute.type in {1, 2, 3, 4} and len(value) == 4:
        value = str(ipaddress.ip_address(value))
        return scapy.ConfigurationAttribute(type=attribute.type, length=4, value=value)
    return scapy.ConfigurationAttribute(type=attribute.type, length=len(value), value=value)


def to_layer(payload: Payload) -> Any:
    match payload:
        case SecurityAssociation(offered):
            return scapy.IKEv2_SA(prop=numbered([to_proposal(one) for one in offered], 2))
        case KeyExchange(method, data):
            return scapy.IKEv2_KE(group=method, ke=data)
        case IdentificationInitiator(id_type, data) | IdentificationResponder(id_type, data):
            text = str(ipaddress.ip_address(data)) if id_type in {1, 5} else data
            kind = {IdentificationInitiator: scapy.IKEv2_IDi}.get(type(payload), scapy.IKEv2_IDr)
            return kind(IDtype=id_type, ID=text)
        case Certificate(encoding, data):
            return scapy.IKEv2_CERT(cert_encoding=encoding, cert_data=data)
        case CertificateRequest(encoding, data):
            return scapy.IKEv2_CERTREQ(cert_encoding=encoding, cert_authority=data)
        case Authentication(method, data):
            return scapy.IKEv2_AUTH(auth_type=method, load=data)
        case Nonce(data):
            return scapy.IKEv2_Nonce(nonce=data)
        case Notify(protocol, spi, notify_type, data):
            return scapy.IKEv2_Notify(proto=protocol, SPI=spi, type=notify_type, notify=data)
        case Delete(protocol, spis):
            size = 0 if protocol == 1 else 4
            return scapy.IKEv2_Delete(
                proto=protocol, SPIsize=size, SPInum=len(spis), SPI=list(spis)
            )
        case VendorId(data):
            return scapy.IKEv2_VendorID(vendorID=data)
        case TrafficSelectorsInitiator(ranges):
            return scapy.IKEv2_TSi(traffic_selector=[to_selector(one) for one in ranges])
        case TrafficSelectorsResponder(ranges):
            return scapy.IKEv2_TSr(traffic_selector=[to_selector(one) for one in ranges])
        case Configuration(kind, attributes):
            return scapy.IKEv2_CP(CFGType=kind, attributes=[to_attribute(a) for a in attributes])
        case Eap(data):
            return scapy.IKEv2_EAP(load=data)
    raise TypeError(payload)


def built_by_scapy(sample: Message) -> bytes:
    stack = [to_layer(payload) for payload in sample.payloads]
    types = [payload.payload_type for payload in sample.payloads]
    head = scapy.IKEv2(
        init_SPI=sample.initiator_spi,
        resp_SPI=sample.responder_spi,
        next_payload=types[0] if types else 0,
        exch_type=sample.exchange,
        flags=0x08 * sample.is_initiator | 0x20 * sample.is_response,
        id=sample.message_id,
    )
    for layer, following in zip(stack, [*types[1:], 0], strict=False):
        layer.next_payload = following
    return bytes(chained([head, *stack]))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_scapy_reads_our_samples(sample):
    assert message_from(sample.encode()) == sample


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_we_read_samples_built_by_scapy(sample):
    octets = built_by_scapy(sample)
    assert Message.parse(octets) == sample
    assert sample.encode() == octets


@FEW
@given(messages())
def test_scapy_reads_whatever_we_write(sample):
    assert message_from(sample.encode()) == sample


@FEW
@given(messages())
def test_we_read_whatever_scapy_builds(sample):
    octets = built_by_scapy(sample)
    assert Message.parse(octets) == sample
    assert sample.encode() == octets


def test_scapy_finds_the_encrypted_payload():
    octets = seal_message(ike_auth_request(), ToySealer())
    packet = scapy.IKEv2(octets)
    assert packet.next_payload == 46
    assert packet[scapy.IKEv2_Encrypted].next_payload == 35
    assert packet[scapy.IKEv2_Encrypted].load == octets[32:]


def test_scapy_finds_fragments():
    from charon_core.encoding.fragments import seal_fragments

    pieces = seal_fragments(ike_auth_request(), ToySealer(), 300)
    found = [scapy.IKEv2(piece)[scapy.IKEv2_Encrypted_Fragment] for piece in pieces]
    assert [(one.frag_number, one.frag_total) for one in found] == [
        (number, len(pieces)) for number in range(1, len(pieces) + 1)
    ]
    assert [one.load for one in found] == [piece[36:] for piece in pieces]
