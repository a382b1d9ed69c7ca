"""The outbound policy table: an index by networks, so that its size does not cost time."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, NamedTuple

from charon_core.kernel.interface import PolicyAction
from charon_core.kernel.userspace.selector import ADDRESS_BITS, Selector

if TYPE_CHECKING:
    from charon_core.kernel.interface import PolicySpec
    from charon_core.kernel.userspace.flow import Flow


class Policy:
    """One outbound policy.

    Attributes:
        source: Which packets it is for.
        destination: Likewise.
        action: What happens to them.
        priority: The lower, the stronger.
        rank: The priority, and when it was filed: what decides between two that match.
        reqid: Which SAs protect them; 0 unless the action is PROTECT.
        last_use: When a packet matched, on the monotonic clock.
    """

    __slots__ = ("action", "destination", "last_use", "priority", "rank", "reqid", "source")

    def __init__(self, spec: PolicySpec) -> None:
        self.source = Selector.of(spec.source)
        self.destination = Selector.of(spec.destination)
        self.action = spec.action
        self.priority = spec.priority or 0
        self.rank = (self.priority, 0)
        protects = spec.action is PolicyAction.PROTECT and spec.template is not None
        self.reqid = spec.template.reqid if protects and spec.template else 0
        self.last_use: float | None = None

    def matches(self, flow: Flow) -> bool:
        """Tell whether a packet is within both selectors."""
        return self.source.matches(
            flow.family, flow.source, flow.protocol, flow.source_port
        ) and self.destination.matches(
            flow.family, flow.destination, flow.protocol, flow.destination_port
        )


class _Place(NamedTuple):
    """Where a policy is in the index: its networks, as first bits and their number."""

    family: int
    destination_prefix: int
    destination: int
    source_prefix: int
    source: int


class PolicyIndex:
    """Finds the strongest policy of a packet.

    Policies are filed under destination network, then source network; a range that is not a
    network under the smallest one around it. A lookup tries each prefix length that occurs, so it
    takes as long with a hundred thousand policies as with ten.
    """

    def __init__(self) -> None:
        # Guards _files: policies come and go on workers while the device's loop looks them up.
        self._lock = threading.Lock()
        # family -> prefix length -> first bits of the destination -> the same of the source
        self._numbers = itertools.count()
        self._files: dict[int, dict[int, dict[int, dict[int, dict[int, list[Policy]]]]]] = {}

    def add(self, policy: Policy) -> None:
        """File a policy."""
        place = _place(policy)
        with self._lock:
            policy.rank = (policy.priority, next(self._numbers))
            prefixes = self._files.setdefault(place.family, {})
            networks = prefixes.setdefault(place.destination_prefix, {})
            source_prefixes = networks.setdefault(place.destination, {})
            sources = source_prefixes.setdefault(place.source_prefix, {})
            sources.setdefault(place.source, []).append(policy)

    def remove(self, policy: Policy) -> None:
        """Take a policy out of the index."""
        place = _place(policy)
        with self._lock:
            prefixes = self._files[place.family]
            networks = prefixes[place.destination_prefix]
            source_prefixes = networks[place.destination]
            sources = source_prefixes[place.source_prefix]
            sources[place.source].remove(policy)
            # Nothing empty stays behind: each prefix length that occurs costs every lookup.
            if not sources[place.source]:
                del sources[place.source]
            if not sources:
                del source_prefixes[place.source_prefix]
            if not source_prefixes:
                del networks[place.destination]
            if not networks:
                del prefixes[place.destination_prefix]

    def is_exempt(self, flow: Flow) -> bool:
        """Whether a packet that no policy matches came into the device by mistake of the routes.

        Its destination is that of PASS or DROP policies, which are for others, and of no PROTECT
        policy.
        """
        bits = ADDRESS_BITS[flow.family]
        found = False
        with self._lock:
            for prefix, networks in self._files.get(flow.family, {}).items():
                source_prefixes = networks.get(flow.destination >> (bits - prefix), {})
                for sources in source_prefixes.values():
                    for policies in sources.values():
                        for policy in policies:
                            end = policy.destination
                            if not end.start <= flow.destination <= end.end:
                                continue
                            if policy.action is PolicyAction.PROTECT:
                                return False
                            found = True
        return found

    def find(self, flow: Flow) -> Policy | None:
        """Return the strongest policy of a packet; among equals the one that was added first."""
        best: Policy | None = None
        bits = ADDRESS_BITS[flow.family]
        with self._lock:
            for destination_prefix, networks in self._files.get(flow.family, {}).items():
                source_prefixes = networks.get(flow.destination >> (bits - destination_prefix))
                if source_prefixes is None:
                    continue
                for source_prefix, sources in source_prefixes.items():
                    for policy in sources.get(flow.source >> (bits - source_prefix), ()):
                        stronger = best is None or policy.rank < best.rank
                        if stronger and policy.matches(flow):
                            best = policy
        return best


def _place(policy: Policy) -> _Place:
    destination_prefix, destination = policy.destination.surrounding()
    source_prefix, source = policy.source.surrounding()
    return _Place(policy.destination.family, destination_prefix, destination, source_prefix, source)
