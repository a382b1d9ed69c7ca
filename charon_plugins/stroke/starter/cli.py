"""The `charon-starter` command: reads ipsec.conf, runs the daemon, sends it the connections."""

from __future__ import annotations

import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_plugins.stroke.starter.convert import Configuration
    from charon_plugins.stroke.starter.environment import Places
    from charon_plugins.stroke.starter.launch import Launch


class Exit(IntEnum):
    """Exit codes, those of the native starter."""

    OK = 0
    FAILURE = 1
    INVALID = 2
    NOT_PERMITTED = 4


def _ignored_flag(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option of the native starter that means nothing here, taken for its scripts' sake."""
    return click.option(name, is_flag=True, hidden=True, expose_value=False)


@click.command("charon-starter", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--nofork", is_flag=True, help="Stay in the foreground, log to standard error.")
@click.option("--conf", metavar="FILE", help="Connections; default: ipsec.conf of the settings.")
@click.option(
    "--conftest",
    is_flag=True,
    help="Only check the file: exit 0 if valid, 1 if sections are left out, 2 if not.",
)
@click.option(
    "--daemon",
    "program",
    metavar="NAME",
    default="charon",
    show_default=True,
    help="The daemon: a name to look up, or a path.",
)
@click.option("--root", metavar="DIR", help="Folder in front of all files and sockets.")
@click.option(
    "--attach", is_flag=True, help="Start nothing: send everything to the running daemon, and end."
)
@click.option("--auto-update", type=click.IntRange(1), metavar="SECONDS", help="Update regularly.")
@_ignored_flag("--debug")
@_ignored_flag("--debug-more")
@_ignored_flag("--debug-all")
@_ignored_flag("--nolog")
@_ignored_flag("--attach-gdb")
def command(**options: Any) -> None:
    """Start the IKE daemon, and send it the connections of ipsec.conf.

    TERM stops both. HUP reads the file again and sends what has changed; USR1 removes and adds
    everything. What is established stays up.
    """
    sys.exit(_run(**options))


def _run(
    *,
    nofork: bool,
    conf: str | None,
    conftest: bool,
    program: str,
    root: str | None,
    attach: bool,
    auto_update: int | None,
) -> int:
    from charon_plugins.stroke.starter.place import ConfError

    places = _places(program, root, conf)
    try:
        configuration = _load(places)
    except ConfError as error:
        for problem in error.problems:
            _say(str(problem))
        _say("the configuration is not valid")
        return Exit.INVALID
    except OSError as error:
        _say(f"cannot read {str(places.conf)!r}: {error.strerror}")
        return Exit.INVALID
    if conftest:
        return _tell_test(configuration)
    if attach:
        _report(configuration)
        return _attach(places, configuration)
    return _supervise(places, configuration, nofork=nofork, auto_update=auto_update)


def _tell_test(configuration: Configuration) -> int:
    """Say what there is to say about a file; exit code 1 if not all of it would be loaded."""
    from charon_plugins.stroke.starter.check import left_out

    _report(configuration)
    missing = left_out(configuration)
    if not missing:
        _say("the configuration is valid")
        return Exit.OK
    number = f"{missing} section{'s are' if missing > 1 else ' is'}"
    _say(f"the configuration is valid, but {number} left out")
    return Exit.FAILURE


def _places(program: str, root: str | None, conf: str | None) -> Places:
    """Find all files; the daemon's own settings say where they are."""
    from charon_core.settings import Paths, SettingsError, load_settings
    from charon_core.settings.paths import settings_file
    from charon_plugins.stroke.starter.environment import Places
    from charon_plugins.stroke.starter.process import find_program

    base = Path(root).absolute() if root is not None else None
    file = settings_file(base)
    try:
        settings = load_settings(file)
        paths = Paths.make(settings.paths, base, file)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    name = Path(program).name
    pid_file = paths.pid_file if name == "charon" else paths.pid_file.with_name(f"{name}.pid")
    return Places(
        program=find_program(program) or "",
        options=() if base is None else ("--root", str(base)),
        conf=Path(conf).absolute() if conf is not None else paths.ipsec_conf,
        certs=paths.ipsec_d / "certs",
        control_socket=paths.control_socket,
        pid_file=pid_file,
        starter_pid_file=pid_file.with_name(f"starter.{name}.pid"),
        has_log_file=bool(settings.log.file),
    )


def _load(places: Places) -> Configuration:
    from charon_plugins.stroke.starter.check import read_configuration

    return read_configuration(places.conf, places.certs)


def _report(configuration: Configuration) -> None:
    from charon_plugins.stroke.starter.check import complaints

    for line in complaints(configuration):
        _say(line)


def _attach(places: Places, configuration: Configuration) -> int:
    """Send everything to a daemon that somebody else started."""
    from charon_plugins.stroke.client.connection import StrokeError, request
    from charon_plugins.stroke.starter.environment import REPLY_TIMEOUT
    from charon_plugins.stroke.starter.plan import start_plan
    from charon_plugins.stroke.wire.message import EncodeError

    failed = False
    for due in start_plan(configuration):
        try:
            location = str(places.control_socket)
            request(location, due.encode(), _pass_on, timeout=REPLY_TIMEOUT)
        except EncodeError as error:
            _say(f"{due} is not sent: {error}")
            failed = True
        except StrokeError as error:
            _say(str(error))
            return Exit.FAILURE
    return Exit.FAILURE if failed else Exit.OK


def _supervise(
    places: Places, configuration: Configuration, *, nofork: bool, auto_update: int | None
) -> int:
    from charon_plugins.stroke.starter.environment import (
        SystemEnvironment,
        open_syslog,
        stderr_log,
        syslog_log,
    )
    from charon_plugins.stroke.starter.launch import Launch
    from charon_plugins.stroke.starter.process import PidFile, detach, running_pid
    from charon_plugins.stroke.starter.supervisor import Supervisor

    launch = None if nofork else Launch()
    if not places.program:
        _say("the daemon's program was not found: expected a path, or a name on PATH")
        return Exit.FAILURE
    running = running_pid(places.pid_file)
    if running is not None:
        _say(
            f"the daemon runs already as process {running} ({places.pid_file}); "
            "stop it first, or use --attach to send it the connections"
        )
        return Exit.FAILURE
    pid_file = PidFile(places.starter_pid_file)
    try:
        other = pid_file.other()
        if other is not None:
            _say(f"another starter runs as process {other} ({places.starter_pid_file})")
            return Exit.FAILURE
        if launch is not None:
            _report(configuration)
            _warn_of_silence(places)
            if not detach():
                return _await(launch)
            launch.leave_reading()
            open_syslog()
        pid_file.write()
    except PermissionError as error:
        text = f"not permitted: {error}; starter runs as root, or below --root"
        _say(text)
        if launch is not None:
            launch.tell(text)
            launch.end(Exit.NOT_PERMITTED)
        return Exit.NOT_PERMITTED

    def log(text: str) -> None:
        if launch is None:
            stderr_log(text)
        else:
            launch.tell(text)
            syslog_log(text)

    environment = SystemEnvironment(places, log, in_background=launch is not None)
    supervisor = Supervisor(
        environment,
        update_interval=auto_update,
        on_started=None if launch is None else lambda: launch.end(Exit.OK),
    )
    code: int = Exit.FAILURE
    try:
        code = supervisor.run(configuration)
    finally:
        pid_file.remove()
        if launch is not None:
            launch.end(code)
    return code


def _await(launch: Launch) -> int:
    """Wait until the daemon takes commands, or tell why it does not."""
    code, text = launch.outcome()
    if code == Exit.OK:
        return Exit.OK
    for line in text.splitlines():
        _say(line)
    if code is None:
        _say("the start takes long and goes on in the background: 'charon-stroke status' tells")
        return Exit.FAILURE
    _say("the daemon is not started")
    return code


def _warn_of_silence(places: Places) -> None:
    """Say that nobody will hear of what goes wrong later, where this is so."""
    from charon_plugins.stroke.starter.launch import has_log_service

    if not places.has_log_file and not has_log_service():
        _say(
            "warning: no log service takes lines (/dev/log): what goes wrong later is told nobody. "
            "Start one, or name a file: [[log.file]] in charon.toml"
        )


def _pass_on(reply: bytes) -> None:
    click.echo(reply, nl=False)


def _say(text: str) -> None:
    click.echo(text.encode("utf-8", "backslashreplace"), err=True)


def main() -> None:
    """Run the command."""
    command()


if __name__ == "__main__":
    main()
