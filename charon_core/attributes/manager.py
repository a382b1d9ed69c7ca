"""Virtual addresses and attributes for peers and from peers: who provides, and who takes them."""

from __future__ import annotations

import threading
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from charon_core.attributes.guard import Guard
from charon_core.attributes.memory import MemoryPools
from charon_core.attributes.pool import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from charon_core.attributes.given import GivenAttributes
    from charon_core.encoding.payloads import ConfigurationAttribute

MAX_PROVIDED: Final = 64
"""Attributes that are taken from one provider, or asked for by one handler, for one peer."""

MAX_OCTETS: Final = 4096
"""Octets of one attribute that a provider or handler may have sent."""

_MAX_TYPE: Final = 0x7FFF


class AttributeProvider(Protocol):
    """A source of virtual addresses and attributes for peers.

    Every call may come from any thread. What raises counts as having nothing to give, and so does
    what hangs, once as many calls hang as `charon_core.attributes.guard` allows.
    """

    name: str

    def acquire(self, pool: str, identity: str, wanted: str | None, search: Search) -> str | None:
        """Lease an address of a pool, or None: not my pool, or there is none to be found there.

        Args:
            pool: Name of the pool.
            identity: Who asks: its EAP identity if it has one, else its IKE identity.
            wanted: What it would like to have; `0.0.0.0` and `::` ask for any of their family,
                which the address has to be of. None asks for any.
            search: Where to look. A provider that does not know who had what looks everywhere
                at `Search.FREE`, and has nothing at the others.
        """
        ...

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease; False: not mine."""
        ...

    def attributes(self, pools: Iterable[str], identity: str) -> Iterable[ConfigurationAttribute]:
        """Return what a peer with addresses of these pools is told if it asks for it."""
        ...


class AttributeHandler(Protocol):
    """Sets this host up with what a gateway gives. Every call may come from any thread."""

    name: str

    def requests(self, connection: str) -> Iterable[ConfigurationAttribute]:
        """Return what to ask the gateway for, beyond what the connection and settings say."""
        ...

    def install(self, given: GivenAttributes) -> bool:
        """Put into force what this handler is for; False: nothing of it concerns me."""
        ...

    def remove(self, given: GivenAttributes) -> None:
        """Take back what `install` did; called once for each one that returned True."""
        ...


class _Provider(NamedTuple):
    provider: AttributeProvider
    guard: Guard


class _Handler(NamedTuple):
    handler: AttributeHandler
    guard: Guard


class AttributeManager:
    """Asks the providers and handlers in the order in which they were added."""

    def __init__(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Have the pools in memory, and nothing else.

        Args:
            report: Takes a line for the log about providers and handlers that fail.
        """
        self.memory = MemoryPools()
        """The pools of connections; always there."""
        self._report = report
        # Both are replaced as a whole, never changed.
        self._providers: tuple[_Provider, ...] = ()
        self._handlers: tuple[_Handler, ...] = ()
        # Guards both tables: what is in force, by whom it was installed; and who has leased what.
        self._lock = threading.Lock()
        self._installed: dict[GivenAttributes, tuple[_Handler, ...]] = {}
        self._leased: dict[str, list[str]] = {}
        self.add_provider(self.memory)

    # -- providers ----------------------------------------------------------------------------

    def add_provider(self, provider: AttributeProvider) -> None:
        """Add a source of addresses and attributes."""
        added = _Provider(provider, Guard(provider.name, self._report))
        self._providers = (*self._providers, added)

    def remove_provider(self, provider: AttributeProvider) -> None:
        """Take a source back."""
        self._providers = tuple(
            known for known in self._providers if known.provider is not provider
        )

    def acquire(
        self, pools: Iterable[str], identity: str, wanted: str | None
    ) -> tuple[str, str] | None:
        """Lease an address: what the identity had in any pool, else a free one, else a recycled.

        Returns:
            The pool's name and the address, or None.
        """
        pools = tuple(pools)
        for search in Search:
            for pool in pools:
                for known in self._providers:
                    address = self._acquire(known, pool, identity, wanted, search)
                    if address is not None:
                        with self._lock:
                            self._leased.setdefault(identity, []).append(address)
                        return pool, address
        return None

    def leased_to(self, identity: str) -> tuple[str, ...]:
        """Return the addresses that an identity has now, the oldest first."""
        with self._lock:
            return tuple(dict.fromkeys(self._leased.get(identity, ())))

    def _acquire(
        self, known: _Provider, pool: str, identity: str, wanted: str | None, search: Search
    ) -> str | None:
        provider, guard = known
        found = guard.call(
            f"lease an address of '{pool}'",
            partial(provider.acquire, pool, identity, wanted, search),
            None,
        )
        if found is None:
            return None
        try:
            address = ip_address(found)
            if wanted is None or address.version == ip_address(wanted).version:
                return str(address)
            problem = f"expected one of the family of {wanted}"
        except ValueError:
            problem = "expected an IP address"
        self._report(f"'{provider.name}' leases '{found}' of pool '{pool}', {problem}: not used")
        guard.call(
            f"take {found} back",
            partial(provider.release, pool, identity, found),
            otherwise=False,
        )
        return None

    def release(self, pool: str, identity: str, address: str) -> bool:
        """End a lease; False if nobody knows it."""
        with self._lock:
            held = self._leased.get(identity, [])
            if address in held:
                held.remove(address)
            if not held:
                self._leased.pop(identity, None)
        return any(
            guard.call(
                f"take {address} of '{pool}' back",
                partial(provider.release, pool, identity, address),
                otherwise=False,
            )
            for provider, guard in self._providers
        )

    def attributes(self, pools: Iterable[str], identity: str) -> Iterator[ConfigurationAttribute]:
        """Yield what all providers have for a peer."""
        pools = tuple(pools)
        for provider, guard in self._providers:
            found: list[ConfigurationAttribute] = guard.call(
                "provide attributes", partial(_attributes_of, provider, pools, identity), []
            )
            yield from found

    # -- handlers -----------------------------------------------------------------------------

    def add_handler(self, handler: AttributeHandler) -> None:
        """Add somebody who sets this host up with what gateways give."""
        self._handlers = (*self._handlers, _Handler(handler, Guard(handler.name, self._report)))

    def remove_handler(self, handler: AttributeHandler) -> None:
        """Take a handler back; what it has in force it removes itself before."""
        self._handlers = tuple(known for known in self._handlers if known.handler is not handler)
        with self._lock:
            for given, holders in list(self._installed.items()):
                left = tuple(known for known in holders if known.handler is not handler)
                self._installed[given] = left

    def requests(self, connection: str) -> Iterator[ConfigurationAttribute]:
        """Yield what handlers want to be asked for."""
        for handler, guard in self._handlers:
            found: list[ConfigurationAttribute] = guard.call(
                "say what to ask for", partial(_requests_of, handler, connection), []
            )
            yield from found

    def install(self, given: GivenAttributes) -> tuple[str, ...]:
        """Have every handler put into force what it is for; returns the names of those that did."""
        taken: list[_Handler] = []
        for known in self._handlers:
            handler, guard = known
            if guard.call(
                "install attributes",
                partial(handler.install, given),
                otherwise=False,
            ):
                taken.append(known)
        with self._lock:
            self._installed[given] = tuple(taken)
        return tuple(known.handler.name for known in taken)

    def remove(self, given: GivenAttributes) -> None:
        """Have everybody take back what `install` did; does nothing the second time."""
        with self._lock:
            holders = self._installed.pop(given, ())
        for handler, guard in reversed(holders):
            guard.call(
                "remove attributes",
                partial(handler.remove, given),
                None,
            )

    @property
    def installed(self) -> tuple[GivenAttributes, ...]:
        """What is in force."""
        with self._lock:
            return tuple(self._installed)

    def close(self) -> None:
        """Have everything taken back that is still in force: the daemon stops."""
        for given in self.installed:
            self.remove(given)


def _attributes_of(
    provider: AttributeProvider, pools: tuple[str, ...], identity: str
) -> list[ConfigurationAttribute]:
    return _checked(provider.attributes(pools, identity))


def _requests_of(handler: AttributeHandler, connection: str) -> list[ConfigurationAttribute]:
    return _checked(handler.requests(connection))


def _checked(attributes: Iterable[ConfigurationAttribute]) -> list[ConfigurationAttribute]:
    """Return attributes of foreign code, not too many of them.

    Raises:
        TypeError, ValueError: One of them cannot be sent.
    """
    from charon_core.encoding.payloads import ConfigurationAttribute

    found = []
    for attribute in islice(attributes, MAX_PROVIDED):
        if not isinstance(attribute, ConfigurationAttribute):
            raise TypeError(f"expected a ConfigurationAttribute, got {type(attribute).__name__}")
        kind, value = attribute.type, attribute.value
        if not 0 < kind <= _MAX_TYPE or len(value) > MAX_OCTETS:
            raise ValueError(
                f"attribute {kind} of {len(value)} octets, expected a type of 1 to {_MAX_TYPE} "
                f"and at most {MAX_OCTETS} octets"
            )
        found.append(attribute)
    return found
