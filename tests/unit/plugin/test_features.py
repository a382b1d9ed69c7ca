"""The order in which plugins load, and which cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.plugin.features import Feature, Order, order_plugins, satisfies


def order(**plugins: tuple[str, str, str]) -> Order:
    """Order plugins given as (provides, needs, wants), each a list with blanks."""
    return order_plugins(
        {
            name: [
                Feature(provided, tuple(needs.split()), tuple(wants.split()))
                for provided in (provides.split() or [f"{name}:x"])
            ]
            for name, (provides, needs, wants) in plugins.items()
        }
    )


def test_without_dependencies_the_given_order_stays() -> None:
    assert order(b=("", "", ""), a=("", "", ""), c=("", "", "")).plugins == ("b", "a", "c")


def test_what_is_needed_comes_first() -> None:
    result = order(a=("", "b:x", ""), b=("", "c:x", ""), c=("", "", ""))
    assert result.plugins == ("c", "b", "a")


def test_what_is_wanted_comes_first_where_it_exists() -> None:
    result = order(a=("", "", "b:x z:x"), b=("", "", ""))
    assert result.plugins == ("b", "a")
    assert result.missing == {"a": ("z:x",)}


def test_a_kind_alone_means_any_of_it_and_all_of_it_first() -> None:
    result = order(a=("", "db", ""), b=("db:sqlite", "", ""), c=("db:mysql", "", ""))
    assert result.plugins == ("b", "c", "a")


def test_what_lacks_a_need_cannot_load_and_takes_others_along() -> None:
    result = order(a=("", "b:x", ""), b=("", "c:x", ""), c=("", "nobody:x", ""), d=("", "", ""))
    assert result.plugins == ("d",)
    assert result.unmet == {
        "c": "needs nobody:x, which no plugin provides",
        "b": "needs c:x, and c, which would provide it, cannot load",
        "a": "needs b:x, and b, which would provide it, cannot load",
    }


def test_another_provider_will_do() -> None:
    result = order(a=("", "db", ""), b=("db:x", "nobody:x", ""), c=("db:y", "", ""))
    assert result.plugins == ("c", "a")
    assert set(result.unmet) == {"b"}


def test_a_circle_of_needs_loads_nothing_of_it() -> None:
    result = order(a=("", "b:x", ""), b=("", "a:x", ""), c=("", "a:x", ""), d=("", "", ""))
    assert result.plugins == ("d",)
    assert result.unmet["a"] == "depends on itself in a circle: a -> b -> a"
    assert result.unmet["b"] == "depends on itself in a circle: a -> b -> a"
    assert result.unmet["c"] == "needs a:x, and a, which would provide it, cannot load"


def test_a_wish_gives_way_in_a_circle() -> None:
    result = order(a=("", "", "b:x"), b=("", "a:x", ""))
    assert result.plugins == ("a", "b")
    assert result.dropped == {"a": ("b:x",)}
    assert result.unmet == {}


def test_a_plugin_may_depend_on_its_own_features() -> None:
    assert order(a=("a:x a:y", "a:x", "a")).plugins == ("a",)


@pytest.mark.parametrize(
    ("provided", "wanted", "fits"),
    [
        ("db:x", "db:x", True),
        ("db:x", "db", True),
        ("db:x", "db:y", False),
        ("db:x", "d", False),
        ("db", "db", True),
        ("dbx:y", "db", False),
    ],
)
def test_what_satisfies_what(provided: str, wanted: str, fits: bool) -> None:
    assert satisfies(provided, wanted) is fits


@pytest.mark.parametrize("name", ["", ":x", "x:", "a b", "x:y z", "\n"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="expected a feature name like 'kind:name'"):
        Feature(name)
    with pytest.raises(ValueError, match="expected a feature name like 'kind:name'"):
        Feature("a:b", needs=(name,))


names = st.sampled_from("abcdef")
references = st.lists(st.sampled_from(["a:x", "b:x", "c:x", "d", "e:x", "f:x", "g:x"]), max_size=3)


@given(st.dictionaries(names, st.tuples(references, references), max_size=6))
def test_every_plugin_loads_after_its_needs_or_is_told_why_not(
    plugins: dict[str, tuple[list[str], list[str]]],
) -> None:
    features = {
        name: [Feature(f"{name}:x", tuple(needs), tuple(wants))]
        for name, (needs, wants) in plugins.items()
    }
    result = order_plugins(features)
    assert sorted((*result.plugins, *result.unmet)) == sorted(plugins)
    for position, name in enumerate(result.plugins):
        there = {f"{other}:x" for other in result.plugins[: position + 1]}
        for need in plugins[name][0]:
            assert any(satisfies(provided, need) for provided in there)
        for want in plugins[name][1]:
            found = any(satisfies(provided, want) for provided in there)
            excused = (*result.missing.get(name, ()), *result.dropped.get(name, ()))
            assert found or want in excused
