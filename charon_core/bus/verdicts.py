"""The last things that went wrong, by peer: what `charon explain` shows."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_PEERS: Final = 256
"""Peers of which something is known; the one that was heard of longest ago gives way."""

MAX_PER_PEER: Final = 8
"""Verdicts of one peer."""

MAX_TEXT: Final = 2000
"""Characters of one verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What went wrong, once or several times.

    Attributes:
        time: When it happened last, in seconds since the epoch.
        kind: What kind of alert it was.
        peer: The peer's address, as far as it is known.
        identity: Who the peer says it is, likewise.
        connection: The name of the connection, likewise.
        text: Expected, came, where, what to do.
        times: How often it happened.
    """

    time: float
    kind: str
    peer: str
    identity: str
    connection: str
    text: str
    times: int = 1

    @classmethod
    def read(cls, values: dict[str, Any]) -> Verdict:
        """Make one of what JSON holds.

        Raises:
            TypeError, ValueError: It is something else.
        """
        texts = {
            name: str(values[name])[:MAX_TEXT]
            for name in ("kind", "peer", "identity", "connection", "text")
            if name in values
        }
        return cls(time=float(values["time"]), times=int(values.get("times", 1)), **texts)

    def concerns(self, word: str) -> bool:
        """Whether a word is the peer's address, its identity, or the connection's name."""
        return word in {self.peer, self.identity, self.connection}


class VerdictBook:
    """The last verdicts of each peer; thread-safe, and bounded whatever strangers send."""

    def __init__(self) -> None:
        # Guards the table.
        self._lock = threading.Lock()
        self._by_peer: OrderedDict[str, list[Verdict]] = OrderedDict()

    def add(self, verdict: Verdict) -> None:
        """Note what happened; the same again only counts."""
        if len(verdict.text) > MAX_TEXT:
            verdict = replace(verdict, text=verdict.text[:MAX_TEXT])
        with self._lock:
            known = self._by_peer.setdefault(verdict.peer, [])
            self._by_peer.move_to_end(verdict.peer)
            for old in known:
                if (old.kind, old.text) == (verdict.kind, verdict.text):
                    known.remove(old)
                    verdict = replace(verdict, times=old.times + verdict.times)
                    break
            known.append(verdict)
            del known[:-MAX_PER_PEER]
            while len(self._by_peer) > MAX_PEERS:
                self._by_peer.popitem(last=False)

    def all(self) -> list[Verdict]:
        """Return all verdicts, the latest last."""
        with self._lock:
            found = [verdict for known in self._by_peer.values() for verdict in known]
        return sorted(found, key=lambda verdict: verdict.time)


def dump(verdicts: Iterable[Verdict]) -> str:
    """Return verdicts as lines of JSON."""
    return "".join(f"{json.dumps(asdict(verdict))}\n" for verdict in verdicts)


def load(text: str) -> list[Verdict]:
    """Return the verdicts of lines of JSON; lines that hold none are passed over."""
    found = []
    for line in text.splitlines():
        try:
            found.append(Verdict.read(json.loads(line)))
        except (KeyError, TypeError, ValueError):
            continue
    return found
