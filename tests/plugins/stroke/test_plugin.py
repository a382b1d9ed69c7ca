"""stroke as a plugin: what it declares, that it is cheap to look at, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from charon_core.plugin.distributions import find_plugins
from charon_core.settings import PluginTable, SettingsError
from charon_plugins.stroke.plugin import StrokePlugin
from tests.plugins.stroke.fakes import World

if TYPE_CHECKING:
    from pathlib import Path


def test_entry_point_names_the_plugin() -> None:
    (found,) = [plugin for plugin in find_plugins() if plugin.name == "stroke"]
    assert found.target == "charon_plugins.stroke.plugin:StrokePlugin"
    assert found.distribution == "charon-stroke"


def test_all_hooks_are_those_of_the_contract() -> None:
    from pluggy import PluginManager

    from charon_core.plugin import hookspecs

    manager = PluginManager("charon")
    manager.add_hookspecs(hookspecs)
    manager.register(StrokePlugin())
    manager.check_pending()


def test_module_of_the_plugin_is_cheap() -> None:
    """What costs time is loaded when the daemon creates the plugin, or with its first request."""
    code = (
        "import sys, charon_core.plugin; before = set(sys.modules)\n"
        "import charon_plugins.stroke.plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert result.stdout.split() == [
        "charon_plugins",
        "charon_plugins.stroke",
        "charon_plugins.stroke.plugin",
    ]


@pytest.mark.parametrize("module", ["runtime", "plugin"])
def test_heavy_libraries_wait_until_they_are_needed(module: str) -> None:
    code = (
        f"import sys, charon_plugins.stroke.{module}\n"
        "heavy = 'cryptography', 'click', 'rich', 'pyroute2', 'charon_plugins.stroke.wire.bodies'\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert result.stdout.split() == []


def test_hooks_without_a_daemon_do_nothing() -> None:
    plugin = StrokePlugin()
    assert [feature.provides for feature in plugin.charon_features()]
    plugin.charon_reload(PluginTable())
    plugin.charon_destroy()


def test_wrong_settings_keep_it_from_starting(tmp_path: Path) -> None:
    world = World(tmp_path, {"max_concurent": 4})
    with pytest.raises(SettingsError, match="did you mean 'max_concurrent'"):
        world.start()
    assert not world.paths.control_socket.exists()
    world.processor.stop(1)


def test_socket_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.paths.control_socket.mkdir()
    with pytest.raises(FileExistsError):
        world.start()
    assert world.processor.metrics().total == 0
    world.processor.stop(1)


def test_destroyed_twice(world: World) -> None:
    world.plugin.charon_destroy()
    world.plugin.charon_destroy()
