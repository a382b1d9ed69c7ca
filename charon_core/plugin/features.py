"""Features: what a plugin provides, what it depends on, and the order that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a plugin provides.

    Names are ``kind:name`` (``kernel-ipsec:xfrm``, ``eap-server:md5``). A dependency names a
    feature, or a kind alone: then any feature of that kind will do.

    Attributes:
        provides: The feature's name.
        needs: Hard dependencies: without one of them the plugin does not load.
        wants: Soft dependencies: loaded before the plugin where they exist.
    """

    provides: str
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.provides, *self.needs, *self.wants):
            kind, _, rest = name.partition(":")
            if not kind or (":" in name and not rest) or any(c.isspace() for c in name):
                raise ValueError(f"expected a feature name like 'kind:name', got {name!r}")


def satisfies(provided: str, wanted: str) -> bool:
    """Tell whether the feature `provided` is what a dependency `wanted` names."""
    return provided == wanted or provided.partition(":")[0] == wanted


class Order(NamedTuple):
    """The outcome of `order_plugins`.

    Attributes:
        plugins: The plugins that can load, each after those that it depends on.
        unmet: Plugins that cannot, with the reason.
        missing: Soft dependencies that nothing provides, by plugin.
        dropped: Soft dependencies that would make a circle, by plugin.
    """

    plugins: tuple[str, ...]
    unmet: Mapping[str, str]
    missing: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, tuple[str, ...]]


def providers(features: Mapping[str, Sequence[Feature]], wanted: str) -> list[str]:
    """Return the names of the plugins that provide what a dependency names."""
    return [
        plugin
        for plugin, offered in features.items()
        if any(satisfies(feature.provides, wanted) for feature in offered)
    ]


def order_plugins(features: Mapping[str, Sequence[Feature]]) -> Order:
    """Put plugins in the order of their dependencies; else they keep the order that they have.

    Args:
        features: The features of each plugin, by its name, in the order wished for.
    """
    alive = {name: tuple(offered) for name, offered in features.items()}
    unmet: dict[str, str] = {}
    while failing := _first_unmet(alive):
        name, wanted = failing
        unmet[name] = _unmet_reason(wanted, features, unmet)
        del alive[name]

    missing = {
        name: gone
        for name, offered in alive.items()
        if (gone := tuple(w for w in _wants(offered) if not providers(alive, w)))
    }
    dropped: dict[str, list[str]] = {}
    done: list[str] = []
    waiting = dict(alive)
    while waiting:
        ready = _next(waiting, alive, done, soft=True)
        if ready is None:
            # Only circles are left. Soft dependencies are wishes: they give way first.
            ready = _next(waiting, alive, done, soft=False)
            if ready is not None:
                dropped[ready] = [
                    w for w in _wants(waiting[ready]) if _blocked(w, ready, waiting, alive, done)
                ]
        if ready is None:
            circle = _circle(waiting, alive, done)
            for member in circle:
                unmet[member] = (
                    f"depends on itself in a circle: {' -> '.join((*circle, circle[0]))}"
                )
                del waiting[member]
                del alive[member]
            while failing := _first_unmet(alive):
                member, wanted = failing
                unmet[member] = _unmet_reason(wanted, features, unmet)
                del waiting[member]
                del alive[member]
            continue
        done.append(ready)
        del waiting[ready]
    return Order(tuple(done), unmet, missing, {k: tuple(v) for k, v in dropped.items()})


def _needs(features: Iterable[Feature]) -> list[str]:
    return [wanted for feature in features for wanted in feature.needs]


def _wants(features: Iterable[Feature]) -> list[str]:
    return [wanted for feature in features for wanted in feature.wants]


def _needs_gone(features: Sequence[Feature], alive: Mapping[str, Sequence[Feature]]) -> str:
    return next((wanted for wanted in _needs(features) if not providers(alive, wanted)), "")


def _first_unmet(alive: Mapping[str, Sequence[Feature]]) -> tuple[str, str] | None:
    for name, offered in alive.items():
        if wanted := _needs_gone(offered, alive):
            return name, wanted
    return None


def _unmet_reason(
    wanted: str, features: Mapping[str, Sequence[Feature]], unmet: Mapping[str, str]
) -> str:
    failed = [name for name in providers(features, wanted) if name in unmet]
    if failed:
        return f"needs {wanted}, and {', '.join(failed)}, which would provide it, cannot load"
    return f"needs {wanted}, which no plugin provides"


def _blocked(
    wanted: str,
    name: str,
    waiting: Mapping[str, Sequence[Feature]],
    alive: Mapping[str, Sequence[Feature]],
    done: Sequence[str],
) -> bool:
    """Tell whether a dependency still waits: every provider of a kind goes first, itself aside."""
    found = providers(alive, wanted)
    if name in found:
        return False
    return any(provider in waiting for provider in found) and not (
        ":" in wanted and any(provider in done for provider in found)
    )


def _next(
    waiting: Mapping[str, Sequence[Feature]],
    alive: Mapping[str, Sequence[Feature]],
    done: Sequence[str],
    *,
    soft: bool,
) -> str | None:
    for name, offered in waiting.items():
        wanted = _needs(offered) + (_wants(offered) if soft else [])
        if not any(_blocked(item, name, waiting, alive, done) for item in wanted):
            return name
    return None


def _circle(
    waiting: Mapping[str, Sequence[Feature]],
    alive: Mapping[str, Sequence[Feature]],
    done: Sequence[str],
) -> list[str]:
    """Find one circle of hard dependencies among plugins that all wait for one another."""
    path = [next(iter(waiting))]
    while True:
        name = path[-1]
        wanted = next(
            item for item in _needs(waiting[name]) if _blocked(item, name, waiting, alive, done)
        )
        following = next(item for item in providers(waiting, wanted) if item != name)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
