from __future__ import annotations

import pytest

from charon_core.network.packet import Endpoint, Packet


@pytest.mark.parametrize(
    ("endpoint", "text", "is_ipv6"),
    [
        (Endpoint("10.0.0.1", 500), "10.0.0.1[500]", False),
        (Endpoint("2001:db8::1", 4500), "2001:db8::1[4500]", True),
    ],
)
def test_endpoint(endpoint, text, is_ipv6):
    assert str(endpoint) == text
    assert endpoint.is_ipv6 is is_ipv6


def test_a_reply_goes_back_the_way_that_the_packet_came():
    here, there = Endpoint("10.0.0.1", 4500), Endpoint("10.0.0.2", 61000)
    assert Packet(there, here, b"request", dscp=46).reply(b"response") == Packet(
        here, there, b"response", dscp=46
    )
