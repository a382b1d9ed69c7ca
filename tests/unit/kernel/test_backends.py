"""The choice of a backend, and what is said about the others."""

from __future__ import annotations

from typing import Any

import pytest

from charon_core.kernel.backends import BackendRegistry
from charon_core.kernel.interface import KernelUnavailable, NoKernelBackend
from charon_core.kernel.null import NullBackend
from tests.unit.kernel.factories import Surroundings

CONTEXT = Surroundings().context


def backend(name: str, unavailable: str = "") -> Any:
    """A factory of a backend that works, or says why not."""

    class Candidate(NullBackend):
        def probe(self) -> None:
            if unavailable:
                raise KernelUnavailable(unavailable)

    Candidate.name = name
    return Candidate


def registry(**unavailable: str) -> BackendRegistry:
    found = BackendRegistry()
    found.register("null", backend("null"))
    found.register(
        "userspace", backend("userspace", unavailable.get("userspace", "")), auto_rank=20
    )
    found.register("xfrm", backend("xfrm", unavailable.get("xfrm", "")), auto_rank=10)
    return found


def test_auto_takes_the_first_that_works() -> None:
    chosen = registry().select("auto", CONTEXT)
    assert chosen.backend.name == "xfrm"
    assert str(chosen) == (
        "kernel backend xfrm (userspace: not tried, xfrm works; null: only taken by name)"
    )


def test_auto_says_why_the_first_did_not_work() -> None:
    chosen = registry(xfrm="the kernel has no ESP").select("auto", CONTEXT)
    assert chosen.backend.name == "userspace"
    assert chosen.others == {"xfrm": "the kernel has no ESP", "null": "only taken by name"}


def test_auto_never_takes_null() -> None:
    with pytest.raises(NoKernelBackend) as refused:
        registry(xfrm="no ESP", userspace="no TUN").select("auto", CONTEXT)
    assert refused.value.reasons == {"xfrm": "no ESP", "userspace": "no TUN"}
    assert "xfrm: no ESP; userspace: no TUN" in str(refused.value)


def test_backend_by_name() -> None:
    chosen = registry().select("null", CONTEXT)
    assert chosen.backend.name == "null"
    assert chosen.others == dict.fromkeys(("xfrm", "userspace"), "not tried, null is configured")


def test_named_backend_that_does_not_work_is_not_replaced() -> None:
    with pytest.raises(NoKernelBackend, match="xfrm: no ESP") as refused:
        registry(xfrm="no ESP").select("xfrm", CONTEXT)
    assert set(refused.value.reasons) == {"xfrm"}


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(NoKernelBackend, match="choose one of: auto, xfrm, userspace, null"):
        registry().select("klips", CONTEXT)


def test_backend_that_cannot_be_loaded_does_not_end_the_choice() -> None:
    found = registry()

    def broken(context: Any) -> Any:
        raise ImportError("No module named 'libfast'")

    found.register("fast", broken, auto_rank=1)
    chosen = found.select("auto", CONTEXT)
    assert chosen.backend.name == "xfrm"
    assert chosen.others["fast"] == "cannot be loaded: ImportError: No module named 'libfast'"


def test_plugins_add_and_remove_backends() -> None:
    found = registry()
    found.register("card", backend("card"), auto_rank=5)
    assert found.names == ("card", "xfrm", "userspace", "null")
    assert found.select("auto", CONTEXT).backend.name == "card"
    found.unregister("card")
    assert found.select("auto", CONTEXT).backend.name == "xfrm"


@pytest.mark.parametrize(
    ("name", "words"), [("auto", "reserved"), ("", "reserved"), ("null", "already")]
)
def test_names_that_cannot_be_registered(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        registry().register(name, backend("x"))


def test_empty_registry() -> None:
    with pytest.raises(NoKernelBackend, match="none registered"):
        BackendRegistry().select("auto", CONTEXT)
