"""The distributions as a user installs them: wheels in an empty environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "charon_plugins").glob("*/pyproject.toml"))
PROJECTS = [ROOT, *PLUGINS]
HOOKS = (
    *("charon_features", "charon_register_loggers", "charon_register_kernel", "charon_create"),
    *("charon_register_credentials", "charon_register_backends", "charon_register_listeners"),
    *("charon_register_eap_methods", "charon_register_attributes", "charon_register_commands"),
    *("charon_reload", "charon_destroy"),
)


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return its output; what it says counts if it fails."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CHARON"))}
    done = subprocess.run(
        [str(part) for part in command],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


def build(project: Path, into: Path) -> Path:
    """Build the wheel of a project, with the tools of this environment."""
    before = set(into.glob("*.whl"))
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", into, project)
    (wheel,) = set(into.glob("*.whl")) - before
    return wheel


class Environment:
    """A virtual environment that knows nothing of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.settings = folder / "charon.toml"
        run(sys.executable, "-m", "venv", folder)

    def install(self, *wheels: Path) -> None:
        run(self.bin / "python", "-m", "pip", "install", "--quiet", *wheels)

    def uninstall(self, name: str) -> None:
        run(self.bin / "python", "-m", "pip", "uninstall", "--quiet", "--yes", name)

    def charon(self, *arguments: str | Path, **environment: str) -> str:
        return run(self.bin / "charon", *arguments, **environment)

    def plugins(self, settings: str = "", **environment: str) -> dict[str, dict[str, Any]]:
        """Return what `charon plugins` tells, by name."""
        self.settings.write_text(settings)
        text = self.charon("plugins", "--json", "--config", self.settings, **environment)
        return {item["name"]: item for item in json.loads(text)}

    def python(self, code: str, *arguments: str) -> str:
        return run(self.bin / "python", "-I", "-c", code, *arguments)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build all distributions of the workspace."""
    folder = tmp_path_factory.mktemp("wheels")
    return [build(project, folder) for project in PROJECTS]


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install all of them together."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(*wheels)
    return environment


def name_of(project: Path) -> str:
    data = tomllib.loads((project / "pyproject.toml").read_text())
    return str(data["project"]["name"])


@pytest.mark.parametrize("project", PROJECTS, ids=name_of)
def test_a_wheel_has_the_code_the_types_and_nothing_else(project: Path, wheels: list[Path]) -> None:
    wheel = wheels[PROJECTS.index(project)]
    package = "charon_core" if project == ROOT else f"charon_plugins/{project.name}"
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    code = {
        str(Path(package) / path.relative_to(ROOT / package))
        for path in (ROOT / package).rglob("*.py")
    }
    assert code <= packed
    assert f"{package}/py.typed" in packed
    assert all(name.startswith(f"{package}/") for name in packed)
    # The namespace of the plugins belongs to none of them.
    assert "charon_plugins/__init__.py" not in packed


def test_the_core_comes_with_its_licence(wheels: list[Path]) -> None:
    names = zipfile.ZipFile(wheels[0]).namelist()
    assert any(re.search(r"\.dist-info/licenses/LICENSE$", name) for name in names)


def test_the_environment_is_consistent(installed: Environment) -> None:
    run(installed.bin / "python", "-m", "pip", "check")


def test_all_plugins_are_listed_and_ready(installed: Environment) -> None:
    plugins = installed.plugins()
    for project in PROJECTS:
        data = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        for name in data.get("entry-points", {}).get("charon.plugins", {}):
            item = plugins[name]
            assert (item["state"], item["reason"]) == ("ready", "")
            assert (item["version"], item["distribution"]) == (data["version"], data["name"])
            assert item["hooks"]


def test_the_table_for_people_has_the_same(installed: Environment) -> None:
    text = installed.charon("plugins", "--config", installed.settings)
    for name in installed.plugins():
        assert re.search(rf"^{name} ", text, re.MULTILINE)


def test_the_command_line_answers(installed: Environment) -> None:
    assert installed.charon("--version") == "charon 0.1.0\n"
    assert "charon run" in installed.charon("--help")
    assert "--use-syslog" in installed.charon("run", "--help")
    assert installed.charon("settings") == (ROOT / "docs" / "charon.toml").read_text()


def test_settings_can_be_checked(installed: Environment, tmp_path: Path) -> None:
    file = tmp_path / "charon.toml"
    file.write_text("[ike]\nkeep_alive = 10\n[plugins.strok]\n")
    assert installed.charon("check", "--config", file) == f"{file}: is in order\n"
    file.write_text("[ike]\nkeep_aliv = 10\n")
    command = [installed.bin / "charon", "check", "--config", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{file}:2: ike.keep_aliv: unknown key; did you mean 'keep_alive'?\n"


def test_a_daemon_with_wrong_settings_ends_with_the_code_that_stops_starter(
    installed: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "charon.toml"
    file.write_text("[charon]\nthreads = 0\n")
    for arguments in (["run", "--config", file], ["--config", file]):
        command = [installed.bin / "charon", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 66
        assert f"{file}:2: charon.threads: expected a whole number" in done.stderr


# -- plugins of other people ------------------------------------------------------------------


def write_greeter(folder: Path) -> None:
    """Write the plugin that docs/plugins.md shows."""
    document = (ROOT / "docs" / "plugins.md").read_text()
    code = re.findall(r"```python\n(.*?)```", document, re.DOTALL)[0]
    project = re.findall(r"```toml\n(.*?)```", document, re.DOTALL)[0]
    (folder / "greeter.py").write_text(code)
    (folder / "pyproject.toml").write_text(project)


def write_faulty(folder: Path) -> None:
    """Write a distribution with a plugin for each hook, that raises in it, and one more."""
    code = "import os\nfrom charon_core.plugin import hookimpl\n"
    for hook in HOOKS:
        code += (
            f"class {hook.title().replace('_', '')}:\n"
            f"    name = 'bad_{hook}'\n"
            f"    @hookimpl\n"
            f"    def charon_register_attributes(self, attributes):\n"
            f"        attributes.add_provider(self)\n"
            f"    @hookimpl\n"
            f"    def {hook}(self):\n"
            f"        raise RuntimeError('on purpose')\n"
        )
    entries = [f'bad_{hook} = "faulty:{hook.title().replace("_", "")}"' for hook in HOOKS]
    entries.append('bad_import = "faulty.missing:Plugin"')
    (folder / "faulty.py").write_text(code)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "faulty"\nversion = "0.9"\ndependencies = ["charon-core"]\n'
        '[project.entry-points."charon.plugins"]\n' + "\n".join(entries) + "\n"
    )


DRIVER = """
import json
from charon_core.bus import SaRef
from charon_core.bus.events import IkeUp
from charon_core.plugin import hookimpl
from charon_core.processing.job import CallbackJob

class Driver:
    @hookimpl
    def charon_create(self, daemon):
        self.daemon = daemon
        self.after(0.1, self.publish)

    def after(self, seconds, function):
        self.daemon.scheduler.schedule(CallbackJob("driver", function), seconds)

    def publish(self):
        self.daemon.bus.publish(IkeUp(SaRef("home", 1)))
        self.daemon.reload()
        self.after(0.5, self.finish)

    def finish(self):
        import sys
        print("modules: " + " ".join(sys.modules))
        states = {item.name: (item.state.value, item.reason) for item in self.daemon.plugins()}
        print("states: " + json.dumps(states), flush=True)
        self.daemon.stop()
"""


def write_driver(folder: Path) -> None:
    """Write a plugin that has a daemon publish an event, reload and stop."""
    (folder / "driver.py").write_text(DRIVER)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "driver"\nversion = "1"\ndependencies = ["charon-core"]\n'
        '[project.entry-points."charon.plugins"]\ndriver = "driver:Driver"\n'
    )


@pytest.fixture(scope="module")
def extended(
    installed: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Install distributions of other people beside."""
    for write in (write_greeter, write_faulty, write_driver):
        folder = tmp_path_factory.mktemp("project")
        write(folder)
        installed.install(build(folder, tmp_path_factory.mktemp("wheel")))
    yield installed
    installed.uninstall("greeter")
    installed.uninstall("faulty")
    installed.uninstall("driver")


LOAD = "[plugins]\nload = ['greeter', {}]\n[plugins.greeter]\ngreeting = 'hello'\n".format(
    ", ".join(f"'bad_{name}'" for name in ("import", *HOOKS))
)


def test_a_third_party_plugin_is_seen(extended: Environment) -> None:
    greeter = extended.plugins(LOAD)["greeter"]
    assert (greeter["state"], greeter["version"], greeter["distribution"]) == (
        *("ready", "1.0"),
        "greeter",
    )
    assert greeter["hooks"] == ["charon_create", "charon_register_listeners"]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what a daemon of root loads")
def test_root_loads_no_third_party_plugin_unasked(extended: Environment) -> None:
    greeter = extended.plugins()["greeter"]
    assert greeter["state"] == "blocked"
    assert "list 'greeter' in plugins.load to allow it" in greeter["reason"]


def test_the_environment_chooses_exactly_what_loads(extended: Environment) -> None:
    plugins = extended.plugins(CHARON_PLUGINS="greeter,kernel-null")
    ready = {name for name, item in plugins.items() if item["state"] == "ready"}
    assert ready == {"greeter", "kernel_null"}


def test_faults_that_show_without_a_daemon_are_listed(extended: Environment) -> None:
    plugins = extended.plugins(LOAD)
    assert plugins["bad_import"]["state"] == "failed"
    assert plugins["bad_import"]["reason"].startswith("import: ModuleNotFoundError")
    assert plugins["bad_charon_features"]["state"] == "failed"
    assert plugins["bad_charon_create"]["state"] == "ready"


@dataclass
class Run:
    """What a daemon with the plugins of other people did, from its start to its end."""

    code: int
    output: str
    states: dict[str, tuple[str, str]]
    modules: set[str]


@pytest.fixture(scope="module")
def daemon(extended: Environment, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a daemon without privileges; the driver stops it."""
    root = tmp_path_factory.mktemp("root")
    (root / "var/run").mkdir(parents=True)
    file = root / "charon.toml"
    load = LOAD.replace("['greeter'", "['driver', 'greeter'")
    file.write_text("[network]\nport = 0\nport_nat_t = 0\n[kernel]\nbackend = 'null'\n" + load)
    command = [extended.bin / "charon", "run", "--root", root, "--config", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    output = done.stdout + done.stderr
    found = re.search(r"^states: (.*)$", output, re.MULTILINE)
    modules = re.search(r"^modules: (.*)$", output, re.MULTILINE)
    return Run(
        done.returncode,
        output,
        json.loads(found[1]) if found else {},
        set(modules[1].split()) if modules else set(),
    )


def test_a_daemon_with_faulty_plugins_goes_on_and_stops_in_order(daemon: Run) -> None:
    assert daemon.code == 0, daemon.output


def test_a_daemon_starts_without_heavy_libraries(daemon: Run) -> None:
    """They would take most of the 0.4 s in which the control socket has to answer."""
    heavy = {"click", "rich", "pyroute2", "numpy", "scapy", "importlib.metadata", "asyncio"}
    heavy |= {"cryptography.x509", "email", "logging", "sqlalchemy", "lxml"}
    assert "charon_core.daemon" in daemon.modules
    assert heavy & daemon.modules == set()


def test_the_listener_of_a_third_party_plugin_is_called(daemon: Run) -> None:
    assert "hello, home[1]" in daemon.output
    assert daemon.states["greeter"] == ["loaded", ""]


@pytest.mark.parametrize("hook", ["import", *HOOKS])
def test_each_faulty_plugin_is_reported_and_disabled(daemon: Run, hook: str) -> None:
    state, reason = daemon.states[f"bad_{hook}"]
    if hook == "charon_register_commands":
        # Only the command line calls it, not a daemon.
        assert state == "loaded"
    elif hook == "charon_destroy":
        assert state == "loaded"
        assert f"plugin 'bad_{hook}' failed to stop: {hook}: RuntimeError: on purpose" in (
            daemon.output
        )
    else:
        assert state == "failed"
        assert reason.startswith(f"{hook}: ")
        assert f"plugin 'bad_{hook}' disabled: {hook}: " in daemon.output


def test_what_is_uninstalled_is_gone_and_nothing_else(
    wheels: list[Path], installed: Environment
) -> None:
    stroke = next(wheel for wheel in wheels if wheel.name.startswith("charon_stroke"))
    before = installed.plugins()
    installed.uninstall("charon-stroke")
    try:
        after = installed.plugins()
    finally:
        installed.install(stroke)
    assert set(before) - set(after) == {"stroke"}
    assert installed.plugins() == before
