"""The `charon` command: the daemon in the foreground, and what one asks before starting it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charon_core.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.run_options import RunOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Without a subcommand the daemon is run, so that the program can stand where Debian's starter
    expects a daemon. That way needs neither click nor rich, and does not wait for their imports.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] == "run" or given[0].startswith("-"):
        options = given[1:] if given[:1] == ["run"] else given
        if "--help" not in options and "--version" not in options:
            # Nothing is loaded yet: from its first moment a HUP means a reload, and ends nobody.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
            return _run(options)
        asked = "--help" if "--help" in options else "--version"
        given = ["run", asked] if given[:1] == ["run"] else [asked]
    from charon_core.commands import invoke

    return invoke(given)


def _run(arguments: Sequence[str]) -> int:
    """Run the daemon in the foreground until it is told to stop."""
    from charon_core.run_options import UsageError, parse_run_options
    from charon_core.settings import SettingsError

    try:
        options = parse_run_options(arguments, sys.argv[0])
    except UsageError as error:
        sys.stderr.write(f"charon: {error}\n")
        return ExitCode.USAGE
    try:
        return _start(options)
    except SettingsError as error:
        sys.stderr.write(f"{error}\ncharon: not started, the settings file has to be mended\n")
        if options.overrides.use_syslog:
            _tell_syslog(str(error))
        return ExitCode.INITIALISATION_FAILED
    except Exception:  # noqa: BLE001 - told, with its traceback, and the end of the program
        # A fault of ours. The code is one after which starter and systemd try again.
        import traceback

        text = traceback.format_exc()
        sys.stderr.write(f"{text}charon: ended by an error of its own\n")
        if options.overrides.use_syslog:
            _tell_syslog(text)
        return ExitCode.FAILURE


def _start(options: RunOptions) -> int:
    from dataclasses import replace

    from charon_core.settings import Paths, Settings, load_settings
    from charon_core.settings.paths import settings_file

    file = options.config or settings_file(options.root)
    settings = load_settings(file, must_exist=options.config is not None)
    configured = settings.paths
    if options.name != "charon" and configured.pid_file == Settings().paths.pid_file:
        configured = replace(
            configured, pid_file=str(Path(configured.pid_file).with_name(f"{options.name}.pid"))
        )
    paths = Paths.make(configured, options.root, file)

    from charon_core.daemon import run

    return int(run(settings, paths, options.overrides))


def _tell_syslog(text: str) -> None:
    """Say what is wrong where it is read: under starter nobody sees standard error."""
    import syslog

    syslog.openlog("charon", syslog.LOG_PID, syslog.LOG_DAEMON)
    for line in text.splitlines():
        syslog.syslog(syslog.LOG_ERR, line)


if __name__ == "__main__":
    sys.exit(main())
