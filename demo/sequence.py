"""Draws the handshake as a message sequence, from the logs of both gateways."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_GENERATING = re.compile(r"generating (?P<message>.*)")
_SENDING = re.compile(r"sending packet: from \S+\[(?P<port>\d+)\] to \S+ \((?P<size>\d+) bytes\)")
_NOTABLE = re.compile(
    r"(selected proposal|authentication of .*successful|IKE_SA .* established"
    r"|CHILD_SA .* established|remote host is behind NAT|local host is behind NAT)"
)


class Step(NamedTuple):
    """Something that one side did."""

    time: float
    side: str
    text: str
    datagrams: tuple[int, ...]
    """Sizes in octets of what was sent; empty for a note."""
    port: int


def steps_of(side: str, records: Iterable[dict[str, Any]]) -> Iterator[Step]:
    """Yield what a gateway sent and concluded, from its log."""
    message, since, sizes, port = "", 0.0, list[int](), 0
    for record in records:
        text, moment = str(record["message"]), float(record["time"])
        generated = _GENERATING.match(text)
        sent = _SENDING.match(text)
        if sent and message:
            sizes.append(int(sent["size"]))
            port = int(sent["port"])
            continue
        if message and sizes:
            yield Step(since, side, message, tuple(sizes), port)
            message, sizes = "", []
        if generated:
            message, since = generated["message"], moment
        elif _NOTABLE.match(text):
            yield Step(moment, side, text, (), 0)
    if message and sizes:
        yield Step(since, side, message, tuple(sizes), port)


def draw(left: str, right: str, steps: Iterable[Step], width: int = 68) -> list[str]:
    """Return the lines of a sequence chart with the two sides as its edges."""
    ordered = sorted(steps)
    if not ordered:
        return ["(nothing was logged)"]
    start = ordered[0].time
    lines = [f"{'ms':>8}  {left}{right:>{width - len(left)}}"]
    for step in ordered:
        stamp = f"{(step.time - start) * 1000:8.1f}  "
        if not step.datagrams:
            for number, note in enumerate(_wrapped(step.text, width - 4)):
                front = f"{'':10}" if number else stamp
                place = f"  {note}" if step.side == left else f"{note:>{width - 3}}"
                lines.append(f"{front}|{place:<{width - 2}}|")
            continue
        size = "+".join(map(str, step.datagrams))
        head, _, body = step.text.partition(" [")
        label = f" {head} ({size} octets, port {step.port}) "
        arrow = f"{label:-^{width - 3}}"
        lines.append(f"{stamp}|{arrow}>|" if step.side == left else f"{stamp}|<{arrow}|")
        if body:
            lines += [f"{'':10}|{part:^{width - 2}}|" for part in _wrapped(f"[{body}", width - 4)]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines, broken at blanks and behind slashes; nothing is left out."""
    lines = [""]
    for word in re.findall(r"\s*[^\s/]+/*", text):
        part = word
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("")
            part = part.lstrip()
        lines[-1] += part
    return lines
