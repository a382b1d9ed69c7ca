"""One gateway of the `userspace` backend with static SAs, in the network namespace it is run in.

``python -m bench.userspace_gateway JSON``; prints "ready", answers each line on standard input with
its counters as JSON, and ends with the line "stop" or the end of its input. The line "expire"
removes the SAs, "flush" the policies as well.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from charon_core.bus.bus import Bus
from charon_core.config.child import ChildMode
from charon_core.config.traffic_selector import TrafficSelector
from charon_core.crypto.random import SystemRandom
from charon_core.crypto.secret import Secret
from charon_core.kernel.interface import (
    BackendContext,
    Encapsulation,
    IpsecProtocol,
    PolicyAction,
    PolicyDirection,
    PolicySpec,
    PolicyTemplate,
    SaId,
    SaSpec,
)
from charon_core.kernel.userspace.backend import UserspaceBackend
from charon_core.network.socket import IkeSockets, SocketConfig
from charon_core.processing.job import CallbackJob
from charon_core.processing.processor import Processor
from charon_core.processing.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 4500
REQID = 1


class Algorithm(NamedTuple):
    """Transform IDs, and lengths of key material in octets."""

    encryption: int
    encryption_key: int
    integrity: int = 0
    integrity_key: int = 0


ALGORITHMS = {
    "aes128gcm16": Algorithm(20, 20),
    "aes256gcm16": Algorithm(20, 36),
    "chacha20poly1305": Algorithm(28, 36),
    "aes128-sha256": Algorithm(12, 16, 12, 32),
    "aes256-sha512": Algorithm(12, 32, 14, 64),
    "aes128-sha1": Algorithm(12, 16, 2, 20),
}


class Printer:
    """Writes what the backend reports to standard error."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: print("event", name, *arguments, file=sys.stderr)


def selectors(networks: list[str]) -> tuple[TrafficSelector, ...]:
    """Return the selectors of networks, as in ``10.1.0.0/16[udp/53]``."""
    return tuple(map(TrafficSelector.parse, networks))


def sas(config: dict[str, Any]) -> Iterator[SaSpec]:
    """Yield the inbound and the outbound SA; the same numbers serve the other gateway."""
    algorithm = ALGORITHMS[config["algorithm"]]
    udp = Encapsulation(PORT, PORT) if config.get("udp", True) else None
    for inbound in (True, False):
        ends = [config["remote"], config["local"]]
        source, destination = ends if inbound else reversed(ends)
        number = int(socket.inet_pton(family(destination), destination)[-1])
        yield SaSpec(
            id=SaId(source, destination, IpsecProtocol.ESP, 0xC0000000 + number),
            reqid=REQID,
            mode=ChildMode.TUNNEL,
            encryption=algorithm.encryption,
            encryption_key=Secret(bytes([number]) * algorithm.encryption_key),
            integrity=algorithm.integrity or None,
            integrity_key=Secret(bytes([number]) * algorithm.integrity_key),
            inbound=inbound,
            esn=config.get("esn", False),
            replay_window=128,
            encapsulation=udp,
            local_ts=selectors(config["local_ts"]),
            remote_ts=selectors(config["remote_ts"]),
        )


def policies(config: dict[str, Any]) -> Iterator[PolicySpec]:
    """Yield the policies of all directions."""
    local, remote = config["local"], config["remote"]
    for ours, theirs in product(selectors(config["local_ts"]), selectors(config["remote_ts"])):
        if ours.family != theirs.family:
            continue
        for direction in PolicyDirection:
            outward = direction is PolicyDirection.OUT
            outer = (local, remote) if outward else (remote, local)
            yield PolicySpec(
                source=ours if outward else theirs,
                destination=theirs if outward else ours,
                direction=direction,
                priority=1,
                template=PolicyTemplate(*outer, IpsecProtocol.ESP, REQID, ChildMode.TUNNEL),
            )
    for source, destination in map(selectors, config.get("inbound_pass", [])):
        yield PolicySpec(
            source=source,
            destination=destination,
            direction=PolicyDirection.IN,
            action=PolicyAction.PASS,
            priority=0,
        )


def family(host: str) -> socket.AddressFamily:
    """Return the address family of a host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def run(config: dict[str, Any]) -> None:
    """Run the gateway; see the module."""
    processor = Processor(4)
    processor.start()
    scheduler = Scheduler(processor)
    scheduler.start()
    sockets = IkeSockets(SocketConfig(port=0, nat_port=PORT), Bus())

    def after(seconds: float, function: Callable[[], None]) -> Callable[[], Any]:
        return scheduler.schedule(CallbackJob("backend", function), seconds).cancel

    def log(_level: int, message: str, *arguments: object) -> None:
        print(message % arguments, file=sys.stderr)

    backend = UserspaceBackend(
        BackendContext(
            run_loop=processor.run_loop,
            after=after,
            log=log,
            random=SystemRandom(),
            options=config.get("options", {}),
            esp_socket=sockets,
        )
    )
    backend.probe()
    sockets.open()
    backend.start(Printer())
    for handle in sockets.handles:
        backend.bypass_socket(handle.fd, handle.family)
    for sa in sas(config):
        backend.add_sa(sa)
    for policy in policies(config):
        backend.add_policy(policy)

    def receive() -> None:
        sockets.receive()

    processor.run_loop("receiver", receive, sockets.wake)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "flush":
            backend.flush()
        if line.strip() == "expire":
            for sa in sas(config):
                backend.delete_sa(sa.id)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        times = {"cpu": usage.ru_utime + usage.ru_stime, "user": usage.ru_utime}
        report = times | {"kilobytes": usage.ru_maxrss} | backend.statistics()
        print(json.dumps(report), flush=True)
        if line.strip() == "stop":
            break
    backend.flush()
    backend.stop()
    processor.stop(2)
    sockets.close()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
