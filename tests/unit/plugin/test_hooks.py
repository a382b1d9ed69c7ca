"""Every hook of the contract: when it is called, with what, and that it is documented."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from charon_core.plugin import Feature, hookimpl, hookspecs
from charon_core.plugin.instance import HOOKS
from charon_core.settings import parse_settings

if TYPE_CHECKING:
    from charon_core.plugin.facade import Daemon
    from tests.unit.plugin.support import World

DOCUMENT = Path(__file__).parents[3] / "docs" / "plugins.md"


class Witness:
    """Has every hook, and writes down each call with what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        witnesses.append(self)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def given(self, hook: str) -> Any:
        return next(value for name, value in self.calls if name == hook)

    @hookimpl
    def charon_features(self) -> list[Feature]:
        self.calls.append(("charon_features", None))
        return [Feature("witness:all", wants=("eap-server:md5",))]

    @hookimpl
    def charon_register_loggers(self, bus: Any, log: Any, paths: Any) -> None:
        self.calls.append(("charon_register_loggers", (bus, log, paths)))
        bus.add_logger("a logger")

    @hookimpl
    def charon_register_kernel(self, kernel: Any) -> None:
        self.calls.append(("charon_register_kernel", kernel))
        kernel.register("witness", object, rank=3)

    @hookimpl
    def charon_create(self, daemon: Daemon) -> None:
        self.calls.append(("charon_create", daemon))

    @hookimpl
    def charon_register_credentials(self, credentials: Any) -> None:
        self.calls.append(("charon_register_credentials", credentials))
        credentials.add("a set")

    @hookimpl
    def charon_register_backends(self, backends: Any) -> None:
        self.calls.append(("charon_register_backends", backends))
        backends.add("a backend")

    @hookimpl
    def charon_register_listeners(self, bus: Any) -> None:
        self.calls.append(("charon_register_listeners", bus))
        bus.add_listener("a listener")

    @hookimpl
    def charon_register_eap_methods(self, eap: Any) -> None:
        self.calls.append(("charon_register_eap_methods", eap))
        eap.register("md5", object)

    @hookimpl
    def charon_register_attributes(self, attributes: Any) -> None:
        self.calls.append(("charon_register_attributes", attributes))
        attributes.add("a pool")

    @hookimpl
    def charon_register_commands(self, cli: click.Group) -> None:
        self.calls.append(("charon_register_commands", cli))
        cli.add_command(click.Command("witness"))

    @hookimpl
    def charon_reload(self, settings: Any, core: Any) -> None:
        self.calls.append(("charon_reload", (settings, core)))

    @hookimpl
    def charon_destroy(self) -> None:
        self.calls.append(("charon_destroy", None))


witnesses: list[Witness] = []


@pytest.fixture
def witness(world: World) -> Witness:
    """Load a plugin that has every hook, and return its object."""
    world.settings = parse_settings("[plugins.witness]\nkey = 1\n[plugins.other]\npassword = 'x'")
    world.install("witness", Witness)
    world.load()
    assert world.state("witness") == "loaded"
    return witnesses[-1]


def test_charon_features_are_asked_first_and_listed(world: World, witness: Witness) -> None:
    assert witness.names()[0] == "charon_features"
    assert world.info("witness").features == ("witness:all",)
    assert world.said("plugin 'witness' goes without eap-server:md5")


def test_charon_register_loggers_gets_the_settings_of_the_log(
    world: World, witness: Witness
) -> None:
    bus, log, paths = witness.given("charon_register_loggers")
    assert bus.name == "bus"
    assert (log, paths) == (world.settings.log, world.paths)
    assert world.registries["bus"].items == ["a logger", "a listener"]


def test_charon_register_kernel_comes_before_anything_is_created(
    world: World, witness: Witness
) -> None:
    names = witness.names()
    assert names.index("charon_register_kernel") < names.index("charon_create")
    assert world.kernel_backends.items == ["witness"]


def test_charon_create_gets_a_facade_of_its_own(world: World, witness: Witness) -> None:
    daemon = witness.given("charon_create")
    assert dict(daemon.settings) == {"key": 1}
    assert daemon.paths == world.paths
    with pytest.raises(dataclasses.FrozenInstanceError):
        daemon.paths = None


def test_charon_create_does_not_show_the_tables_of_other_plugins(witness: Witness) -> None:
    core = witness.given("charon_create").core
    assert core.plugins.tables == {}
    assert core.ike.retransmit_tries == 5


def test_charon_register_credentials(world: World, witness: Witness) -> None:
    assert world.registries["credentials"].items == ["a set"]


def test_charon_register_backends(world: World, witness: Witness) -> None:
    assert world.registries["backends"].items == ["a backend"]


def test_charon_register_listeners(world: World, witness: Witness) -> None:
    assert "a listener" in world.registries["bus"].items


def test_charon_register_eap_methods(world: World, witness: Witness) -> None:
    assert world.registries["eap"].items == ["md5"]


def test_charon_register_attributes(world: World, witness: Witness) -> None:
    assert world.registries["attributes"].items == ["a pool"]


def test_charon_register_commands_is_for_the_command_line_alone(
    world: World, witness: Witness
) -> None:
    assert "charon_register_commands" not in witness.names()
    cli = click.Group()
    world.host.register_commands(cli)
    assert list(cli.commands) == ["witness"]


def test_charon_reload_gets_the_new_table(world: World, witness: Witness) -> None:
    world.host.reload(parse_settings("[plugins.witness]\nkey = 2\n[ike]\nkeep_alive = 5"))
    settings, core = witness.given("charon_reload")
    assert dict(settings) == {"key": 2}
    assert core.ike.keep_alive == 5
    assert core.plugins.tables == {}
    assert world.state("witness") == "loaded"


def test_charon_destroy_is_called_once_and_everything_is_taken_back(
    world: World, witness: Witness
) -> None:
    assert world.left
    world.host.destroy()
    world.host.destroy()
    assert witness.names().count("charon_destroy") == 1
    assert world.left == []
    assert world.state("witness") == "stopped"


def test_the_hooks_are_called_in_the_order_of_the_contract(world: World, witness: Witness) -> None:
    world.host.destroy()
    listed = [hook for hook in HOOKS if hook not in ("charon_register_commands", "charon_reload")]
    assert witness.names() == listed
    assert list(world.info("witness").hooks) == list(HOOKS)


def _breaking(hook: str) -> type:
    """Return a plugin class that has every hook and raises in one of them."""

    def broken(self: Witness, **_: object) -> None:
        raise RuntimeError("the disk is on fire")

    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    space: dict[str, Any] = {"broken": broken}
    code = f"def {hook}(self{', ' if arguments else ''}{arguments}):\n    broken(self)\n"
    exec(code, space)
    return type("Broken", (Witness,), {hook: hookimpl(space[hook])})


@pytest.mark.parametrize("hook", HOOKS)
def test_a_plugin_that_raises_is_disabled_alone(world: World, hook: str) -> None:
    world.install("good", Witness)
    world.install("broken", _breaking(hook))
    world.load()
    world.host.register_commands(click.Group())
    world.host.reload(world.settings)
    if hook == "charon_destroy":
        world.host.destroy()
        good = "stopped"
    else:
        good = "loaded"
    assert world.state("good") == good
    info = world.info("broken")
    assert info.state.value == "failed"
    assert info.reason.startswith(f"{hook}: RuntimeError: the disk is on fire (")
    assert world.said(f"plugin 'broken' disabled: {hook}:") or hook == "charon_destroy"
    broken = next(item for item in reversed(witnesses) if type(item) is not Witness)
    # What it had registered is gone, the other's is there; its end was called if it began.
    assert len(world.left) == (7 if good == "loaded" else 0)
    begun = "charon_register_loggers" in broken.names() and hook != "charon_destroy"
    assert ("charon_destroy" in broken.names()) == begun


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test_of_its_own(hook: str) -> None:
    tests = [name for name in vars(sys.modules[__name__]) if name.startswith(f"test_{hook}")]
    assert tests, f"write a test whose name begins with test_{hook}"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    signature = inspect.signature(getattr(hookspecs, hook))
    shown = f"{hook}({', '.join(signature.parameters)})"
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"| `{shown}` |" in text, f"add a row for `{shown}` to docs/plugins.md"
    assert inspect.getdoc(getattr(hookspecs, hook))


def test_no_hook_is_documented_that_is_not_there() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert set(re.findall(r"\bcharon_[a-z_]+(?=\()", text)) == set(HOOKS)
