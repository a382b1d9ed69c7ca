from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest

from charon_core.crypto.random import SYSTEM_RANDOM
from charon_core.crypto.secret import Secret

HIDDEN = "Secret(***)"


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r}".format, "%s".__mod__, lambda secret: f"{secret}"],
    ids=["repr", "str", "format", "format-r", "percent", "f-string"],
)
def test_no_way_of_printing_shows_the_octets(show):
    assert show(Secret(b"hunter2")) == HIDDEN


def test_format_specification_applies_to_the_mask():
    assert f"{Secret(b'hunter2'):>13}" == "  " + HIDDEN


def test_hidden_inside_dataclasses_and_containers():
    @dataclass(frozen=True)
    class Holder:
        secret: Secret

    assert repr(Holder(Secret(b"hunter2"))).count("hunter2") == 0
    assert repr([Secret(b"hunter2")]) == f"[{HIDDEN}]"


def test_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret(b"hunter2"))


def test_cannot_be_changed():
    secret = Secret(b"hunter2")
    with pytest.raises(AttributeError):
        secret._octets = b"other"
    with pytest.raises(AttributeError):
        del secret._octets
    assert secret.reveal() == b"hunter2"


def test_copies_are_the_same_object():
    secret = Secret(b"hunter2")
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_comparison_and_hash():
    assert Secret(b"a") == Secret(bytearray(b"a"))
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != Secret(b"aa")
    assert Secret(b"a") != b"a"
    assert len({Secret(b"a"), Secret(b"a"), Secret(b"b")}) == 2


def test_emptiness_can_be_told_without_revealing():
    assert not Secret(b"")
    assert Secret(b"x")
    assert len(Secret(b"xyz")) == 3


def test_system_random_draws_what_is_asked_for():
    assert len(SYSTEM_RANDOM.bytes(32)) == 32
    assert SYSTEM_RANDOM.bytes(16) != SYSTEM_RANDOM.bytes(16)
    with pytest.raises(ValueError):
        SYSTEM_RANDOM.bytes(-1)
