"""Values refuse what no kernel could install, and show no keys."""

from __future__ import annotations

from typing import Any

import pytest

from charon_core.crypto.secret import Secret
from charon_core.kernel.interface import (
    KernelError,
    NoKernelBackend,
    PolicyAction,
    PolicyDirection,
    SaNotFound,
)
from tests.unit.kernel.factories import gcm_sa, policy, sa_id, ts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": sa_id(0)}, "SPI of an SA must be in 0x100..0xffffffff, got 0x0"),
        ({"id": sa_id(255)}, "got 0xff"),
        ({"id": sa_id(2**32)}, "got 0x100000000"),
        ({"reqid": 0}, "reqid of an SA must be in 1..4294967295, got 0"),
        ({"replay_window": -1}, "replay window must not be negative"),
    ],
)
def test_impossible_sa(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gcm_sa(**changes)


def test_policy_that_protects_with_nothing() -> None:
    with pytest.raises(
        ValueError, match=r"10\.1\.0\.0/16 === 10\.2\.0\.0/16 out must have a templ"
    ):
        policy(template=None)


def test_policy_of_two_families() -> None:
    with pytest.raises(ValueError, match="mixes IPv4 and IPv6"):
        policy(destination="2001:db8::/32")


def test_keys_are_in_no_repr() -> None:
    spec = gcm_sa(encryption_key=Secret(b"ABCDEFGHIJKLMNOPQRST"))
    assert "ABCDEF" not in repr(spec)
    assert "Secret(***)" in repr(spec)


def test_texts() -> None:
    assert str(sa_id()) == "ESP SPI c1234567 192.0.2.2 -> 192.0.2.1"
    shunt = policy(
        "10.0.0.0/8[tcp/22]",
        direction=PolicyDirection.FORWARD,
        action=PolicyAction.PASS,
        template=None,
    )
    assert str(shunt) == "10.0.0.0/8[tcp/ssh] === 10.2.0.0/16 fwd"
    assert str(policy(source="10.1.0.1-10.1.0.3")) == "10.1.0.1..10.1.0.3 === 10.2.0.0/16 out"
    error = SaNotFound("delete SA x", "No such process", "look elsewhere", 3)
    assert str(error) == "delete SA x: No such process (look elsewhere)"
    assert isinstance(error, KernelError)
    assert str(KernelError("add", "no")) == "add: no"
    missing = NoKernelBackend({"xfrm": "no ESP", "userspace": "no TUN"})
    assert str(missing) == "no kernel backend works on this host: xfrm: no ESP; userspace: no TUN"
    assert str(NoKernelBackend({})).endswith("none registered")
    assert ts("10.0.0.0/8") == policy("10.0.0.0/8").source
