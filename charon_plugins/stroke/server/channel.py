"""The reply side of one client: text out, answers to prompts in, and bounded patience for both."""

from __future__ import annotations

import select
import socket
import time
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Seconds that a client may keep us waiting by not reading, over the whole of a request.
WRITE_PATIENCE: Final = 10.0
#: Octets that are kept for a client that does not read yet, before anybody waits for it.
MAX_UNREAD: Final = 4 << 20
#: Seconds that a person has for answering a prompt.
PROMPT_PATIENCE: Final = 120.0
#: Longest answer to a prompt, its newline included.
MAX_ANSWER: Final = 256
#: Characters that are gathered before they are sent, where nobody waits for the single line.
BLOCK: Final = 16384


class Channel:
    """One client that has sent its request and waits for the reply.

    Used by one thread at a time, except for `write`, `close` and `hang_up`.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        deliver: Callable[[socket.socket, bytes], None] | None = None,
        write_patience: float = WRITE_PATIENCE,
        prompt_patience: float = PROMPT_PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a connection.

        Args:
            connection: of the client.
            deliver: takes the connection over at the end, with what the client has not read yet,
                so that a person who pages through a long status keeps no worker waiting; ``None``
                to wait for the client instead.
            write_patience: seconds that the client may keep us waiting.
            prompt_patience: seconds that a person has for an answer.
            clock: monotonic seconds.
        """
        connection.setblocking(False)
        self._connection = connection
        self._deliver = deliver
        # Guards what is not sent yet, and the order of what is.
        self._lock = Lock()
        self._unread = bytearray()
        self._clock = clock
        self._patience = write_patience
        self._prompt_patience = prompt_patience
        self._is_lost = False

    @property
    def is_lost(self) -> bool:
        """True if nobody reads the reply any more."""
        if not self._is_lost:
            self._is_lost = bool(self._wait(0, 0.0) & (select.POLLHUP | select.POLLERR))
        return self._is_lost

    def write(self, text: str) -> bool:
        """Send text; returns False, then and ever after, if the client does not take it.

        NUL characters, which end the text for C clients, are left out.
        """
        if "\0" in text:
            text = text.replace("\0", "")
        with self._lock:
            self._unread += text.encode("utf-8", "surrogateescape")
            return self._send(MAX_UNREAD if self._deliver is not None else 0)

    def never_wait(self) -> None:
        """From now on a client that has `MAX_UNREAD` octets to read is lost at once."""
        self._patience = 0.0

    def write_line(self, text: str) -> bool:
        """Send text and a newline."""
        return self.write(f"{text}\n")

    def write_lines(self, lines: Iterable[str]) -> bool:
        """Send many lines, in large blocks."""
        block: list[str] = []
        size = 0
        for line in lines:
            block.append(line)
            size += len(line)
            if size >= BLOCK:
                if not self.write("\n".join(block) + "\n"):
                    return False
                block.clear()
                size = 0
        return self.write("\n".join(block) + "\n") if block else not self._is_lost

    def ask(self, text: str, prompt: str) -> str | None:
        """Ask the client's user for a secret.

        Args:
            text: what is shown in front, empty or ending in a newline.
            prompt: ``Passphrase``, ``Password`` or ``PIN``, which is what clients recognise.

        Returns:
            The answer, or ``None`` if there is none: the client is gone or nobody answers in time.
        """
        # In one write: clients see a prompt only at the end of what one read returns.
        if not self.write(f"{text}{prompt}:\n"):
            return None
        with self._lock:
            if not self._send(0):
                return None
        deadline = self._clock() + self._prompt_patience
        answer = bytearray()
        while b"\n" not in answer:
            left = deadline - self._clock()
            if left <= 0 or len(answer) >= MAX_ANSWER:
                self._is_lost = True
                return None
            self._wait(select.POLLIN, left)
            try:
                chunk = self._connection.recv(MAX_ANSWER)
            except BlockingIOError:
                continue
            except OSError:
                chunk = b""
            if not chunk:
                self._is_lost = True
                return None
            answer += chunk
        line, _, _ = answer.partition(b"\n")
        return line.decode("utf-8", "surrogateescape")

    def hang_up(self) -> None:
        """End the conversation from another thread; whoever writes finds the client gone."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection, which ends the command for the client once it has read all."""
        with self._lock:
            unread, self._unread = bytes(self._unread), bytearray()
            is_wanted = unread and not self._is_lost and self._deliver is not None
            # Whoever comes later finds the client gone.
            self._is_lost = True
        if is_wanted and self._deliver is not None:
            self._deliver(self._connection, unread)
        else:
            self._connection.close()

    def _send(self, keep: int) -> bool:
        """Send until no more than `keep` octets are left (lock held); False if it is lost."""
        while self._unread and not self._is_lost:
            try:
                del self._unread[: self._connection.send(self._unread)]
            except BlockingIOError:
                if len(self._unread) <= keep:
                    break
                self._wait_for_reader()
            except OSError:
                self._is_lost = True
        return not self._is_lost

    def _wait_for_reader(self) -> None:
        start = self._clock()
        self._wait(select.POLLOUT, self._patience)
        self._patience -= self._clock() - start
        if self._patience <= 0:
            self._is_lost = True

    def _wait(self, events: int, seconds: float) -> int:
        """Wait for events; returns those that are there."""
        try:
            descriptor = self._connection.fileno()
            poll = select.poll()
            poll.register(descriptor, events)
            ready = poll.poll(max(0, int(seconds * 1000)))
        except (OSError, ValueError):
            return select.POLLHUP
        return ready[0][1] if ready else 0
