"""Attributes beside addresses, hostile replies, and configuration payloads out of turn."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from charon_core.attributes.given import Domain, TrustAnchor
from charon_core.attributes.static import (
    StaticAttributes,
    dns_domain,
    dns_server,
    nbns_server,
    subnet,
)
from charon_core.encoding.payloads import Configuration, ConfigurationAttribute
from charon_core.encoding.registry import ConfigAttribute, ConfigType, ExchangeType, NotifyType
from charon_core.sa.parameters import IkeParameters
from charon_core.sa.tasks import ike_config
from charon_core.sa.tasks.task import Outcome, Outgoing, Task
from tests.exchange.test_virtual_addresses import POOL, assert_no_child, client, down, gateway, up
from tests.exchange.test_virtual_addresses import held as addresses_of
from tests.exchange.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charon_core.attributes.given import GivenAttributes
    from charon_core.encoding.message import Message

IP4_ADDRESS = ConfigAttribute.INTERNAL_IP4_ADDRESS
IP6_ADDRESS = ConfigAttribute.INTERNAL_IP6_ADDRESS
TRUST_ANCHOR = ConfigurationAttribute(
    ConfigAttribute.INTERNAL_DNSSEC_TA, b"\x12\x34\x0d\x02" + bytes(32)
)


class Handler:
    """Takes whatever it gets."""

    name = "handler"

    def __init__(self, *wanted: ConfigurationAttribute) -> None:
        self.wanted = wanted
        self.held: list[GivenAttributes] = []
        self.seen: list[GivenAttributes] = []
        self.fails = False

    def requests(self, connection: str) -> Iterable[ConfigurationAttribute]:
        if self.fails:
            raise RuntimeError("cannot say")
        return self.wanted

    def install(self, given: GivenAttributes) -> bool:
        if self.fails:
            raise RuntimeError("cannot install")
        self.held.append(given)
        self.seen.append(given)
        return True

    def remove(self, given: GivenAttributes) -> None:
        self.held.remove(given)


def with_handler(world: World, *wanted: ConfigurationAttribute) -> Handler:
    handler = Handler(*wanted)
    world.moon.attributes.add_handler(handler)
    return handler


def asking(*kinds: ConfigAttribute) -> list[ConfigurationAttribute]:
    return [ConfigurationAttribute(kind) for kind in kinds]


# -- name servers and the like ----------------------------------------------------------------


def test_name_servers_of_connection_and_settings() -> None:
    world = World()
    handler = with_handler(world)
    world.sun.attributes.add_provider(StaticAttributes(dns=["10.2.0.54", "10.2.0.53", "fd02::53"]))
    gateway(world, POOL, dns=("10.2.0.53",))
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    (given,) = handler.held
    # The connection's come first, and what was not asked for does not come.
    assert given.dns == ("10.2.0.53", "10.2.0.54")
    assert given.connection == "net"
    assert given.addresses == ("10.9.0.1",)
    down(world)
    assert handler.held == []


def test_name_servers_are_only_taken_where_the_connection_asks() -> None:
    world = World()
    handler = with_handler(world)
    gateway(world, POOL, dns=("10.2.0.53",))
    assert up(world, client(world, "0.0.0.0"))
    assert handler.seen == []
    down(world)


def test_handlers_ask_for_more() -> None:
    world = World()
    private = 0x4001
    handler = with_handler(
        world,
        *asking(
            ConfigAttribute.INTERNAL_IP4_NBNS,
            ConfigAttribute.INTERNAL_IP4_SUBNET,
            ConfigAttribute.INTERNAL_IP6_SUBNET,
            IP4_ADDRESS,  # only the connection asks for addresses
        ),
        ConfigurationAttribute(private, b"please"),
    )

    class Private(StaticAttributes):
        def attributes(
            self, pools: Iterable[str], identity: str
        ) -> tuple[ConfigurationAttribute, ...]:
            return (ConfigurationAttribute(private, identity.encode()),)

    world.sun.attributes.add_provider(
        StaticAttributes(nbns=["10.2.0.55"], subnets=["10.2.0.0/16", "fd02::/64"])
    )
    world.sun.attributes.add_provider(Private())
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    (given,) = handler.held
    assert given.nbns == ("10.2.0.55",)
    assert given.subnets == ("10.2.0.0/16", "fd02::/64")
    assert given.others == (ConfigurationAttribute(private, b"moon.example.org"),)
    assert addresses_of(world.moon) == ["10.9.0.1"]
    down(world)


def test_handler_that_raises_harms_nobody() -> None:
    world = World()
    bad, good = with_handler(world), with_handler(world)
    bad.fails = True
    gateway(world, POOL, dns=("10.2.0.53",))
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    assert len(good.held) == 1
    assert any("cannot install" in text for text in world.moon.said_by_others)
    down(world)
    assert good.held == []


def test_attributes_without_an_address() -> None:
    """A connection between networks may ask for name servers alone."""
    world = World()
    handler = with_handler(world)
    share = {"children": None}
    gateway(world, dns=("10.2.0.53",), **share)
    peer = client(world, request_dns=("0.0.0.0",), **share)
    assert up(world, peer)
    assert handler.held[0].dns == ("10.2.0.53",)
    down(world)


# -- split DNS (RFC 8598) ---------------------------------------------------------------------


def split_dns(
    *, accept: tuple[str, ...], anchors: tuple[str, ...] = (), domains: Iterable[str] = ()
) -> tuple[World, Handler]:
    world = World(parameters=IkeParameters(accept_domains=accept, accept_trust_anchors=anchors))
    world.sun.attributes.add_provider(StaticAttributes(domains=domains))
    gateway(world, POOL, dns=("10.2.0.53",))
    return world, with_handler(world)


def test_domains_are_taken_from_the_configured_ones_alone() -> None:
    world, handler = split_dns(
        accept=("example.org",),
        domains=["vpn.example.org", "example.com", "notexample.org", "example.org"],
    )
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    assert [domain.name for domain in handler.held[0].domains] == ["vpn.example.org", "example.org"]
    assert world.moon.recorder.said("example.com is not in attributes.accept_domains")
    assert world.moon.recorder.said("notexample.org is not in attributes.accept_domains")
    down(world)


def test_domains_are_not_asked_for_unless_configured() -> None:
    world, handler = split_dns(accept=(), domains=["example.org"])
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    assert handler.held[0].domains == ()
    assert world.moon.recorder.said("CPRQ(ADDR DNS)")
    down(world)


# -- hostile replies --------------------------------------------------------------------------


def answering(
    monkeypatch: pytest.MonkeyPatch, *attributes: ConfigurationAttribute, good: bool = True
) -> None:
    """Have the gateway answer this, whatever it was asked."""
    honest = ike_config.answer

    def answer(ike: object, request: Configuration) -> tuple[ConfigurationAttribute, ...]:
        return (*attributes, *(honest(ike, request) if good else ()))

    monkeypatch.setattr(ike_config, "answer", answer)


def ipv4(host: str) -> ConfigurationAttribute:
    return ConfigurationAttribute(IP4_ADDRESS, ip_address(host).packed)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("0.0.0.0", "is no address"),
        ("0.1.2.3", "is an address of 'this network'"),
        ("127.0.0.1", "is a loopback address"),
        ("169.254.0.1", "is a link-local address"),
        ("224.0.0.1", "is a multicast address"),
        ("255.255.255.255", "is a reserved address"),
        ("10.99.0.1", "is an address of this host already"),
        ("10.99.0.2", "is the gateway's own address"),
    ],
)
def test_addresses_that_cannot_be_ours_are_refused(
    monkeypatch: pytest.MonkeyPatch, host: str, reason: str
) -> None:
    world = World()
    gateway(world, POOL)
    answering(monkeypatch, ipv4(host), good=False)
    assert not up(world, client(world, "0.0.0.0"))
    assert world.moon.recorder.said(f"INTERNAL_IP4_ADDRESS: {host} {reason}")
    assert any("gives none that we can take" in text for text in world.moon.recorder.alerts)
    assert addresses_of(world.moon) == []
    assert_no_child(world)
    down(world)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (bytes(16) + b"\x80", ":: is no address"),
        (ip_address("::1").packed + b"\x80", "::1 is a loopback address"),
        (ip_address("ff02::1").packed + b"\x80", "ff02::1 is a multicast address"),
        (ip_address("fe80::1").packed + b"\x80", "fe80::1 is a link-local address"),
        (ip_address("::ffff:10.0.0.1").packed + b"\x80", "in the form of an IPv6 one"),
        (ip_address("fd09::1").packed + b"\x81", "prefix of 129 bits"),
    ],
)
def test_ipv6_addresses_that_cannot_be_ours_are_refused(
    monkeypatch: pytest.MonkeyPatch, value: bytes, reason: str
) -> None:
    world = World()
    gateway(world, "fd09::/120")
    answering(monkeypatch, ConfigurationAttribute(IP6_ADDRESS, value), good=False)
    assert not up(world, client(world, "::"))
    assert world.moon.recorder.said(reason)
    assert addresses_of(world.moon) == []
    down(world)


def test_more_than_asked_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    many = [ipv4(f"10.50.0.{number}") for number in range(1, 200)]
    answering(
        monkeypatch,
        *many,
        ConfigurationAttribute(IP6_ADDRESS, ip_address("fd09::1").packed + b"\x80"),
        good=False,
    )
    # The gateway's policies are for another address than it says: nothing in common is left.
    assert not up(world, client(world, "0.0.0.0"))
    assert world.moon.recorder.said("10.50.0.2 is more than was asked for")
    refused = [line for line in world.moon.recorder.lines if "refused of the gateway" in line]
    assert len(refused) == 17
    assert refused[-1].endswith("and more")
    assert addresses_of(world.moon) == ["10.50.0.1"]
    assert_no_child(world)
    down(world)


def test_family_that_was_not_asked_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    answering(
        monkeypatch, ConfigurationAttribute(IP6_ADDRESS, ip_address("fd09::1").packed + b"\x80")
    )
    assert up(world, client(world, "0.0.0.0"))
    assert world.moon.recorder.said("INTERNAL_IP6_ADDRESS: was not asked for")
    assert addresses_of(world.moon) == ["10.9.0.1"]
    down(world)


def test_servers_networks_and_domains_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(
        parameters=IkeParameters(
            accept_domains=("example.org",), accept_trust_anchors=("sec.example.org",)
        )
    )
    handler = with_handler(
        world,
        *asking(ConfigAttribute.INTERNAL_IP4_NBNS, ConfigAttribute.INTERNAL_IP4_SUBNET),
    )
    gateway(world, POOL)
    answering(
        monkeypatch,
        dns_server("10.2.0.53"),
        dns_server("224.0.0.251"),
        dns_server("fd02::53"),
        nbns_server("127.0.0.1"),
        subnet("10.2.0.0/16"),
        ConfigurationAttribute(
            ConfigAttribute.INTERNAL_IP4_SUBNET, bytes.fromhex("0a0200000f00ff00")
        ),
        ConfigurationAttribute(ConfigAttribute.INTERNAL_IP4_NETMASK, b"\xff\xff\xff\x00"),
        ConfigurationAttribute(ConfigAttribute.APPLICATION_VERSION, b"evil\0\n2.0"),
        TRUST_ANCHOR,  # of no domain
        dns_domain("sec.example.org"),
        TRUST_ANCHOR,
        ConfigurationAttribute(ConfigAttribute.INTERNAL_DNSSEC_TA, b"\0\0\0"),
        dns_domain("plain.example.org"),
        TRUST_ANCHOR,  # of a domain whose anchors are not the gateway's affair
        ConfigurationAttribute(ConfigAttribute.INTERNAL_DNS_DOMAIN, b"bad\nnameserver 6.6.6.6"),
        TRUST_ANCHOR,
    )
    assert up(world, client(world, "0.0.0.0", request_dns=("0.0.0.0",)))
    (given,) = handler.held
    assert given.dns == ("10.2.0.53",)
    assert given.nbns == ()
    assert given.subnets == ("10.2.0.0/16",)
    anchor = TrustAnchor(0x1234, 13, 2, bytes(32))
    assert given.domains == (Domain("sec.example.org", (anchor,)), Domain("plain.example.org"))
    refused = "\n".join(line for line in world.moon.recorder.lines if "refused of the" in line)
    for fragment in (
        "INTERNAL_IP4_DNS: 224.0.0.251 is a multicast address",
        "INTERNAL_IP6_DNS: was not asked for",
        "INTERNAL_IP4_NBNS: 127.0.0.1 is a loopback address",
        "15.0.255.0 is no netmask",
        "INTERNAL_DNSSEC_TA: follows no domain that is accepted",
        "INTERNAL_DNSSEC_TA: 3 octets, expected 5 or more",
        "plain.example.org is not in attributes.accept_trust_anchors",
        "is no domain name",
    ):
        assert fragment in refused, fragment
    assert "bad\n" not in refused
    down(world)


def test_wrong_lengths_never_reach_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    wrong = ConfigurationAttribute(0x4001, b"\x0a\x09\x00")
    object.__setattr__(wrong, "type", IP4_ADDRESS)
    answering(monkeypatch, wrong, good=False)
    outcome: list[bool] = []
    world.moon.initiate(client(world, "0.0.0.0", keyingtries=1), outcome=outcome)
    world.elapse(200)
    assert outcome == [False]
    assert any("INTERNAL_IP4_ADDRESS of 3 octets" in text for text in world.moon.recorder.alerts)
    assert addresses_of(world.moon) == []
    assert world.moon.leaks() == {}
    world.sun.delete_ike()
    world.elapse(200)
    world.assert_nothing_left()


# -- out of turn ------------------------------------------------------------------------------


class Ask(Task):
    """Sends any configuration payload in an INFORMATIONAL request."""

    name = "ASK"
    payload: Configuration
    answers: list[Message]

    def build_request(self, out: Outgoing) -> Outcome:
        out.append(self.payload)
        return Outcome.MORE

    def process_response(self, message: Message) -> Outcome:
        self.answers.append(message)
        return Outcome.DONE


def ask(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: int, *attributes: ConfigurationAttribute
) -> Message:
    from charon_core.sa import task_manager

    answers: list[Message] = []
    order = ((Ask, ExchangeType.INFORMATIONAL), *task_manager.ESTABLISHED_ORDER)
    monkeypatch.setattr(task_manager, "ESTABLISHED_ORDER", order)

    def begin(ike: object) -> None:
        task = Ask(ike)
        task.payload, task.answers = Configuration(kind, attributes), answers
        ike.tasks.queue(task)
        ike.tasks.initiate()

    world.moon.with_ike(begin)
    world.run()
    (answer,) = answers
    return answer


def test_supported_attributes_and_version_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    answer = ask(
        world,
        monkeypatch,
        ConfigType.CFG_REQUEST,
        *asking(ConfigAttribute.SUPPORTED_ATTRIBUTES, ConfigAttribute.APPLICATION_VERSION),
    )
    reply = answer.first(Configuration)
    assert reply is not None
    assert reply.type == ConfigType.CFG_REPLY
    told = {attribute.type: attribute.value for attribute in reply.attributes}
    kinds = told[ConfigAttribute.SUPPORTED_ATTRIBUTES]
    assert len(kinds) % 2 == 0
    assert IP4_ADDRESS.to_bytes(2, "big") in [kinds[at : at + 2] for at in range(0, len(kinds), 2)]
    assert told[ConfigAttribute.APPLICATION_VERSION] == b"charon"
    down(world)


def test_asking_again_gives_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    answer = ask(world, monkeypatch, ConfigType.CFG_REQUEST, *asking(IP4_ADDRESS))
    assert answer.first(Configuration).attributes == (ipv4("10.9.0.1"),)
    assert world.sun.attributes.memory.add(POOL).online == 1
    down(world)


def test_refused_peer_may_ask_again_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, "10.9.0.1-10.9.0.1")
    pool = world.sun.attributes.memory.add("10.9.0.1-10.9.0.1")
    pool.acquire("somebody else")
    assert not up(world, client(world, "0.0.0.0"))
    answer = ask(world, monkeypatch, ConfigType.CFG_REQUEST, *asking(IP4_ADDRESS))
    assert answer.notify(NotifyType.INTERNAL_ADDRESS_FAILURE) is not None
    pool.release("somebody else", "10.9.0.1")
    answer = ask(world, monkeypatch, ConfigType.CFG_REQUEST, *asking(IP4_ADDRESS))
    assert answer.first(Configuration).attributes == (ipv4("10.9.0.1"),)
    down(world)


def test_nothing_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    answer = ask(world, monkeypatch, ConfigType.CFG_SET, ipv4("10.9.0.66"))
    assert answer.first(Configuration) == Configuration(ConfigType.CFG_ACK)
    down(world)


@pytest.mark.parametrize("kind", [ConfigType.CFG_REPLY, ConfigType.CFG_ACK, 99])
def test_replies_that_nobody_asked_for_change_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    world = World()
    gateway(world, POOL)
    assert up(world, client(world, "0.0.0.0"))
    answer = ask(world, monkeypatch, kind, ipv4("10.9.0.66"))
    assert answer.payloads == ()
    assert addresses_of(world.moon) == ["10.9.0.1"]
    down(world)
