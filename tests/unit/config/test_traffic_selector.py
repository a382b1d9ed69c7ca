"""Traffic selectors: text, sets of packets, networks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network, summarize_address_range

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.config.service_names import read_tables
from charon_core.config.traffic_selector import (
    MAX_NARROWED,
    TrafficSelector,
    merge,
    narrow,
    parse_protocol_port,
)
from charon_core.encoding.errors import ParseError
from charon_core.encoding.payloads import SelectorSubstructure

parse = TrafficSelector.parse


def ts(*texts):
    return [parse(text) for text in texts]


def shown(selectors):
    return [str(selector) for selector in selectors]


SHOWN = [
    ("%dynamic[tcp/22]", "dynamic[tcp/ssh]"),
    ("10.0.0.1[udp/%opaque]", "10.0.0.1/32[udp/OPAQUE]"),
    ("10.3.0.0/24[icmp/2048]", "10.3.0.0/24[icmp/8]"),
    ("10.4.0.0/24[17/100-200]", "10.4.0.0/24[udp/100-200]"),
    ("fec1::1[/53]", "fec1::1/128[0/domain]"),
    ("10.1.0.0/16", "10.1.0.0/16"),
    ("10.1.2.3/16", "10.1.0.0/16"),
    ("0.0.0.0/0", "0.0.0.0/0"),
    ("::/0", "::/0"),
    ("%dynamic", "dynamic"),
    ("%dynamic[]", "dynamic"),
    ("10.0.0.1[%any]", "10.0.0.1/32"),
    ("10.0.0.1[tcp]", "10.0.0.1/32[tcp]"),
    ("10.0.0.1[tcp/%any]", "10.0.0.1/32[tcp]"),
    ("10.0.0.1[tcp/http]", "10.0.0.1/32[tcp/http]"),
    ("10.0.0.1[TCP/HTTP]", "10.0.0.1/32[tcp/http]"),
    ("10.0.0.1[tcp/ssh-http]", "10.0.0.1/32[tcp/22-80]"),
    ("10.0.0.1[tcp/61234]", "10.0.0.1/32[tcp/61234]"),
    ("10.0.0.1[tcp/65535]", "10.0.0.1/32[tcp/65535]"),
    ("10.0.0.1[tcp/80-80]", "10.0.0.1/32[tcp/http]"),
    ("10.0.0.1[icmp/255]", "10.0.0.1/32[icmp/255]"),
    ("10.0.0.1[icmp/256]", "10.0.0.1/32[icmp/1]"),
    ("10.0.0.1[0]", "10.0.0.1/32"),
    ("10.0.0.1[255]", "10.0.0.1/32[255]"),
    ("10.0.0.1[sctp]", "10.0.0.1/32[sctp]"),
    ("10.0.0.1[252]", "10.0.0.1/32[252]"),
    ("10.0.0.1[icmp]", "10.0.0.1/32[icmp]"),
    ("10.0.0.1[icmp/8]", "10.0.0.1/32[icmp/8]"),
    ("10.0.0.1[icmp/769]", "10.0.0.1/32[icmp/3(1)]"),
    ("10.0.0.1[icmp/768-1023]", "10.0.0.1/32[icmp/3-3(255)]"),
    ("fec0::1[ipv6-icmp/128]", "fec0::1/128[ipv6-icmp/128]"),
    ("  10.0.0.1 [ tcp / 80 ] ", "10.0.0.1/32[tcp/http]"),
]


@pytest.mark.parametrize(("text", "display"), SHOWN)
def test_text(text, display):
    assert str(parse(text)) == display


@pytest.mark.parametrize(
    "text",
    ["moon", "10.1.2.3/33", "fec0::1/129",
     "10.0.0.1-10.0.0.9", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.1[tcp",
     "10.0.0.1[nosuch]", "10.0.0.1[256]", "10.0.0.1[tcp/65536]", "10.0.0.1[tcp/90-80]",
     "10.0.0.1[tcp/nosuch]", "10.0.0.1[tcp/1-2-3]", "", "10.0.0.1[tcp]x", "10.0.0.1/²"],
)  # fmt: skip
def test_bad_text_is_refused(text):
    with pytest.raises(ValueError, match=r"selector|address|IPv4"):
        parse(text)


def test_messages_quote_the_whole_selector():
    with pytest.raises(ValueError, match=r"selector '10\.0\.0\.1\[tcp/x\]': 'x' is no port"):
        parse("10.0.0.1[tcp/x]")
    with pytest.raises(ValueError, match="selector 'x/80': 'x' is no IP protocol"):
        parse_protocol_port("x/80")


def test_protoport_is_the_default_of_items_without_brackets():
    protocol, ports = parse_protocol_port("udp/l2tp")
    assert (protocol, ports) == (17, (1701, 1701))
    assert str(parse("10.0.0.1", protocol, ports)) == "10.0.0.1/32[udp/l2f]"
    assert str(parse("%dynamic", protocol, ports)) == "dynamic[udp/l2f]"
    assert str(parse("10.0.0.1[tcp]", protocol, ports)) == "10.0.0.1/32[tcp]"
    assert parse_protocol_port("/53") == (0, (53, 53))
    assert parse_protocol_port("icmp/8") == (1, (2048, 2048))


def test_ranges_that_are_no_networks():
    assert str(TrafficSelector.from_range("10.0.0.1", "10.0.0.9")) == "10.0.0.1..10.0.0.9"
    assert str(TrafficSelector.from_range("10.0.0.0", "10.0.0.255")) == "10.0.0.0/24"
    assert str(TrafficSelector.from_range("10.0.0.1", "10.0.0.2")) == "10.0.0.1..10.0.0.2"
    assert str(TrafficSelector.from_range("fec0::1", "fec0::2")) == "fec0::1..fec0::2"


@pytest.mark.parametrize(
    ("first", "last"), [("10.0.0.9", "10.0.0.1"), ("10.0.0.1", "::1"), ("::1", "10.0.0.1")]
)
def test_impossible_ranges(first, last):
    with pytest.raises(ValueError, match="selector"):
        TrafficSelector.from_range(first, last)


@pytest.mark.parametrize(
    "fields",
    [
        (5, 0, 0, 65535, bytes(4), bytes(4)),
        (4, 0, 0, 65535, bytes(16), bytes(16)),
        (4, 0, 0, 65535, bytes(4), bytes(3)),
        (4, 256, 0, 65535, bytes(4), bytes(4)),
        (4, 6, 80, 79, bytes(4), bytes(4)),
        (4, 6, 0, 65536, bytes(4), bytes(4)),
        (4, 6, -1, 5, bytes(4), bytes(4)),
        (4, 6, 65535, 1, bytes(4), bytes(4)),
        (4, 6, 0, 0, b"\x02" * 4, b"\x01" * 4),
    ],
)
def test_values_check_themselves(fields):
    with pytest.raises(ValueError, match="selector"):
        TrafficSelector(*fields)


def test_dynamic_selectors_take_the_address_of_either_family():
    dynamic = parse("%dynamic[tcp/80]")
    assert str(dynamic.with_address("10.0.0.1")) == "10.0.0.1/32[tcp/http]"
    assert str(dynamic.with_address("fec0::1")) == "fec0::1/128[tcp/http]"
    fixed = parse("10.1.0.0/16")
    assert fixed.with_address("10.0.0.1") is fixed
    with pytest.raises(ValueError, match="moon"):
        dynamic.with_address("moon")


def test_unresolved_dynamic_selectors_select_nothing():
    dynamic = parse("%dynamic")
    everything = parse("0.0.0.0/0")
    assert dynamic.subset(everything) is None
    assert everything.subset(dynamic) is None
    assert not everything.contains(dynamic)
    assert not dynamic.includes("10.0.0.1")
    assert dynamic.to_cidrs() == []
    with pytest.raises(ValueError, match="no address"):
        dynamic.to_wire()


SUBSETS = [
    ("10.1.0.0/16", "10.1.2.0/24", "10.1.2.0/24"),
    ("10.1.0.0/16", "10.2.0.0/16", None),
    ("10.1.0.0/16", "fec0::/16", None),
    ("10.1.0.0/16[tcp]", "10.1.0.0/16", "10.1.0.0/16[tcp]"),
    ("10.1.0.0/16[tcp]", "10.1.0.0/16[udp]", None),
    ("10.1.0.0/16[tcp/80]", "10.1.0.0/16[tcp]", "10.1.0.0/16[tcp/http]"),
    ("10.1.0.0/16[tcp/80]", "10.1.0.0/16[tcp/81]", None),
    ("10.1.0.0/16[tcp/1000-2000]", "10.1.0.0/16[tcp/1500-2500]", "10.1.0.0/16[tcp/1500-2000]"),
    ("10.1.0.0/16[tcp/80]", "10.1.0.0/16[/80]", "10.1.0.0/16[tcp/http]"),
    ("10.1.0.0/16[tcp/%opaque]", "10.1.0.0/16[tcp]", "10.1.0.0/16[tcp/OPAQUE]"),
    ("10.1.0.0/16[tcp/%opaque]", "10.1.0.0/16[tcp/%opaque]", "10.1.0.0/16[tcp/OPAQUE]"),
    ("10.1.0.0/16[tcp/%opaque]", "10.1.0.0/16[tcp/80]", None),
]


@pytest.mark.parametrize(("one", "other", "common"), SUBSETS)
def test_subsets(one, other, common):
    for first, second in ((one, other), (other, one)):
        subset = parse(first).subset(parse(second))
        assert (subset and str(subset)) == common


def test_narrowing_keeps_what_both_want_in_our_order():
    ours = ts("10.2.0.0/16", "10.1.0.0/16[tcp]", "fec0::/16")
    theirs = ts("0.0.0.0/0", "fec0::1")
    assert shown(narrow(ours, theirs)) == ["10.2.0.0/16", "10.1.0.0/16[tcp]", "fec0::1/128"]


def test_narrowing_removes_what_another_selector_contains():
    assert shown(narrow(ts("10.0.0.0/8"), ts("10.1.2.3", "10.1.0.0/16"))) == ["10.1.0.0/16"]
    assert shown(narrow(ts("10.0.0.0/8", "10.1.0.0/16"), ts("0.0.0.0/0"))) == ["10.0.0.0/8"]
    assert narrow(ts("10.0.0.0/8"), ts("11.0.0.0/8")) == []
    assert narrow([], ts("11.0.0.0/8")) == []


def test_narrowing_is_bounded():
    many = [TrafficSelector.network(f"10.{n // 256}.{n % 256}.0", 24) for n in range(300)]
    assert len(merge(many)) == MAX_NARROWED


class TestWire:
    def test_round_trip(self):
        for text in ("10.1.0.0/16[tcp/80]", "fec0::/16", "10.0.0.1[udp/%opaque]"):
            selector = parse(text)
            assert TrafficSelector.from_wire(selector.to_wire()) == selector

    def test_unknown_types_are_left_to_the_caller(self):
        assert TrafficSelector.from_wire(SelectorSubstructure(9, 0, 0, 0, b"abc", b"")) is None

    def test_what_is_malformed_is_a_parse_error(self):
        class Malformed:
            ts_type, protocol, start_port, end_port = 7, 0, 9, 3
            start, end = bytes(4), bytes(4)

        with pytest.raises(ParseError, match="ports 9-3"):
            TrafficSelector.from_wire(Malformed())


NUMBERS = st.integers(0, 2**32 - 1)
RANGES = st.tuples(NUMBERS, NUMBERS).map(sorted)


@given(RANGES)
def test_networks_cover_exactly_the_range(ends):
    first, last = (ip_address(number) for number in ends)
    selector = TrafficSelector.from_range(str(first), str(last))
    networks = [ip_network(f"{address}/{bits}") for address, bits in selector.to_cidrs()]
    assert networks == list(summarize_address_range(first, last))


@given(st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1)).map(sorted))
def test_networks_cover_exactly_the_range_of_ipv6(ends):
    low, high = (number.to_bytes(16, "big") for number in ends)
    selector = TrafficSelector(6, 0, 0, 65535, low, high)
    networks = selector.to_cidrs()
    assert sum(2 ** (128 - bits) for _, bits in networks) == ends[1] - ends[0] + 1
    assert len(networks) <= 254


def test_networks_at_the_edges():
    assert parse("0.0.0.0/0").to_cidrs() == [("0.0.0.0", 0)]
    assert parse("::/0").to_cidrs() == [("::", 0)]
    assert TrafficSelector.from_range("255.255.255.254", "255.255.255.255").to_cidrs() == [
        ("255.255.255.254", 31)
    ]


ADDRESSES = st.integers(0, 7).map(lambda n: bytes([10, 0, 0, n]))
PORTS = st.one_of(
    st.just((0, 65535)), st.just((65535, 0)), st.tuples(st.integers(0, 5), st.integers(0, 5))
).filter(lambda pair: pair[0] <= pair[1] or pair == (65535, 0))
SELECTORS = st.builds(
    lambda protocol, ports, ends: TrafficSelector(4, protocol, *ports, *ends),
    st.sampled_from([0, 6, 17]),
    PORTS,
    st.tuples(ADDRESSES, ADDRESSES).map(sorted),
)
OPAQUE = None
PACKETS = [
    (bytes([10, 0, 0, n]), protocol, port)
    for n in range(8)
    for protocol in (1, 6, 17)
    for port in (OPAQUE, 0, 3, 5, 60000)
]


def selects(selector, packet):
    address, protocol, port = packet
    if selector.protocol not in (0, protocol) or not selector.start <= address <= selector.end:
        return False
    if selector.is_any_port:
        return True
    if selector.is_opaque or port is OPAQUE:
        return selector.is_opaque and port is OPAQUE
    return selector.start_port <= port <= selector.end_port


@given(SELECTORS, SELECTORS)
def test_subsets_are_intersections_of_packets(one, other):
    common = one.subset(other)
    assert common == other.subset(one)
    for packet in PACKETS:
        expected = selects(one, packet) and selects(other, packet)
        assert (common is not None and selects(common, packet)) == expected
    if one.contains(other):
        assert all(selects(one, packet) for packet in PACKETS if selects(other, packet))
    assert one.contains(one)


@given(st.lists(SELECTORS, max_size=4), st.lists(SELECTORS, max_size=4))
def test_narrowing_is_the_intersection_of_packets(ours, theirs):
    narrowed = narrow(ours, theirs)
    for packet in PACKETS:
        expected = any(selects(s, packet) for s in ours) and any(selects(s, packet) for s in theirs)
        assert any(selects(s, packet) for s in narrowed) == expected
    for one in narrowed:
        assert not any(other.contains(one) for other in narrowed if other is not one)


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_a_value_error(text):
    try:
        selector = parse(text)
    except ValueError:
        return
    assert str(selector)


def test_includes_and_prefix():
    network = parse("10.1.0.0/16")
    assert network.includes("10.1.255.255")
    assert not network.includes("10.2.0.0")
    assert not network.includes("::1")
    assert network.prefix == 16
    assert not network.is_host
    assert parse("10.0.0.1").is_host
    assert TrafficSelector.from_range("10.0.0.1", "10.0.0.6").prefix is None
    assert str(TrafficSelector.any_of(6)) == "::/0"
    assert parse("10.1.0.0/16").first_address == "10.1.0.0"
    with pytest.raises(ValueError, match="0 to 32 bits"):
        TrafficSelector.network("10.0.0.1", -1)


class TestNames:
    """The tables of the host, of another host, and of none."""

    def test_files_of_a_host(self, tmp_path):
        protocols = tmp_path / "protocols"
        services = tmp_path / "services"
        protocols.write_text(
            "# comment\nip 0 IP\ntcp 6 TCP # x\nfoo 300\nbar x\nbaz\nesp\t50\tIPSEC-ESP\n"
        )
        services.write_text(
            "http 80/tcp www\nweb 80/tcp\nhttp 80/udp\nbad x/tcp\nhigh 70000/tcp\nlone\n"
            "dns 53/udp # x\n"
        )
        names = read_tables(protocols, services)
        assert names.protocol_number("IPSEC-esp") == 50
        assert names.protocol_number("ip") == 0
        assert names.protocol_number("foo") is None
        assert names.protocol_name(0) == "0"
        assert names.protocol_name(6) == "tcp"
        assert names.protocol_name(200) == "200"
        assert names.port("WWW", 6) == 80
        assert names.port("dns", 6) is None
        assert names.port("dns", 0) == 53
        assert names.service(80, 6) == "http"
        assert names.service(80, 0) == "http"
        assert names.service(53, 6) == "53"
        assert names.service(80, 50) == "80"
        assert names.service(80, 222) == "80"

    def test_a_host_without_files_knows_the_common_protocols(self, tmp_path):
        names = read_tables(tmp_path / "none", tmp_path / "none")
        assert names.protocol_number("udp") == 17
        assert names.protocol_name(58) == "ipv6-icmp"
        assert names.service(80, 6) == "80"
