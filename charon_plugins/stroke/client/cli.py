"""The `charon-stroke` command: controls a running daemon over charon.ctl.

It takes the command line of strongSwan's stroke, and drives either daemon.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from charon_plugins.stroke.client.commands import COMMANDS, WITHOUT_EFFECT, CommandError, find
from charon_plugins.stroke.client.connection import DEFAULT_SOCKET, StrokeError, request
from charon_plugins.stroke.wire.message import EncodeError, encode

#: Exit code of everything that kept the request from being sent or answered.
EXIT_FAILURE: Final = 255
#: The daemon's settings below its root.
SETTINGS_FILE: Final = "etc/charon/charon.toml"


def _command_list() -> str:
    lines = ["\b", "Commands:"]
    for name, command in COMMANDS.items():
        words = " ".join((name, *command.arguments))
        lines.append(f"  {words}")
        lines.append(f"        {command.help}")
    return "\n".join(lines)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"charon-stroke {version('charon-stroke')}")
        context.exit()


@click.command(
    "charon-stroke",
    options_metavar="[OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_command_list(),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@click.option("--socket", "location", metavar="PATH", help="Control socket of the daemon.")
@click.option("--root", metavar="DIR", help="Folder that the daemon's files lie under.")
@click.option("-d", "--daemon", metavar="NAME", help="Name of the daemon; has no effect.")
@click.option("--utc", is_flag=True, help="Show dates in UTC, in lists.")
@click.argument("words", metavar="COMMAND [ARGUMENTS]", nargs=-1, required=True)
@click.pass_context
def command(
    context: click.Context,
    *,
    location: str | None,
    root: str | None,
    daemon: str | None,  # noqa: ARG001 -- taken since scripts pass it; all daemons share the socket
    utc: bool,
    words: tuple[str, ...],
) -> None:
    """Control a running IKE daemon.

    The exit code is 0 whenever the daemon answered, also when what was asked for failed, and 255
    otherwise.
    """
    name, *arguments = words
    if name in WITHOUT_EFFECT:
        click.echo(context.get_help())
        return
    try:
        message = encode(find(name).message(name, arguments, utc=utc))
    except (CommandError, EncodeError) as error:
        raise click.UsageError(str(error), context) from None
    try:
        request(location or _default_location(root), message, _show, _ask)
    except StrokeError as error:
        raise click.ClickException(str(error)) from None


def _default_location(root: str | None) -> str:
    """Where the daemon's socket is, according to its settings."""
    if not (Path(root or "/") / SETTINGS_FILE).exists():
        return str(Path(root or "/") / DEFAULT_SOCKET.lstrip("/"))
    # Only needed where somebody has made settings: they cost more time than the whole request.
    from charon_core.settings import Paths, SettingsError, load_settings
    from charon_core.settings.paths import settings_file

    base = Path(root) if root is not None else None
    file = settings_file(base)
    try:
        return str(Paths.make(load_settings(file).paths, base, file).control_socket)
    except SettingsError as error:
        raise click.ClickException(f"{error}\n(--socket names the socket directly)") from None


def _show(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def _ask() -> str:
    """Read a secret from the terminal, without echo."""
    import getpass  # loads termios, which only prompts need

    try:
        return getpass.getpass("")
    except EOFError:
        raise StrokeError("the daemon asks for a secret, but there is nobody to ask") from None


def main() -> None:
    """Run the command and exit as the native one does."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_FAILURE)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; what is left of it must not raise again at exit.
        sys.stdout = None
        sys.exit(EXIT_FAILURE)


if __name__ == "__main__":
    main()
