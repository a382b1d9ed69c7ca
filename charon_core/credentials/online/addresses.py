"""From host names to the addresses that may be connected to, in bounded time."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from charon_core.credentials.online.request import AddressPolicy, Failure, FetchError
from charon_core.processing.job import CallbackJob, Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from charon_core.processing.job import Job

MAX_LOOKUPS: Final = 4
"""Names that are looked up at the same time: the system's resolver keeps a worker busy for as long
as it likes."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def forbidden_reason(address: str, policy: AddressPolicy) -> str | None:
    """Return why an address must not be connected to, or None.

    Addresses that stand for others (IPv4 in IPv6) are judged by those.
    """
    if policy is AddressPolicy.ANY:
        return None
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"'{address}' is no address"
    kind = _kind(_embedded(parsed) or parsed, policy)
    return None if kind is None else f"{address} is {kind}"


def _kind(address: _Address, policy: AddressPolicy) -> str | None:
    if address.is_loopback:
        return "this host itself"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return "no address of a host"
    if address.version == 4 and address in _THIS_NETWORK:
        return "no address of a host"
    if policy is AddressPolicy.PUBLIC and not address.is_global:
        return "a private address"
    return None


def _embedded(address: _Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class _LookUp:
    """A name that is being looked up; whoever wants it waits for the same event."""

    __slots__ = ("addresses", "done")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.addresses: list[str] = []


class NameLookup:
    """Resolves names on other workers, so that who waits need not wait for ever."""

    def __init__(
        self,
        submit: Callable[[Job], bool],
        resolve: Callable[[str], list[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        at_once: int = MAX_LOOKUPS,
    ) -> None:
        """Prepare.

        Args:
            submit: Queues a job.
            resolve: Returns the addresses of a name, or raises OSError; the system's resolver.
            clock: Monotonic seconds.
            at_once: Names that may be looked up at the same time.
        """
        self._at_once = at_once
        self._submit = submit
        self._resolve = resolve or system_addresses
        self._clock = clock
        # Guards the table.
        self._lock = threading.Lock()
        self._under_way: dict[str, _LookUp] = {}

    def __call__(self, host: str, deadline: float) -> list[str]:
        """Return the addresses of a host name, or the address itself.

        Raises:
            FetchError: There are none, or not in time.
        """
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        found = self._begin(host)
        if not found.done.wait(max(0.0, deadline - self._clock())):
            raise FetchError(Failure.TIMEOUT, f"the name '{host}' is not resolved in time")
        if not found.addresses:
            raise FetchError(Failure.UNREACHABLE, f"the name '{host}' cannot be resolved")
        return found.addresses

    def _begin(self, host: str) -> _LookUp:
        with self._lock:
            known = self._under_way.get(host)
            if known is not None:
                return known
            if len(self._under_way) >= self._at_once:
                raise FetchError(Failure.TIMEOUT, "too many names are being resolved already")
            new = self._under_way[host] = _LookUp()
        job = CallbackJob(f"look up {host}", lambda: self._run(host, new), Priority.LOW)
        if not self._submit(job):
            self._finish(host, new, [])
        return new

    def _run(self, host: str, look_up: _LookUp) -> None:
        addresses: list[str] = []
        try:
            addresses = self._resolve(host)
        except (OSError, UnicodeError):
            pass  # Who waits finds none.
        finally:
            self._finish(host, look_up, addresses)

    def _finish(self, host: str, look_up: _LookUp, addresses: list[str]) -> None:
        look_up.addresses = addresses
        with self._lock:
            self._under_way.pop(host, None)
        look_up.done.set()


def system_addresses(name: str) -> list[str]:
    """Return the addresses of a host name, as the system's resolver knows them.

    Raises:
        OSError: There are none.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
