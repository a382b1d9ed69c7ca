"""One request over the control socket: send the message, pass the reply on, answer prompts."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_SOCKET: Final = "/var/run/charon.ctl"
#: The daemon asks for a secret by ending its output with one of these.
PROMPTS: Final = (b"Passphrase:\n", b"Password:\n", b"PIN:\n")
#: Longest answer to a prompt, its newline included, that the daemon takes.
MAX_ANSWER: Final = 255

_CHUNK = 65536
_UNIX_SCHEME = "unix://"


class StrokeError(Exception):
    """The daemon could not be asked; the text says what was tried and what to do."""


def socket_path(location: str) -> str:
    """Path of a socket that is given as a path or as ``unix:///path``.

    Raises:
        StrokeError: the location is something else, ``tcp://`` for instance.
    """
    if location.startswith(_UNIX_SCHEME):
        location = location.removeprefix(_UNIX_SCHEME)
    if "://" in location:
        raise StrokeError(f"expected a path or unix:///path as the socket, not {location!r}")
    return location


def request(
    location: str,
    message: bytes,
    on_output: Callable[[bytes], None],
    ask: Callable[[], str] | None = None,
    timeout: float | None = None,
) -> None:
    """Send one message and hand the reply over as it comes, until the daemon closes.

    Args:
        location: path of the socket, or ``unix:///path``.
        message: a complete message.
        on_output: is given each piece of the reply.
        ask: is called when the reply asks for a secret, and returns it; without it, prompts
            are output like everything else.
        timeout: seconds without any sign of the daemon after which to give up.

    Raises:
        StrokeError: the daemon cannot be reached, breaks the connection, or is silent too long.
    """
    path = socket_path(location)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(message)
            _read_reply(connection, on_output, ask)
        except TimeoutError:
            raise StrokeError(f"no answer from {path!r} within {timeout:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise StrokeError(
                f"connecting to {path!r} failed: {os.strerror(error.errno or 0)}; "
                "is the daemon running, and is this its socket?"
            ) from None
        except PermissionError:
            raise StrokeError(
                f"connecting to {path!r} failed: permission denied; "
                "the socket is for its owner and group only"
            ) from None
        except OSError as error:
            raise StrokeError(f"talking to the daemon at {path!r} failed: {error}") from None


def _read_reply(
    connection: socket.socket,
    on_output: Callable[[bytes], None],
    ask: Callable[[], str] | None,
) -> None:
    while chunk := connection.recv(_CHUNK):
        if ask is None or not chunk.endswith(PROMPTS):
            on_output(chunk)
            continue
        on_output(chunk[:-1] + b" ")
        answer = ask().encode("utf-8", "surrogateescape")
        if len(answer) >= MAX_ANSWER or b"\n" in answer:
            raise StrokeError(f"an answer has at most {MAX_ANSWER - 1} octets on one line")
        connection.sendall(answer + b"\n")
