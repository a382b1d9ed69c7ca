"""Reference counts and priorities of security policies, whatever the backend."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import PolicyAction, PolicySpec, SaNotFound

if TYPE_CHECKING:
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import IpsecBackend, Mark, PolicyDirection

PRIORITY_EXCEPTION: Final = 100_000
"""PASS and DROP policies: exceptions, stronger than any PROTECT policy."""

PRIORITY_INSTALLED: Final = 200_000
"""PROTECT policies of an installed CHILD_SA."""

PRIORITY_ROUTED: Final = 300_000
"""Trap policies, which wait for traffic."""

_PER_FREE_BIT: Final = 256
_ANY_PROTOCOL: Final = 128
_PER_FREE_PORT_BIT: Final = 2

_Key = tuple["TrafficSelector", "TrafficSelector", "PolicyDirection", "Mark | None", int]


def _free_address_bits(selector: TrafficSelector) -> int:
    """Bits in which the ends of the address range differ: 0 for a host, 32 or 128 for any."""
    start, end = int.from_bytes(selector.start), int.from_bytes(selector.end)
    return (start ^ end).bit_length()


def _free_port_bits(selector: TrafficSelector) -> int:
    """0 for one port (or OPAQUE, RFC 7296 section 3.13.1), 16 for any."""
    if selector.start_port > selector.end_port:
        return 0
    return (selector.start_port ^ selector.end_port).bit_length()


def policy_priority(spec: PolicySpec) -> int:
    """Return the priority of a policy; the lower, the stronger.

    Three classes of 100,000 each: exceptions (PASS, DROP), installed, routed. Within a class the
    more specific selector wins, in this order: the address bits that both selectors leave free
    (256 each, at most 65,536), then whether any protocol matches (128), then the port bits left
    free (2 each, at most 64). So 10.1.0.0/16 === 10.2.0.0/16 of an installed CHILD_SA has
    200,000 + 32 * 256 + 128 + 64 = 208,384, and the same for TCP only is 128 stronger.
    """
    if spec.priority is not None:
        return spec.priority
    if spec.action is not PolicyAction.PROTECT:
        base = PRIORITY_EXCEPTION
    elif spec.routed:
        base = PRIORITY_ROUTED
    else:
        base = PRIORITY_INSTALLED
    bits = _free_address_bits(spec.source) + _free_address_bits(spec.destination)
    port_bits = _free_port_bits(spec.source) + _free_port_bits(spec.destination)
    protocol = 0 if spec.source.protocol or spec.destination.protocol else _ANY_PROTOCOL
    return base + bits * _PER_FREE_BIT + protocol + port_bits * _PER_FREE_PORT_BIT


@dataclass(slots=True)
class _User:
    """One distinct spec for a selector, and how many installed it."""

    spec: PolicySpec
    priority: int
    count: int = 1


class PolicyTable:
    """Who wants which policy; the backend holds the strongest for each selector.

    A kernel has room for one policy per selectors, direction, mark and if_id. CHILD_SAs that
    overlap (rekeying, a trap below an installed one, a move to new addresses) each add theirs;
    the strongest one, and among equals the newest, is in the kernel. When it goes, the next one
    takes its place.
    """

    def __init__(self, backend: IpsecBackend) -> None:
        self._backend = backend
        # Guards _users, and keeps the backend's order of calls the same as that of the table.
        self._lock = threading.Lock()
        self._users: dict[_Key, tuple[_User, ...]] = {}

    def add(self, spec: PolicySpec) -> None:
        """Count one more user of ``spec``; install it if it is now the strongest.

        Raises:
            KernelError: nothing has changed.
        """
        key = self._key(spec)
        priority = policy_priority(spec)
        with self._lock:
            users = self._users.get(key, ())
            for user in users:
                if user.spec == spec:
                    user.count += 1
                    return
            position = sum(1 for user in users if user.priority < priority)
            if position == 0:
                self._install(spec, priority)
            added = _User(spec, priority)
            self._users[key] = (*users[:position], added, *users[position:])

    def delete(self, spec: PolicySpec) -> None:
        """Drop one user of ``spec``; with the last one it leaves the kernel.

        Raises:
            SaNotFound: nobody installed this policy.
            KernelError: the table has forgotten the policy, though the backend failed.
        """
        key = self._key(spec)
        with self._lock:
            users = self._users.get(key, ())
            position = next((i for i, user in enumerate(users) if user.spec == spec), None)
            if position is None:
                raise SaNotFound(f"delete policy {spec}", "this policy was never installed")
            user = users[position]
            user.count -= 1
            if user.count:
                return
            rest = users[:position] + users[position + 1 :]
            if not rest:
                del self._users[key]
                self._backend.delete_policy(spec)
                return
            self._users[key] = rest
            if position == 0:
                self._install(rest[0].spec, rest[0].priority)

    def clear(self) -> None:
        """Forget everything, after the backend was flushed."""
        with self._lock:
            self._users.clear()

    def __len__(self) -> int:
        return len(self._users)

    def _install(self, spec: PolicySpec, priority: int) -> None:
        self._backend.add_policy(replace(spec, priority=priority))

    @staticmethod
    def _key(spec: PolicySpec) -> _Key:
        return (spec.source, spec.destination, spec.direction, spec.mark, spec.if_id)
