"""What the daemon would refuse is told before it starts, with file, line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from charon_plugins.stroke.starter.check import check, complaints, is_local, left_out
from charon_plugins.stroke.starter.convert import Configuration, convert
from charon_plugins.stroke.starter.document import load
from charon_plugins.stroke.starter.plan import keep_skipped, update_plan


def checked(text: str, certs: Path = Path("/nowhere")) -> Configuration:
    return check(convert(load(Path("/conf"), lambda _: text)), certs)


@pytest.mark.parametrize(
    ("line", "place", "text"),
    [
        ("ike=aes129-sha256-x25519!", "3:6", "unknown algorithm 'aes129'"),
        ("esp=aes128-sha999!", "3:6", "unknown algorithm 'sha999'"),
        ("leftcert=missing.pem", "3:11", "expected a certificate in '/nowhere/missing.pem'"),
        ("leftid=@#zz", "3:9", "leftid = '@#zz'"),
        ("rightauth=pubkey-sha9", "3:12", "unknown: sha9"),
        ("left=999.1.1.1", "3:7", "expected an address or a name"),
        ("leftsubnet=10.1.0.0/33", "3:13", "is no network: a prefix of this address has 0 to 32"),
        ("rightsubnet=fd00::/129", "3:14", "'fd00::/129' is no network"),
        ("leftsubnet=10.1.0.0/24,,10.2.0.0/24", "3:13", "expected an item before and behind"),
        ("rightdns=10.1.0.1,", "3:11", "expected an item before and behind a ','"),
        ("left=192.0.2.1,,192.0.2.2", "3:7", "expected an item before and behind a ','"),
        ("leftsubnet=banana", "3:13", "leftsubnet = 'banana'"),
        ("rightsourceip=10.9.0.0/77", "3:16", "expected a pool"),
        ("keyexchange=ikev1", "3:14", "IKEv1 is not supported"),
        ("rightauth=xauth", "3:12", "XAuth is part of IKEv1 only"),
        ("margintime=2h", "3:13", "expected more than margintime"),
    ],
)
def test_place_of_what_only_the_daemon_checks(line: str, place: str, text: str) -> None:
    configuration = checked(f"conn a\n\tauto=add\n\t{line}\nconn b\n\tauto=add\n")
    (problem,) = configuration.refused["a"]
    assert str(problem.place) == f"/conf:{place}"
    assert text in problem.text
    assert left_out(configuration) == 1
    assert list(complaints(configuration))[-1] == f"conn a is refused: {problem}"


def test_place_of_what_is_inherited() -> None:
    configuration = checked("conn %default\n\tike=x\nconn a\n\tauto=add\n")
    (problem,) = configuration.refused["a"]
    assert str(problem.place) == "/conf:2:6"


def test_all_mistakes_of_a_connection_are_told() -> None:
    configuration = checked("conn a\n\tauto=add\n\tike=x\n\tesp=y\n\tleftid=@#zz\n")
    assert len(configuration.refused["a"]) == 3


def test_a_refused_connection_does_not_take_away_what_worked() -> None:
    old = checked("conn a\n\tauto=add\n")
    new = checked("conn a\n\tauto=add\n\tike=x\n")
    assert update_plan(old, keep_skipped(old, new)) == []


def test_places_do_not_make_a_difference() -> None:
    old = checked("conn a\n\tauto=add\n")
    new = checked("\n\nconn a\n\n\tauto=add\n")
    assert update_plan(old, new) == []


def test_which_addresses_are_ours() -> None:
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.77")
    assert not is_local("nonsense")
