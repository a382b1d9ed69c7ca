"""Whatever a gateway replies: nothing raises, all is bounded, nothing comes unasked."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from charon_core.attributes.static import domain_name
from charon_core.encoding.payloads import Configuration, ConfigurationAttribute
from charon_core.encoding.registry import ConfigAttribute, ConfigType
from charon_core.sa.config_reply import MAX_KEPT, ReplyReader, flaw_of

KINDS = [*map(int, ConfigAttribute), 0x4001]


@st.composite
def attributes(draw: st.DrawFn) -> ConfigurationAttribute:
    kind = draw(st.sampled_from(KINDS))
    sizes = st.sampled_from([0, 3, 4, 5, 8, 16, 17, 40])
    value = draw(
        sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size))
        | st.sampled_from([b"example.org", b"a.example.org", b"\xff.example.org", b"x" * 300])
        | st.ip_addresses(v=4).map(lambda host: host.packed)
        | st.ip_addresses(v=6).map(lambda host: host.packed + b"\x80")
    )
    with contextlib.suppress(ValueError):
        return ConfigurationAttribute(kind, value)
    return ConfigurationAttribute(kind)


@given(st.lists(attributes(), max_size=80), st.lists(st.sampled_from(KINDS), max_size=20))
def test_any_reply(replied: list[ConfigurationAttribute], kinds: list[int]) -> None:
    reader = ReplyReader(
        map(ConfigurationAttribute, kinds),
        is_local=lambda host: host == "10.0.0.1",
        peer="192.0.2.1",
        accept_domains=["example.org"],
        accept_trust_anchors=["a.example.org"],
    )
    answer = reader.read(Configuration(ConfigType.CFG_REPLY, tuple(replied)))
    given_ = answer.given("home")
    addresses = [ip_address(host) for host in answer.addresses]
    for version, kind in (
        (4, ConfigAttribute.INTERNAL_IP4_ADDRESS),
        (6, ConfigAttribute.INTERNAL_IP6_ADDRESS),
    ):
        assert sum(host.version == version for host in addresses) <= kinds.count(kind)
    assert not any(flaw_of(host) for host in addresses)
    assert len(set(addresses)) == len(addresses)
    assert not any(flaw_of(ip_address(host)) for host in (*given_.dns, *given_.nbns))
    for kept in (given_.dns, given_.nbns, given_.subnets, given_.domains, given_.others):
        assert len(kept) <= MAX_KEPT
    assert sum(len(domain.trust_anchors) for domain in given_.domains) <= MAX_KEPT
    for domain in given_.domains:
        assert domain_name(domain.name) == domain.name
        assert domain.name == "example.org" or domain.name.endswith(".example.org")
        assert not domain.trust_anchors or domain.name.endswith("a.example.org")
    assert {attribute.type for attribute in given_.others} <= set(kinds)
    assert len(answer.complaints) <= MAX_KEPT + 1
    assert all(complaint.isprintable() for complaint in answer.complaints)
