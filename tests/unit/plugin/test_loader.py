"""The plugin host: faults of one plugin stay its own."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from charon_core.bus.listener import Level
from charon_core.plugin import Feature, hookimpl
from charon_core.plugin.distributions import FoundPlugin
from charon_core.settings import parse_settings

if TYPE_CHECKING:
    from tests.unit.plugin.support import World

events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


def plugin(
    name: str, *, provides: str = "", needs: str = "", wants: str = "", bad: str = ""
) -> type:
    """Return a plugin class that notes its start and end, and raises in the hook `bad`."""

    class Sample:
        @hookimpl
        def charon_features(self) -> list[Feature]:
            return [Feature(provides or f"{name}:x", tuple(needs.split()), tuple(wants.split()))]

        @hookimpl
        def charon_create(self, daemon: Any) -> None:
            events.append(f"create {name}")
            daemon.backends.add(f"early {name}")
            if bad == "create":
                raise OSError("no such socket")

        @hookimpl
        def charon_register_backends(self, backends: Any) -> None:
            backends.add(name)
            if bad == "backends":
                raise SystemExit(3)

        @hookimpl
        def charon_reload(self) -> None:
            events.append(f"reload {name}")
            if bad == "reload":
                raise KeyError("missing")

        @hookimpl
        def charon_destroy(self) -> None:
            events.append(f"destroy {name}")

    return Sample


def test_plugins_start_in_order_and_stop_in_reverse(world: World) -> None:
    world.install("a", plugin("a", needs="c:x"))
    world.install("b", plugin("b", wants="a:x"))
    world.install("c", plugin("c"))
    world.load().destroy()
    assert events == [
        *("create c", "create a", "create b"),
        *("destroy b", "destroy a", "destroy c"),
    ]
    assert world.left == []
    assert world.said("loaded plugins: c a b")


@pytest.mark.parametrize("bad", ["create", "backends"])
def test_a_plugin_that_fails_takes_those_along_that_need_it(world: World, bad: str) -> None:
    world.install("base", plugin("base", bad=bad))
    world.install("user", plugin("user", needs="base:x"))
    world.install("wisher", plugin("wisher", wants="base:x"))
    world.install("far", plugin("far", needs="user:x"))
    world.install("farther", plugin("farther", needs="far:x"))
    world.load()
    assert world.state("farther") == "unmet"
    assert [world.state(name) for name in ("base", "user", "far", "wisher")] == [
        *("failed", "unmet", "unmet", "loaded"),
    ]
    assert world.info("user").reason == "needs base:x, which 'base' does not provide any more"
    assert world.info("far").reason == "needs user:x, which 'user' does not provide any more"
    assert world.left == ["early wisher", "wisher"]
    assert not {"create user", "create far"} & set(events)


def test_a_plugin_that_fails_later_stops_those_that_need_it_first(world: World) -> None:
    world.install("base", plugin("base", bad="reload"))
    world.install("user", plugin("user", needs="base:x"))
    world.install("other", plugin("other"))
    world.load().reload(world.settings)
    assert events[-4:] == ["reload base", "destroy user", "destroy base", "reload other"]
    assert world.left == ["early other", "other"]
    events.clear()
    world.host.destroy()
    assert events == ["destroy other"]


def test_another_provider_keeps_a_dependent_alive(world: World) -> None:
    world.install("one", plugin("one", provides="db:one", bad="create"))
    world.install("two", plugin("two", provides="db:two"))
    world.install("user", plugin("user", needs="db"))
    world.load()
    assert world.state("user") == "loaded"


def test_the_log_tells_plugin_hook_cause_and_place(world: World) -> None:
    world.install("sample", plugin("sample", bad="create"))
    world.load()
    (line,) = [text for level, text in world.lines if level is Level.AUDIT]
    assert line.startswith("plugin 'sample' disabled: charon_create: OSError: no such socket (")
    assert "test_loader.py:" in line
    assert any("Traceback" in text for level, text in world.lines if level is Level.MORE)


def raising(error: BaseException) -> type:
    """Return a plugin class whose constructor raises."""

    class Broken:
        def __init__(self) -> None:
            raise error

    return Broken


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("away"), RecursionError("deep")])
def test_a_plugin_whose_object_cannot_be_made_is_disabled(world: World, error: Exception) -> None:
    world.install("bad", raising(error))
    world.install("good", plugin("good"))
    world.load()
    assert world.state("good") == "loaded"
    assert world.info("bad").reason.startswith(f"import: {type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module_at_all", "import: ModuleNotFoundError: No module named 'no_such_module"),
        ("charon_core:Nothing", "import: AttributeError: module 'charon_core' has no attribute"),
        ("charon_core.plugin:hookimpl.x.y", "import: AttributeError: "),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_disabled(
    world: World, target: str, reason: str
) -> None:
    world.found.append(FoundPlugin("bad", target, "charon-bad", "1"))
    world.install("good", plugin("good"))
    world.load()
    assert world.state("good") == "loaded"
    assert world.info("bad").reason.startswith(reason)
    assert world.info("bad").hooks == ()


class WrongHook:
    @hookimpl
    def charon_craete(self, daemon: Any) -> None: ...


class WrongArgument:
    @hookimpl
    def charon_create(self, deamon: Any) -> None: ...


class WrongFeature:
    @hookimpl
    def charon_features(self) -> Any:
        return ["kernel:x"]


class RaisingFeature:
    @hookimpl
    def charon_features(self) -> Any:
        yield Feature("a:b")
        raise ValueError("no more")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WrongHook, "there is no hook 'charon_craete'; did you mean 'charon_create'?"),
        (WrongArgument, "Argument(s) {'deamon'} are declared in the hookimpl but can not be found"),
        (WrongFeature, "expected charon_core.plugin.Feature objects, got 'kernel:x'"),
        (RaisingFeature, "charon_features: ValueError: no more"),
    ],
)
def test_a_plugin_that_does_not_keep_the_contract_is_told_how(
    world: World, kind: type, reason: str
) -> None:
    world.install("bad", kind)
    world.load()
    assert world.state("bad") == "failed"
    assert reason in world.info("bad").reason


def test_a_module_is_a_plugin_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("module_plugin")
    exec(
        "from charon_core.plugin import hookimpl\n"
        "@hookimpl\n"
        "def charon_register_credentials(credentials):\n"
        "    credentials.add('from a module')\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "module_plugin", module)
    world.found.append(FoundPlugin("module", "module_plugin"))
    world.load()
    assert world.left == ["from a module"]


def test_a_reload_within_a_reload_comes_after_it(world: World) -> None:
    class Sample:
        @hookimpl
        def charon_reload(self, settings: Any) -> None:
            events.append(f"begin {settings['n']}")
            if settings["n"] == 1:
                for n in (2, 3):
                    world.host.reload(parse_settings(f"[plugins.sample]\nn = {n}"))
            events.append(f"end {settings['n']}")

    world.install("sample", Sample)
    world.load().reload(parse_settings("[plugins.sample]\nn = 1"))
    assert events == ["begin 1", "end 1", "begin 3", "end 3"]


def test_two_daemons_have_objects_of_their_own(world: World) -> None:
    seen = []

    class Sample:
        @hookimpl
        def charon_create(self, daemon: Any) -> None:
            seen.append(self)

    world.install("sample", Sample)
    world.load()
    world._host = None
    world.load()
    assert len(seen) == 2
    assert seen[0] is not seen[1]


def test_a_plugin_without_hooks_does_no_harm(world: World) -> None:
    world.install("idle", type("Idle", (), {}))
    world.load()
    assert world.state("idle") == "loaded"
    world.host.destroy()
    assert world.state("idle") == "stopped"


def test_blocked_plugins_are_listed_and_not_imported(world: World) -> None:
    world.settings = parse_settings('[plugins]\nblock = ["bad"]')
    world.install("bad", raising(AssertionError("was imported")))
    world.load()
    info = world.info("bad")
    assert (info.state.value, info.reason) == ("blocked", "listed in plugins.block")


def test_a_plugin_that_is_asked_for_and_not_there_is_told(world: World) -> None:
    world.settings = parse_settings('[plugins]\nload = ["stork"]')
    world.install("stroke", plugin("stroke"))
    world.load()
    assert world.state("stork") == "unmet"
    assert world.said("plugin 'stork' disabled: named in plugins.load, but not installed")


def test_the_environment_can_name_a_class(world: World) -> None:
    world.environment["CHARON_PLUGINS"] = "tests.unit.plugin.test_loader:Named"
    world.install("other", plugin("other"))
    world.load()
    assert world.order() == ["Named", "other"]
    assert world.state("Named") == "loaded"
    assert world.state("other") == "blocked"


class Named:
    @hookimpl
    def charon_register_attributes(self, attributes: Any) -> None:
        attributes.add("named")


def test_hook_calls_can_be_traced(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.environment["CHARON_TRACE_HOOKS"] = "1"
    world.install("sample", plugin("sample", bad="backends"))
    world.load()
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" in ")[0] for line in lines] == [
        "hook sample: charon_features() done",
        "hook sample: charon_create(daemon) done",
        "hook sample: charon_register_backends(backends) raised",
        "hook sample: charon_destroy() done",
    ]


def test_a_start_that_is_broken_off_stops_what_has_begun(world: World) -> None:
    class Logger:
        @hookimpl
        def charon_register_loggers(self, bus: Any) -> None:
            bus.add_logger("a logger")

        @hookimpl
        def charon_destroy(self) -> None:
            events.append("destroy logger")

    world.install("logger", Logger)
    world.install("sample", plugin("sample"))
    world.prepare()
    world.host.destroy()
    assert events == ["destroy logger"]
    assert world.left == []


def test_nothing_is_traced_unasked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.install("sample", plugin("sample"))
    world.load()
    assert capsys.readouterr() == ("", "")


def test_what_happens_before_there_are_loggers_is_said_when_they_are_there(world: World) -> None:
    heard: list[bool] = []

    class Logger:
        @hookimpl
        def charon_register_loggers(self, bus: Any) -> None:
            heard.append(world.said("disabled"))

        @hookimpl
        def charon_register_kernel(self, kernel: Any) -> None:
            heard.append(world.said("disabled"))

    world.install("bad", raising(ValueError("early")))
    world.install("logger", Logger)
    world.load()
    assert heard == [False, True]


def test_what_cannot_be_taken_back_is_told(world: World) -> None:
    class Sample:
        @hookimpl
        def charon_register_backends(self, backends: Any) -> None:
            backends.add("x")
            world.registries["backends"].items.clear()

    world.install("sample", Sample)
    world.load().destroy()
    assert world.said("plugin 'sample': taking back failed: ValueError")
    assert world.state("sample") == "stopped"


def test_a_plugin_list_has_what_is_to_be_known(world: World) -> None:
    world.install("sample", plugin("sample"), distribution="acme-tools", version="2.1")
    world.load()
    info = world.info("sample")
    assert (info.version, info.distribution, info.features) == ("2.1", "acme-tools", ("sample:x",))
    assert info.hooks == (
        *("charon_features", "charon_create", "charon_register_backends"),
        *("charon_reload", "charon_destroy"),
    )
