"""The guard with a kernel that only notes what it is told."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from charon_core.kernel.interface import (
    BackendContext,
    KernelError,
    KernelUnavailable,
    PolicyAction,
    PolicyDirection,
)
from charon_core.kernel.netlink import HEADER, Frame, Message, NetlinkError, OverrunError, attribute
from charon_core.kernel.nftables import Kind
from charon_core.kernel.userspace.guard import Guard
from charon_core.kernel.userspace.guard_keeper import GuardKeeper
from charon_core.kernel.userspace.guard_rules import Cover
from charon_core.kernel.userspace.settings import UserspaceOptions
from tests.unit.userspace.factories import network, policy_spec

IN, FORWARD = PolicyDirection.IN, PolicyDirection.FORWARD
ECHO = 8


class Kernel:
    """Keeps the bodies of elements and rules, gives out handles."""

    port = 5

    def __init__(self) -> None:
        self.sent: list[list[Message]] = []
        self.refusal: int | None = None
        self.handle = 100
        self.closed = False

    def transact(self, messages: list[Message]) -> list[Frame]:
        if self.refusal is not None:
            raise NetlinkError(self.refusal)
        self.sent.append(messages[1:-1])
        frames = []
        for message in messages:
            if message.type == Kind.NEWRULE.type and message.flags & ECHO:
                self.handle += 1
                body = bytes(4) + attribute(3, self.handle.to_bytes(8, "big"))
                frames.append(Frame(message.type, 0, 1, 0, bytes(HEADER.size) + body))
        return frames

    def query(self, kind: int, body: bytes, flags: int = 0) -> Frame:
        if self.refusal is not None:
            raise NetlinkError(self.refusal)
        value = attribute(4, attribute(2, (9).to_bytes(8, "big")))
        return Frame(Kind.NEWOBJ.type, 0, 1, 0, bytes(HEADER.size) + bytes(4) + value)

    def close(self) -> None:
        self.closed = True

    def kinds(self) -> list[str]:
        """What the last transaction did."""
        return [Kind(message.type & 0xFF).name for message in self.sent[-1]]


class Events:
    """What was changed by others."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.closed = False

    def fileno(self) -> int:
        return 77

    def receive(self, timeout: float | None) -> list[Frame]:
        event = self.waiting.pop(0) if self.waiting else []
        if isinstance(event, Exception):
            raise event
        return event  # type: ignore[no-any-return]

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.kernel, self.events, self.changes = Kernel(), Events(), 0
        netlink: Any = self.kernel
        events: Any = self.events
        self.guard = Guard(netlink, events, device="ipsec0", index=9, mark=220, changed=self.change)

    def change(self) -> None:
        self.changes += 1


@pytest.fixture
def world() -> World:
    made = World()
    made.guard.open([500, 4500])
    return made


def inbound(source: str = "10.2.0.0/16", destination: str = "10.1.0.0/16", **more: Any) -> Any:
    return policy_spec(source, destination, direction=IN, **more)


def event(table: bytes, port: int) -> list[Frame]:
    body = b"\1\0\0\0" + attribute(1, table + b"\0")
    return [Frame(Kind.DELTABLE.type, 0, 0, port, bytes(HEADER.size) + body)]


def test_it_takes_the_place_of_what_was_left_behind(world: World) -> None:
    kinds = world.kernel.kinds()
    assert kinds[:3] == ["NEWTABLE", "DELTABLE", "NEWTABLE"]
    assert kinds[-2:] == ["NEWSETELEM", "NEWSETELEM"]  # the ports
    assert len(world.kernel.sent) == 1


def test_policies_of_one_area_are_one_element(world: World) -> None:
    forward = policy_spec("10.2.0.0/16", "10.1.0.0/16", direction=FORWARD)
    rekeyed = inbound(reqid=9)
    sent = len(world.kernel.sent)
    for spec in (inbound(), forward, rekeyed):
        world.guard.add(spec)
    assert world.kernel.kinds() == ["NEWSETELEM"]
    assert len(world.kernel.sent) == sent + 1
    for spec in (inbound(), forward):
        world.guard.discard(spec)
    assert len(world.kernel.sent) == sent + 1
    world.guard.discard(rekeyed)
    assert world.kernel.kinds() == ["DELSETELEM"]
    world.guard.discard(rekeyed)  # nobody wants it any more
    assert len(world.kernel.sent) == sent + 2


def test_what_a_set_cannot_hold_is_a_rule(world: World) -> None:
    world.guard.add(inbound())
    for spec in (inbound("10.2.3.0/24"), inbound("10.3.0.0/16", protocol=17)):
        world.guard.add(spec)
        assert world.kernel.kinds() == ["NEWRULE"]
        world.guard.discard(spec)
        assert world.kernel.kinds() == ["DELRULE"]
        assert world.kernel.sent[-1][0].body.endswith(bytes([0, 0, 0, world.kernel.handle]))
    # When the larger one is gone, there is room.
    world.guard.discard(inbound())
    world.guard.add(inbound("10.2.3.0/24"))
    assert world.kernel.kinds() == ["NEWSETELEM"]


def test_our_own_side_is_left_alone_by_a_wide_policy(world: World) -> None:
    world.guard.add(inbound("0.0.0.0/0"))
    assert world.kernel.kinds() == ["NEWRULE", "NEWRULE"]
    world.guard.discard(inbound("0.0.0.0/0"))
    assert world.kernel.kinds() == ["DELRULE", "DELRULE"]


def test_a_wide_policy_that_drops_does_so_with_our_own_side_as_well(world: World) -> None:
    drop = inbound("0.0.0.0/0", action=PolicyAction.DROP)
    world.guard.add(drop)
    assert world.kernel.kinds() == ["NEWSETELEM"]
    world.guard.discard(drop)
    assert world.kernel.kinds() == ["DELSETELEM"]


def test_exceptions_are_in_the_order_of_their_strength(world: World) -> None:
    def exceptions() -> int:
        kinds = world.kernel.kinds()
        assert kinds.count("DELRULE") == 1
        return len(kinds) - kinds.index("DELRULE") - 1

    world.guard.add(inbound(priority=10))
    weak = inbound("10.2.5.0/24", action=PolicyAction.PASS, priority=5)
    world.guard.add(weak)
    assert exceptions() == 1
    strong = inbound("10.2.5.7/32", priority=3)
    world.guard.add(strong)  # stronger than what lets pass: it has to be asked first
    assert exceptions() == 2
    world.guard.add(policy_spec(priority=1))  # another direction has exceptions of its own
    assert world.kernel.kinds() == ["NEWSETELEM"]
    world.guard.discard(weak)
    assert exceptions() == 0
    world.guard.discard(strong)
    assert world.kernel.kinds() == ["DELRULE"]


def test_a_refused_policy_changes_nothing(world: World) -> None:
    world.kernel.refusal = errno.EPERM
    for spec in (inbound(), inbound(action=PolicyAction.PASS, priority=1)):
        with pytest.raises(KernelError, match=r"guard policy .* in: .*CAP_NET_ADMIN"):
            world.guard.add(spec)
    world.kernel.refusal = None
    world.guard.add(inbound())
    assert world.kernel.kinds() == ["NEWSETELEM"]


def test_a_refused_removal_is_told_and_repaired(world: World) -> None:
    world.guard.add(inbound())
    world.kernel.refusal = errno.EBUSY
    with pytest.raises(KernelError, match="end guarding"):
        world.guard.discard(inbound())
    assert world.changes == 1
    # What somebody else has removed needs no removal.
    world.kernel.refusal = None
    world.guard.add(inbound("10.4.0.0/16"))
    world.kernel.refusal = errno.ENOENT
    world.guard.discard(inbound("10.4.0.0/16"))


def test_changes_by_others_are_noticed(world: World) -> None:
    name = world.guard.name.encode()
    world.events.waiting = [event(name, 5), event(b"filter", 6)]
    world.guard.look()
    assert world.changes == 0
    world.events.waiting = [event(name, 6), OverrunError()]
    world.guard.look()
    assert world.changes == 2


def test_everything_can_be_restored(world: World) -> None:
    specs = [inbound(f"10.{number}.0.0/24") for number in range(5, 120)]
    specs += [inbound("10.5.0.0/16", protocol=6), inbound("0.0.0.0/0")]
    specs.append(inbound("10.9.9.0/24", action=PolicyAction.PASS, priority=1))
    for spec in specs:
        world.guard.add(spec)
    world.guard.add_port(501)
    world.guard.add_port(501)
    before = len(world.kernel.sent)
    world.kernel.handle = 200
    assert world.guard.restore()
    messages = [each for sent in world.kernel.sent[before:] for each in sent]
    kinds = [Kind(message.type & 0xFF) for message in messages]
    assert kinds.count(Kind.NEWSETELEM) == 115 + 3
    assert all(len(sent) <= 60 for sent in world.kernel.sent[before:])
    world.guard.discard(specs[115])
    assert world.kernel.sent[-1][0].body[-1] == 201  # the new handle
    world.guard.remove()
    assert not world.guard.restore()
    assert world.kernel.kinds() == ["DELTABLE"]


def test_packets_are_counted_while_it_is_open(world: World) -> None:
    assert world.guard.dropped() == {"inbound": 9, "outbound": 9}
    world.kernel.refusal = errno.ENOENT
    assert world.guard.dropped() == {}
    world.kernel.refusal = None
    world.guard.remove()
    world.guard.remove()
    assert world.guard.dropped() == {}
    world.guard.close()
    assert world.kernel.closed
    assert world.events.closed


@pytest.mark.parametrize(
    ("ours", "theirs", "rules"),
    [
        ({}, {}, 1),
        ({"protocol": 6}, {"protocol": 17}, 0),
        ({"protocol": 6}, {}, 1),
        ({"ports": (5, 9)}, {}, 5),  # TCP, UDP, SCTP, UDP-Lite, ICMP
        ({"protocol": 47, "ports": (5, 9)}, {}, 0),  # GRE has no ports
        ({"protocol": 47, "ports": (65535, 0)}, {}, 1),
        ({"protocol": 6, "ports": (65535, 0)}, {}, 1),
        ({"protocol": 6, "ports": (65535, 0)}, {"ports": (1, 2)}, 0),
        ({"protocol": 1, "ports": (0x800, 0x8FF)}, {"protocol": 1, "ports": (0x800, 0x8FF)}, 1),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_upper_layers(
    ours: dict[str, Any], theirs: dict[str, Any], rules: int, version: int
) -> None:
    own, other = ("10.1.0.0/16", "10.2.0.0/16") if version == 4 else ("fd01::/16", "fd02::/16")
    if version == 6:
        ours, theirs = ({**each} for each in (ours, theirs))
        for each in (ours, theirs):
            if each.get("protocol") == 1:
                each["protocol"] = 58
    spec: Any = policy_spec(own, other)
    object.__setattr__(spec, "source", network(own, **ours))
    object.__setattr__(spec, "destination", network(other, **theirs))
    cover = Cover.of(spec)
    assert len(list(cover.rules())) == rules
    assert cover.is_plain is (not ours and not theirs)


# -- the keeper -----------------------------------------------------------------------------------


class Keeping:
    """A keeper with a host whose guard is the one of a world, or none."""

    def __init__(self, *, error: Exception | None = None, guard: str = "auto") -> None:
        self.world, self.error = World(), error
        self.lines: list[str] = []
        self.timers: list[tuple[float, Any]] = []
        context = BackendContext(
            run_loop=lambda *_: None,  # type: ignore[arg-type,return-value]
            after=self.after,
            log=lambda _, text, *values: self.lines.append(text % values),
            random=None,  # type: ignore[arg-type]
        )
        self.keeper = GuardKeeper(context)
        self.keeper.add_port(4500)
        self.options = UserspaceOptions(guard=guard)

    def after(self, seconds: float, function: Any) -> Any:
        self.timers.append((seconds, function))

    def open_guard(self, device: str, options: Any, ports: Any, changed: Any) -> Guard | None:
        if self.error is not None:
            raise self.error
        if options.guard == "off":
            return None
        self.world.change = changed  # type: ignore[method-assign]
        self.world.guard.open(ports)
        return self.world.guard

    def open(self) -> Any:
        host: Any = self
        return self.keeper.open(host, "ipsec0", self.options)

    def run(self) -> float:
        ((seconds, function),) = self.timers
        self.timers = []
        function()
        return seconds


def test_the_keeper_opens_and_removes() -> None:
    keeping = Keeping()
    ((descriptor, _),) = keeping.open()
    assert descriptor == 77
    assert "inet charon-ipsec0" in keeping.lines[0]
    keeping.keeper.add(inbound())
    keeping.keeper.add_port(500)
    keeping.keeper.remove()
    assert keeping.lines[1:] == [
        "guard: dropped unprotected packets: {'inbound': 9, 'outbound': 9}"
    ]
    keeping.keeper.close()
    assert keeping.world.kernel.closed
    keeping.keeper.close()
    assert keeping.keeper.dropped() == {}


def test_without_a_guard_one_line_says_what_is_not_enforced() -> None:
    keeping = Keeping(error=KernelUnavailable("no nf_tables"))
    assert keeping.open() == []
    (line,) = keeping.lines
    assert "come in unprotected" in line
    assert "rp_filter=1" in line
    assert "no nf_tables" in line
    keeping.keeper.add(inbound())
    keeping.keeper.discard(inbound())
    keeping.keeper.remove()


def test_a_guard_that_is_a_must_stops_the_start() -> None:
    keeping = Keeping(error=KernelUnavailable("no nf_tables"), guard="on")
    with pytest.raises(KernelUnavailable, match="no nf_tables"):
        keeping.open()


def test_off_is_off() -> None:
    keeping = Keeping(guard="off")
    assert keeping.open() == []
    assert keeping.lines == []


def test_repairs_are_made_once_and_tried_again() -> None:
    keeping = Keeping()
    keeping.open()
    change: Any = keeping.world.change
    change()
    change()
    keeping.world.kernel.refusal = errno.EPERM
    assert keeping.run() == 0
    assert "trying again" in keeping.lines[-1]
    keeping.world.kernel.refusal = None
    assert keeping.run() == 5.0
    assert keeping.run() == 0
    assert "restored" in keeping.lines[-1]
    change()
    keeping.keeper.close()
    keeping.run()
    assert keeping.timers == []


def test_a_failed_removal_is_a_line() -> None:
    keeping = Keeping()
    keeping.open()
    keeping.keeper.add(inbound())
    keeping.world.kernel.refusal = errno.EPERM
    keeping.keeper.discard(inbound())
    assert "end guarding" in keeping.lines[-1]
    keeping.keeper.remove()
    assert "removing table inet charon-ipsec0: Operation not permitted" in keeping.lines[-1]


def test_only_the_three_words_are_settings() -> None:
    with pytest.raises(ValueError, match="auto, on or off"):
        UserspaceOptions(guard="maybe")
