"""Two gateways, moon and sun, negotiate IKEv2 and carry traffic through their tunnel."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from demo.gateway import Gateway
from demo.sequence import draw, steps_of
from demo.world import Host, Missing, check_tun, connect, enter_own_world

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS: Final = 3.0
_WIDEST: Final = 110
_UNSEEN: Final = 100
"""Columns where the output is no terminal."""
_STAMP: Final = 12
"""Columns in front of the chart."""
_SHOWN_LOG_LINES: Final = 20
_COUNTER: Final = re.compile(r"(\d+) bytes_([io])(?: \((\d+) pkts?)?")
_SECRETS: Final = '@moon.example.org @sun.example.org : PSK "correct horse battery staple"\n'

CONF: Final = """\
conn net-net
    keyexchange=ikev2
    ike=aes256gcm16-prfsha384-x25519!
    esp=aes256gcm16!
    left={left}
    leftid=@{name}.example.org
    leftauth=psk
    leftsubnet={inside}
    right={right}
    rightid=@{peer}.example.org
    rightauth=psk
    rightsubnet={outside}
    auto=add
"""

# What goes into a file or a pipe has the width of nothing, so it gets one that is good to read.
console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNSEEN)


def main() -> int:
    """Show it all; exit 0 if everything worked."""
    try:
        check_tun()
        enter_own_world()
        with (
            tempfile.TemporaryDirectory(prefix="charon-demo-") as folder,
            Host("moon") as moon_host,
            Host("sun") as sun_host,
        ):
            return _show(Path(folder), moon_host, sun_host)
    except Missing as reason:
        console.print(f"[red]The demonstration cannot run:[/red] {reason}", markup=True)
        return 1


def _show(folder: Path, moon_host: Host, sun_host: Host) -> int:
    _title("Network", "two hosts in namespaces of their own, a cable between them")
    connect(moon_host, sun_host, "10.99.0")
    for host, address in ((moon_host, "10.1.0.1/24"), (sun_host, "10.2.0.1/24")):
        code, output = host.python("demo.plumb", "lo", address)
        if code:
            raise Missing(f"network of host {host.name}: {output.strip()}")
    console.print(
        "  10.1.0.0/24 -- moon 10.99.0.1 ======= 10.99.0.2 sun -- 10.2.0.0/24", markup=False
    )

    _title("Configuration", "an ordinary ipsec.conf at each end; this is moon's")
    moon_conf = CONF.format(
        name="moon", peer="sun", left="10.99.0.1", right="10.99.0.2",
        inside="10.1.0.0/24", outside="10.2.0.0/24",
    )  # fmt: skip
    sun_conf = CONF.format(
        name="sun", peer="moon", left="10.99.0.2", right="10.99.0.1",
        inside="10.2.0.0/24", outside="10.1.0.0/24",
    )  # fmt: skip
    console.print(moon_conf.rstrip(), markup=False, style="cyan")
    moon = Gateway(moon_host, folder / "moon", moon_conf, _SECRETS)
    sun = Gateway(sun_host, folder / "sun", sun_conf, _SECRETS)
    try:
        return _run(moon, sun)
    finally:
        moon.stop()
        sun.stop()


def _run(moon: Gateway, sun: Gateway) -> int:
    _title("Gateways", "starter reads ipsec.conf, starts the daemon, loads the connection")
    for gateway in (moon, sun):
        begun = time.monotonic()
        gateway.start()
        console.print(f"  {gateway.name} is ready after {time.monotonic() - begun:.2f} s")

    _title("Handshake", "charon-stroke up net-net, at moon")
    _, output = moon.stroke("up", "net-net")
    steps = [*steps_of("moon", moon.records()), *steps_of("sun", sun.records())]
    lines = draw("moon", "sun", steps, width=min(console.width, _WIDEST) - _STAMP)
    console.print("\n".join(lines), markup=False, no_wrap=True)
    console.print(
        "  (There is no NAT: for ESP in UDP, which is faster here, each pretends to have one.)",
        markup=False, style="dim",
    )  # fmt: skip
    result = output.strip().splitlines()[-1:] or ["(no answer)"]
    console.print(f"  {result[0]}", markup=False, style="bold")
    if "established successfully" not in output:
        return _failed(moon, sun)

    _title("Status", "charon-stroke statusall, at each end")
    for gateway in (moon, sun):
        _, status = gateway.stroke("statusall")
        console.print(f"  {gateway.name}:", markup=False, style="bold")
        for line in _status_lines(status, console.width - 4):
            console.print(f"    {line}", markup=False, no_wrap=True)

    _title("Ping", "from 10.1.0.1 to 10.2.0.1, through the tunnel")
    code, output = moon.host.python("demo.ping", "10.1.0.1", "10.2.0.1", "4")
    console.print(output.rstrip(), markup=False)
    if code:
        return _failed(moon, sun)

    _title("Throughput", f"a TCP stream for {_SECONDS:g} s, both gateways on this machine")
    megabits = _stream(moon, sun)
    if megabits is None:
        return _failed(moon, sun)
    _counters(moon, sun)
    console.print(f"  [bold]{megabits:,.0f} Mbit/s[/bold] encrypted, in user space")

    _title("End", "the daemons tell each other and stop")
    clean = [gateway.stop() for gateway in (moon, sun)]
    console.print(f"  stopped in order: {'yes' if all(clean) else 'no'}")
    return 0 if all(clean) else _failed(moon, sun)


def _stream(moon: Gateway, sun: Gateway) -> float | None:
    """Return the megabits a second of a TCP stream, or None after showing what went wrong."""
    receiver = sun.host.start(
        [sys.executable, "-m", "demo.stream", "receive", "10.2.0.1"], output=subprocess.PIPE
    )
    time.sleep(0.5)
    code, output = moon.host.python("demo.stream", "send", "10.1.0.1", "10.2.0.1", str(_SECONDS))
    report, _ = receiver.communicate(timeout=30)
    if code or receiver.returncode:
        console.print((output + report).strip(), markup=False)
        return None
    octets, span = report.split()
    return int(octets) * 8 / float(span) / 1e6


def _counters(moon: Gateway, sun: Gateway) -> None:
    """Show the packet counters of both ends, from their status."""
    table = Table("gateway", "received", "sent")
    for gateway in (moon, sun):
        _, status = gateway.stroke("statusall")
        counts: dict[str, str] = {}
        for octets, direction, packets in _COUNTER.findall(status):
            counts[direction] = f"{int(octets):,} bytes, {int(packets or 0):,} packets"
        table.add_row(gateway.name, counts.get("i", "-"), counts.get("o", "-"))
    console.print(table)


def _status_lines(status: str, width: int) -> Iterator[str]:
    """Yield the lines of a status that fit: what is too long goes on behind its label."""
    for line in status.strip().splitlines():
        indent = " " * (line.find(": ") + 4 if "[" in line or "{" in line else 4)
        yield from textwrap.wrap(
            line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        ) or [""]


def _failed(moon: Gateway, sun: Gateway) -> int:
    console.print("[red]The demonstration failed.[/red] The ends of both logs:")
    for gateway in (moon, sun):
        console.print(Panel(gateway.log_tail(_SHOWN_LOG_LINES), title=gateway.name), markup=False)
    return 1


def _title(what: str, how: str) -> None:
    console.print(f"\n[bold green]{what}[/bold green]  [dim]{how}[/dim]")


if __name__ == "__main__":
    sys.exit(main())
