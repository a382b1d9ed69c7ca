"""up, down and their relatives: what the controller is asked, and what the client reads."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from charon_core.bus.listener import Group, Level
from charon_core.control.controller import Result
from charon_core.control.routing import Unrouted
from charon_plugins.stroke.server.specifier import Specifier
from charon_plugins.stroke.wire.bodies import (
    AddConn,
    Counters,
    End,
    Leases,
    Loglevel,
    Name,
    Purge,
    TerminateSrcip,
)
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import MessageType, PurgeFlag, WireMode
from tests.plugins.stroke.fakes import World, child_sa, ike_sa, record

if TYPE_CHECKING:
    from pathlib import Path


def add(world: World, name: str, **changes: object) -> None:
    end = End(ikeport=500, to_port=65535, auth="psk")
    body = AddConn(name=name, version=2, mode=2, me=end, other=end)
    message = Message(MessageType.ADD_CONN, replace(body, **changes), -1)  # type: ignore[arg-type]
    assert world.ask(message) == ""


def up(world: World, name: str, verbosity: int = 1) -> str:
    return world.ask(Message(MessageType.INITIATE, Name(name), verbosity))


def down(world: World, name: str, verbosity: int = 1) -> str:
    return world.ask(Message(MessageType.TERMINATE, Name(name), verbosity))


def commands(world: World) -> list[tuple[object, ...]]:
    return [call for call in world.controller.calls if call[0] != "list"]


def test_up_streams_the_log_and_ends_with_the_result(world: World) -> None:
    add(world, "home")
    world.controller.records = [
        record("initiating IKE_SA home[1] to 10.77.0.2", Level.AUDIT),
        record("sending packet: first\nsecond line"),
        record("too much detail", Level.MORE),
    ]
    assert up(world, "home") == (
        "initiating IKE_SA home[1] to 10.77.0.2\n"
        "sending packet: first\n"
        "second line\n"
        "connection 'home' established successfully\n"
    )
    assert commands(world) == [("initiate", "home", "home", None, True)]


@pytest.mark.parametrize(
    ("verbosity", "lines"), [(0, "audit\n"), (1, "audit\ncontrol\n"), (2, "audit\ncontrol\nmore\n")]
)
def test_verbosity_chooses_the_lines(world: World, verbosity: int, lines: str) -> None:
    add(world, "home")
    world.controller.records = [
        record("audit", Level.AUDIT),
        record("control", Level.CONTROL),
        record("more", Level.MORE),
    ]
    reply = up(world, "home", verbosity)
    assert reply == lines + "connection 'home' established successfully\n"


def test_lines_of_peers_cannot_forge_others(world: World) -> None:
    add(world, "home")
    world.controller.records = [record("peer \x1b[31m\x00 says")]
    assert up(world, "home").startswith("peer \\x1b[31m\\x00 says\n")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (Result.SUCCESS, "connection 'home' established successfully\n"),
        (Result.FAILED, "establishing connection 'home' failed\n"),
        (Result.NOT_FOUND, "establishing connection 'home' failed\n"),
        (Result.TIMEOUT, "connection 'home' not established after 1500ms, detaching\n"),
    ],
)
def test_results_of_up(tmp_path: Path, result: Result, text: str) -> None:
    world = World(tmp_path, {"timeout": 1.5})
    world.start()
    add(world, "home")
    world.controller.result = result
    assert up(world, "home") == text
    assert commands(world) == [("initiate", "home", "home", 1.5, True)]
    world.stop()


def test_up_without_waiting_replies_nothing(world: World) -> None:
    add(world, "home")
    assert up(world, "home", -1) == ""
    assert commands(world) == [("initiate", "home", "home", None, False)]
    assert up(world, "other", -1) == ""
    assert world.bus.said("no config named 'other'")


def test_up_of_an_unknown_connection(world: World) -> None:
    assert up(world, "other") == "no config named 'other'\n"


def test_up_by_name_initiates_the_child_of_that_name_only(world: World) -> None:
    add(world, "first")
    add(world, "second", me=End(ikeport=500, to_port=65535, auth="psk", subnets="10.0.0.0/8"))
    up(world, "second")
    assert commands(world) == [("initiate", "first", "second", None, True)]


def test_up_of_a_connection_without_such_a_child_initiates_all(world: World) -> None:
    add(world, "first")
    add(world, "second", me=End(ikeport=500, to_port=65535, auth="psk", subnets="10.0.0.0/8"))
    world.ask(Message(MessageType.DEL_CONN, Name("first"), -1))
    assert up(world, "first") == "connection 'second' established successfully\n"
    assert commands(world)[1:] == [("initiate", "first", "second", None, True)]


def test_client_that_goes_away_ends_the_waiting_not_the_work(world: World) -> None:
    add(world, "home")
    world.controller.records = [record("detail", Level.MORE)] * 3
    ended = threading.Event()
    with world.connect() as client:

        def leave() -> None:
            client.close()
            ended.set()

        world.controller.meanwhile = leave
        client.sendall(encode(Message(MessageType.INITIATE, Name("home"), 2)))
        # Otherwise the request may find the client gone before it has begun.
        assert ended.wait(10)
    assert world.ask(Message(MessageType.STATUS, Name())).endswith("none\n")


def route(world: World, name: str, verbosity: int = 1) -> str:
    return world.ask(Message(MessageType.ROUTE, Name(name), verbosity))


def unroute(world: World, name: str) -> str:
    return world.ask(Message(MessageType.UNROUTE, Name(name), 1))


@pytest.mark.parametrize(
    ("mode", "result", "reply"),
    [
        (WireMode.TUNNEL, Result.SUCCESS, "'home' routed\n"),
        (WireMode.TUNNEL, Result.FAILED, "routing 'home' failed\n"),
        (WireMode.PASS, Result.SUCCESS, "'home' shunt PASS policy installed\n"),
        (WireMode.DROP, Result.SUCCESS, "'home' shunt DROP policy installed\n"),
        (WireMode.DROP, Result.FAILED, "'home' shunt DROP policy installation failed\n"),
    ],
)
@pytest.mark.parametrize("verbosity", [1, -1])
def test_route(world: World, mode: WireMode, result: Result, reply: str, verbosity: int) -> None:
    add(world, "home", mode=int(mode))
    world.controller.result = result
    assert route(world, "home", verbosity) == reply
    assert commands(world) == [("route", "home", "home")]


def test_up_of_a_shunt_installs_it(world: World) -> None:
    add(world, "home", mode=int(WireMode.PASS))
    assert up(world, "home") == "'home' shunt PASS policy installed\n"
    assert commands(world) == [("route", "home", "home")]


def test_route_of_what_is_not_there(world: World) -> None:
    assert route(world, "home") == "no config named 'home'\n"
    assert commands(world) == []


@pytest.mark.parametrize(
    ("removed", "reply"),
    [
        (Unrouted.SHUNT, "shunt policy 'home' uninstalled\n"),
        (Unrouted.TRAP, "trap policy 'home' unrouted\n"),
        (None, "configuration 'home' not found\n"),
    ],
)
def test_unroute(world: World, removed: Unrouted | None, reply: str) -> None:
    world.controller.unrouted = removed
    assert unroute(world, "home") == reply
    assert commands(world) == [("unroute", "home")]


def test_delete_takes_trap_and_shunt_along(world: World) -> None:
    add(world, "home")
    world.ask(Message(MessageType.DEL_CONN, Name("home"), -1))
    assert commands(world) == [("unroute", "home")]


WRONG = "terminate: expected NAME, NAME[], NAME[*], [ID], NAME{{}}, NAME{{*}} or {{ID}}, not '{}'\n"
SAS = [
    ike_sa(unique_id=3, name="b", children=(child_sa(unique_id=7, name="b"),)),
    ike_sa(
        unique_id=2,
        name="a",
        children=(child_sa(unique_id=5, name="a"), child_sa(unique_id=6, name="c")),
    ),
    ike_sa(unique_id=1, name="a", children=(child_sa(unique_id=4, name="a"),)),
]


@pytest.mark.parametrize(
    ("specifier", "reply", "calls"),
    [
        ("a", "IKE_SA [2] closed successfully\n", [("ike", 2)]),
        ("a[]", "IKE_SA [2] closed successfully\n", [("ike", 2)]),
        (
            "a[*]",
            "IKE_SA [2] closed successfully\nIKE_SA [1] closed successfully\n",
            [("ike", 2), ("ike", 1)],
        ),
        ("[7]", "IKE_SA [7] closed successfully\n", [("ike", 7)]),
        ("whatever[7]", "IKE_SA [7] closed successfully\n", [("ike", 7)]),
        ("c{}", "CHILD_SA {6} closed successfully\n", [("child", 6)]),
        (
            "a{*}",
            "CHILD_SA {5} closed successfully\nCHILD_SA {4} closed successfully\n",
            [("child", 5), ("child", 4)],
        ),
        ("{4}", "CHILD_SA {4} closed successfully\n", [("child", 4)]),
        ("x", "terminate: no IKE_SA is called 'x'\n", []),
        ("x{*}", "terminate: no CHILD_SA is called 'x'\n", []),
        ("a[", WRONG.format("a["), []),
        ("a]", WRONG.format("a]"), []),
        ("a[x]", WRONG.format("a[x]"), []),
        ("a{1", WRONG.format("a{1"), []),
        ("", WRONG.format(""), []),
        ("[]", WRONG.format("[]"), []),
        ("[*]", WRONG.format("[*]"), []),
        ("{*}", WRONG.format("{*}"), []),
        ("a[1]{2}", WRONG.format("a[1]{2}"), []),
        ("a[99999999999999]", WRONG.format("a[99999999999999]"), []),
    ],
)
def test_down(world: World, specifier: str, reply: str, calls: list[tuple[str, int]]) -> None:
    world.controller.sas = SAS
    assert down(world, specifier) == reply
    assert [call[:2] for call in commands(world)] == calls


@pytest.mark.parametrize(
    ("specifier", "calls"),
    [
        ("a", [("rekey ike", 2)]),
        ("a[*]", [("rekey ike", 2), ("rekey ike", 1)]),
        ("c{}", [("rekey child", 6)]),
        ("{4}", [("rekey child", 4)]),
        ("x", []),
        ("a[", []),
    ],
)
def test_rekey_queues_the_work_and_replies_nothing(
    world: World, specifier: str, calls: list[tuple[str, int]]
) -> None:
    world.controller.sas = SAS
    reply = world.ask(Message(MessageType.REKEY, Name(specifier), 1))
    assert reply.startswith("rekey: ") if not calls else reply == ""
    assert world.ask(Message(MessageType.REKEY, Name("x"), -1)) == ""
    assert commands(world) == [(*call, None, False) for call in calls]


def test_what_is_replaced_already_is_not_meant(world: World) -> None:
    replaced, new = (
        child_sa(unique_id=5, name="a", state="REKEYED"),
        child_sa(unique_id=6, name="a"),
    )
    world.controller.sas = [ike_sa(unique_id=2, name="a", children=(replaced, new))]
    assert down(world, "a{}") == "CHILD_SA {6} closed successfully\n"


def test_down_without_waiting(world: World) -> None:
    world.controller.sas = SAS
    assert down(world, "a[*]", -1) == ""
    assert commands(world) == [("ike", 2, None, False), ("ike", 1, None, False)]


@pytest.mark.parametrize(
    ("specifier", "result", "reply"),
    [
        ("[7]", Result.FAILED, "closing IKE_SA [7] failed\n"),
        (
            "[7]",
            Result.NOT_FOUND,
            "unable to terminate IKE_SA: ID 7 not found\nclosing IKE_SA [7] failed\n",
        ),
        ("[7]", Result.TIMEOUT, "IKE_SA [7] not closed after 0ms, detaching\n"),
        ("{7}", Result.FAILED, "closing CHILD_SA {7} failed\n"),
        (
            "{7}",
            Result.NOT_FOUND,
            "unable to terminate, CHILD_SA with ID 7 not found\nclosing CHILD_SA {7} failed\n",
        ),
        ("{7}", Result.TIMEOUT, "CHILD_SA {7} not closed after 0ms, detaching\n"),
    ],
)
def test_results_of_down(world: World, specifier: str, result: Result, reply: str) -> None:
    world.controller.result = result
    assert down(world, specifier) == reply


def test_names_may_contain_blanks() -> None:
    assert Specifier.parse("a b[*]") == Specifier("a b", is_all=True)


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        ("10.9.0.2", None, [2]),
        ("10.9.0.1", "10.9.0.2", [1, 2]),
        ("fd00::1", "fd00::ff", [3]),
        ("10.9.0.2", "fd00::1", []),
        ("nonsense", None, []),
        (None, None, []),
    ],
)
def test_down_by_virtual_address(
    world: World, start: str | None, end: str | None, numbers: list[int]
) -> None:
    world.controller.sas = [
        ike_sa(unique_id=1, remote_vips=("10.9.0.1",)),
        ike_sa(unique_id=2, remote_vips=("10.9.0.2",)),
        ike_sa(unique_id=3, remote_vips=("fd00::3",)),
        ike_sa(unique_id=4),
    ]
    message = Message(MessageType.TERMINATE_SRCIP, TerminateSrcip(start, end))
    assert world.ask(message) == ""
    assert [call[1] for call in commands(world)] == numbers


def test_purge_of_childless_ike_sas(world: World) -> None:
    world.controller.sas = [
        ike_sa(unique_id=1),
        ike_sa(unique_id=2, children=(child_sa(),)),
        ike_sa(unique_id=3, half_open=True),
    ]
    reply = world.ask(Message(MessageType.PURGE, Purge(0x0F)))
    assert reply == "IKE_SA [1] closed successfully\n"


def test_purge_of_caches(world: World) -> None:
    flushed: list[dict[str, bool]] = []
    world.credentials._online = SimpleNamespace(flush=lambda **what: flushed.append(what))
    for flags in (PurgeFlag.OCSP, PurgeFlag.CRLS, PurgeFlag.CERTS, PurgeFlag(0x0F)):
        assert world.ask(Message(MessageType.PURGE, Purge(int(flags)))) == ""
    assert flushed == [
        {"statuses": True, "lists": False},
        {"statuses": False, "lists": True},
        {"statuses": True, "lists": True},
    ]


def test_purge_before_anything_is_cached(world: World) -> None:
    assert world.ask(Message(MessageType.PURGE, Purge(0x0F))) == ""


@pytest.mark.parametrize(
    ("group", "level", "reply", "changed"),
    [
        ("ike", 2, "", [(Group.IKE, Level.MORE)]),
        ("IKE", -1, "", [(Group.IKE, Level.SILENT)]),
        ("any", 1, "", [(group, Level.CONTROL) for group in Group]),
        ("foo", 1, "unknown type 'foo'!\n", []),
        ("", 1, "unknown type ''!\n", []),
        ("ike", 9, "", []),
    ],
)
def test_loglevel(
    world: World, group: str, level: int, reply: str, changed: list[tuple[Group, Level]]
) -> None:
    assert world.ask(Message(MessageType.LOGLEVEL, Loglevel(group, level))) == reply
    assert world.levels == changed


def test_loglevel_may_be_forbidden(tmp_path: Path) -> None:
    world = World(tmp_path, {"prevent_loglevel_changes": True})
    world.start()
    reply = world.ask(Message(MessageType.LOGLEVEL, Loglevel("ike", 2)))
    assert reply == "command not allowed!\n"
    assert world.levels == []
    world.stop()


def test_leases(world: World) -> None:
    world.attributes.memory.add_grants("free").acquire("erin", "192.0.2.7")
    assert world.ask(Message(MessageType.LEASES, Leases())) == "no pools found\n"
    pool = world.attributes.memory.add("10.9.0.0/24")
    pool.acquire("carol")
    pool.acquire("dave")
    pool.release("dave", "10.9.0.2")
    assert world.ask(Message(MessageType.LEASES, Leases())) == (
        "Leases in pool '10.9.0.0/24', usage: 2/254, 1 online\n"
        "         10.9.0.1   online    'carol'\n"
        "         10.9.0.2   offline   'dave'\n"
    )
    assert "10.9.0.1" not in world.ask(
        Message(MessageType.LEASES, Leases("10.9.0.0/24", "10.9.0.2"))
    )
    assert "no matching leases" in world.ask(
        Message(MessageType.LEASES, Leases("10.9.0.0/24", "10.9.0.3"))
    )
    assert world.ask(Message(MessageType.LEASES, Leases("x"))) == "pool 'x' not found\n"


def test_counters_and_memory(world: World) -> None:
    from charon_plugins.stroke.wire.bodies import MemUsage

    assert world.ask(Message(MessageType.COUNTERS, Counters())) == (
        "\nNo counters available (plugin missing?)\n\n"
    )
    assert world.ask(Message(MessageType.COUNTERS, Counters(1))) == ""
    assert world.ask(Message(MessageType.MEMUSAGE, MemUsage())) == ""
