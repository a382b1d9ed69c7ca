"""The subcommands of `charon`; what is heavy here is not on the daemon's way to its start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from charon_core import run_options
from charon_core.exit_codes import ExitCode
from charon_core.settings import Settings, SettingsError, load_settings
from charon_core.settings.paths import settings_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from charon_core.bus.verdicts import Verdict
    from charon_core.plugin.info import PluginInfo
    from charon_core.plugin.loader import PluginHost


def invoke(arguments: Sequence[str]) -> int:
    """Run one subcommand and return the exit code; messages go to standard error."""
    try:
        # click returns what a command returns, or the code of ctx.exit().
        code = cli.main(args=list(arguments), prog_name="charon", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("charon: interrupted", err=True)
        return ExitCode.FAILURE
    except SettingsError as error:
        click.echo(str(error), err=True)
        return ExitCode.FAILURE
    return code if isinstance(code, int) else ExitCode.OK


class _Commands(click.Group):
    """The core's subcommands, and those of plugins, which load only when they are needed."""

    _extended = False

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; plugins are asked if the core has none of the name."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self._extend()
            found = super().get_command(ctx, cmd_name)
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands."""
        self._extend()
        return super().list_commands(ctx)

    def _extend(self) -> None:
        if self._extended:
            return
        self._extended = True
        try:
            host = _host(load_settings(settings_file(None)), quiet=False)
        except SettingsError as error:
            click.echo(f"{error}\ncharon: commands of plugins are left out", err=True)
            return
        own = dict(self.commands)
        host.register_commands(self)
        for name, command in own.items():
            if self.commands.get(name) is not command:
                click.echo(f"charon: a plugin may not replace the command {name!r}", err=True)
                self.commands[name] = command


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"charon {version('charon-core')}")
        context.exit()


@click.group(cls=_Commands, invoke_without_command=True, no_args_is_help=False)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version.",
)
def cli() -> None:
    """Run charon, an IKEv2 keying daemon, or ask about it.

    Without a subcommand the daemon runs in the foreground, with the options of `charon run`.
    """


class _RunCommand(click.Command):
    """Shows the help of `charon run`; running it is up to `charon_core.cli`."""

    def format_options(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the options that `charon_core.run_options` understands."""
        with formatter.section("Options"):
            formatter.write_dl([*run_options.HELP, ("--help", "Show this message and exit.")])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), _CODES[code]) for code in _CODES])


_CODES = {
    ExitCode.OK: "stopped in order",
    ExitCode.USAGE: "the command line was not understood",
    ExitCode.INITIALISATION_FAILED: "wrong settings, or a component could not start",
    ExitCode.NO_KERNEL_BACKEND: "no kernel backend works here; the log says why for each",
    ExitCode.ALREADY_RUNNING: "another daemon runs on the same paths",
    ExitCode.SOCKET_FAILED: "the IKE ports could not be opened",
}


@cli.command("run", cls=_RunCommand)
def run_command() -> None:
    """Run the daemon in the foreground.

    SIGHUP reloads, SIGTERM and SIGINT stop it, with deletes sent to the peers.
    """


def _with_places(command: Any) -> Any:
    """Add the options that say which settings file is meant."""
    from pathlib import Path

    folder = click.Path(path_type=Path, file_okay=False)
    file = click.Path(path_type=Path, dir_okay=False)
    command = click.option("--root", type=folder, help="Root of the daemon's files.")(command)
    return click.option("--config", type=file, help="The settings file, if named.")(command)


@cli.command("check")
@_with_places
def check_command(root: Path | None, config: Path | None) -> int:
    """Check the settings file and tell everything that is wrong with it."""
    file = config or settings_file(root)
    settings = load_settings(file, must_exist=config is not None)
    for note in _doubts(settings, str(file)):
        click.echo(note, err=True)
    state = "is in order" if file.exists() else "does not exist: all defaults"
    click.echo(f"{file}: {state}")
    return ExitCode.OK


@cli.command("settings")
def settings_command() -> None:
    """Print a settings file with every key, its default and its meaning."""
    from charon_core.settings.sample import sample_settings

    click.echo(sample_settings(), nl=False)


@cli.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@_with_places
def plugins_command(as_json: bool, root: Path | None, config: Path | None) -> None:
    """List the plugins that are installed, and whether they would load."""
    settings = load_settings(config or settings_file(root), must_exist=config is not None)
    plugins = _host(settings, quiet=True).plugins()
    if as_json:
        import json

        listed = [{**item._asdict(), "state": item.state.value} for item in plugins]
        click.echo(json.dumps(listed, indent=2))
    else:
        _show_table(plugins)


@cli.command("explain")
@click.argument("peer", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line each, for programs.")
@_with_places
def explain_command(peer: str | None, as_json: bool, root: Path | None, config: Path | None) -> int:
    """Show what went wrong last, of all peers or of one.

    PEER is an address, an identity or the name of a connection.
    """
    from charon_core.bus.verdicts import dump, load
    from charon_core.settings.paths import Paths

    settings = load_settings(config or settings_file(root), must_exist=config is not None)
    file = Paths.make(settings.paths, root).verdicts
    try:
        verdicts = load(file.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        verdicts = []
    except OSError as error:
        click.echo(f"charon: {file} cannot be read: {error.strerror}", err=True)
        return ExitCode.FAILURE
    wanted = [verdict for verdict in verdicts if peer is None or verdict.concerns(peer)]
    if as_json:
        click.echo(dump(wanted), nl=False)
    elif not wanted:
        of_whom = "" if peer is None else f" with '{peer}'"
        click.echo(f"nothing has gone wrong{of_whom}, as far as {file} tells")
    else:
        _show_verdicts(wanted)
    return ExitCode.OK


def _show_verdicts(verdicts: Sequence[Verdict]) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    for verdict in verdicts:
        when = datetime.fromtimestamp(verdict.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        who = " ".join(filter(None, (verdict.peer, verdict.identity))) or "(no peer)"
        often = f", {verdict.times} times" if verdict.times > 1 else ""
        name = f" of connection '{verdict.connection}'" if verdict.connection else ""
        head = Text.assemble((when, "dim"), " ", (who, "bold"), name, often, ": ")
        console.print(head + Text(verdict.kind, style="yellow"))
        console.print(Padding(Text(verdict.text), (0, 0, 0, 4)))


def _host(settings: Settings, *, quiet: bool) -> PluginHost:
    """Return a host that has found and imported the plugins, outside of any daemon."""
    from charon_core.bus.listener import Level
    from charon_core.plugin.loader import PluginHost

    def report(level: Level, message: str, *arguments: object) -> None:
        if level <= Level.CONTROL and not quiet:
            click.echo(f"charon: {message % arguments}", err=True)

    host = PluginHost(settings, report)
    host.discover()
    return host


def _doubts(settings: Settings, file: str) -> list[str]:
    """Return what may be meant otherwise, as far as it can be told without starting anything."""
    from charon_core.plugin.distributions import find_plugins, same_name

    installed = [plugin.name for plugin in find_plugins()]

    def known(name: str) -> bool:
        return any(same_name(name, other) for other in installed)

    doubts = [
        f"{file}: note: plugins.{key}: {name!r} is not installed"
        for key, names in (("load", settings.plugins.load), ("block", settings.plugins.block))
        for name in names
        if not known(name)
    ]
    for name, table in settings.plugins.tables.items():
        if not known(name):
            place = f"{file}:{table.line_of()}"
            doubts.append(f"{place}: note: plugins.{name}: no plugin of this name is installed")
    return doubts


def _show_table(plugins: Sequence[PluginInfo]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("name", "version", "distribution", "state", "hooks", "features"):
        table.add_column(head, overflow="fold", no_wrap=head in ("name", "version", "state"))
    colours = {"ready": "green", "failed": "red", "unmet": "red", "blocked": "yellow"}
    for item in plugins:
        state = item.state.value
        table.add_row(
            Text(item.name),
            Text(item.version or "-"),
            Text(item.distribution or "-"),
            Text(state, style=colours.get(state, "")),
            Text(" ".join(hook.removeprefix("charon_") for hook in item.hooks) or "-"),
            Text(" ".join(item.features) or "-"),
        )
    # A pipe has no width of its own: a line stays whole there, for grep and the like.
    console = Console(width=None if sys.stdout.isatty() else 400)
    console.print(table)
    for item in plugins:
        if item.reason:
            console.print(Text(f"{item.name}: {item.reason}"), soft_wrap=True)
