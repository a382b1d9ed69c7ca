"""Finds the plugins that are installed: the entry points of the group `charon.plugins`."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GROUP = "charon.plugins"
CORE = "charon-core"

# dist-info of wheels and of editable installations: "charon_stroke-0.1.0.dist-info".
_INFO = re.compile(r"(?P<name>[A-Za-z0-9_.-]+?)-(?P<version>[^-]+)\.dist-info\Z")
_ENTRY = re.compile(r"\s*(?P<name>[^=#\s][^=]*?)\s*=\s*(?P<target>[\w.]+(?:\s*:\s*[\w.]+)?)\s*\Z")


class FoundPlugin(NamedTuple):
    """An entry point.

    Attributes:
        name: The plugin's name.
        target: ``package.module`` or ``package.module:attribute``.
        distribution: The distribution's normalised name (``charon-stroke``); empty if none.
        version: The distribution's version; empty if none.
    """

    name: str
    target: str
    distribution: str = ""
    version: str = ""


def find_plugins(path: Iterable[str] | None = None) -> list[FoundPlugin]:
    """Return the entry points of all installed distributions, the first of a distribution wins.

    `importlib.metadata` does the same at the cost of 80 ms, most of them for parsers of mail and
    archives that the daemon has no use for; the two files that matter are simple. What is not
    unpacked in a folder (zipped eggs) is not found.

    Args:
        path: Where to look; `sys.path` by default.
    """
    found: list[FoundPlugin] = []
    seen: set[str] = set()
    for folder in sys.path if path is None else path:
        for name, version, directory in _distributions(folder or "."):
            if name not in seen:
                seen.add(name)
                found.extend(_entries(directory, name, version))
    return found


def same_name(first: str, second: str) -> bool:
    """Tell whether two plugin names differ in nothing but hyphens and underscores."""
    return first.replace("-", "_") == second.replace("-", "_")


def _distributions(folder: str) -> Iterator[tuple[str, str, str]]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - hundreds of names, of which few matter
    except OSError:
        return
    for item in sorted(names):
        if item.endswith(".dist-info") and (match := _INFO.match(item)):
            name = re.sub(r"[-_.]+", "-", match["name"]).lower()
            yield name, match["version"], f"{folder}/{item}"


def _entries(directory: str, distribution: str, version: str) -> Iterator[FoundPlugin]:
    try:
        with open(f"{directory}/entry_points.txt", encoding="utf-8") as file:  # noqa: PTH123
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return
    if GROUP not in text:
        return
    group = ""
    for line in text.splitlines():
        if line.strip().startswith("["):
            group = line.strip().strip("[]").strip()
        elif group == GROUP and (match := _ENTRY.match(line)):
            target = match["target"].replace(" ", "")
            yield FoundPlugin(match["name"], target, distribution, version)
