"""The plugin that docs/plugins.md shows is one."""

from __future__ import annotations

import re
import tomllib
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charon_core.bus import SaRef
from charon_core.bus.events import IkeUp
from charon_core.settings import parse_settings

if TYPE_CHECKING:
    import pytest

    from tests.unit.plugin.support import World

DOCUMENT = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """Return the first block of code in a language that has some text in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return next(text for text in blocks if containing in text)


def test_the_example_has_about_20_lines() -> None:
    lines = [line for line in block("python", "class Greeter:").splitlines() if line.strip()]
    assert len(lines) <= 20


def test_the_example_does_what_it_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("greeter")
    exec(block("python", "class Greeter:"), module.__dict__)
    world.install("greeter", module.Greeter)
    world.settings = parse_settings(block("toml", "[plugins.greeter]"))
    world.is_root = True
    said: list[str] = []
    bus: Any = world.registries["bus"]
    bus.log = lambda _group, _level, message, *arguments: said.append(message % arguments)
    world.load()
    assert world.state("greeter") == "loaded"
    (listener,) = bus.items
    assert listener.events == (IkeUp,)
    listener.on_event(IkeUp(SaRef("home", 3)))
    assert said == ["hello, home[3]"]


def test_the_examples_project_file_names_the_entry_point() -> None:
    project = tomllib.loads(block("toml", "[build-system]"))
    assert project["project"]["entry-points"]["charon.plugins"] == {"greeter": "greeter:Greeter"}


def test_the_example_of_settings_works() -> None:
    space: dict[str, Any] = {"daemon": types.SimpleNamespace(settings={"times": 2})}
    exec(block("python", "parse_table"), space)
    assert space["options"] == space["GreeterSettings"]("welcome", 2)
