"""The SAs and policies that the data path looks into: plain values, changed from outside.

Nothing here knows of threads, timers or events, and everything comes in by value, so that the data
path can live in another process than IKE.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from charon_core.kernel.interface import (
    PolicyAction,
    PolicyDirection,
    SaExists,
    SaNotFound,
)
from charon_core.kernel.userspace.association import (
    FLOWS_LIMIT,
    Association,
    InboundSa,
    OutboundSa,
    endpoint_pair,
)
from charon_core.kernel.userspace.flow import parse_flow
from charon_core.kernel.userspace.policy import Policy, PolicyIndex

if TYPE_CHECKING:
    from charon_core.config.traffic_selector import TrafficSelector
    from charon_core.kernel.interface import (
        Encapsulation,
        Mark,
        PolicySpec,
        SaId,
        SaSpec,
    )
    from charon_core.kernel.userspace.flow import Flow
    from charon_core.kernel.userspace.types import Buffer

PolicyKey = tuple["TrafficSelector", "TrafficSelector", PolicyDirection, "Mark | None", int]

NO_POLICY: Final = "drop_no_policy"
BY_POLICY: Final = "drop_policy"
NO_SA: Final = "drop_no_sa"
MALFORMED: Final = "drop_malformed"


class Verdict:
    """What happens to the packets of one outbound flow.

    Attributes:
        policy: The policy that matched; None for none.
        sa: What they are sent on; None when they are dropped.
        reason: The counter of `Statistics` that a dropped packet goes to.
        passes: They go out as they are, unprotected.
    """

    __slots__ = ("passes", "policy", "reason", "sa")

    def __init__(
        self,
        policy: Policy | None,
        sa: OutboundSa | None,
        reason: str = "",
        *,
        passes: bool = False,
    ) -> None:
        self.policy = policy
        self.sa = sa
        self.reason = reason
        self.passes = passes


_NOT_IP: Final = Verdict(None, None, MALFORMED)
_NO_POLICY: Final = Verdict(None, None, NO_POLICY)
_EXEMPT: Final = Verdict(None, None, NO_POLICY, passes=True)


class Tables:
    """SAs by SPI, by destination and by reqid; policies by selectors.

    Attributes:
        inbound: SAs that we receive on, by SPI. Only read by the data path.
        flows: Verdicts by flow key. It is replaced, not emptied, on every change: whoever got a
            verdict from the state before puts it into the old one, where nobody looks any more.
    """

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        # Guards everything below against other writers; the data path reads without it, which
        # is safe since each of its reads is one dictionary look-up.
        self._lock = threading.Lock()
        self.inbound: dict[int, InboundSa] = {}
        self.flows: dict[bytes, Verdict] = {}
        self._outbound: dict[tuple[str, int], OutboundSa] = {}
        self._by_reqid: dict[int, tuple[OutboundSa, ...]] = {}
        self._policies: dict[PolicyKey, tuple[PolicySpec, Policy | None]] = {}
        self._index = PolicyIndex()

    # -- the data path ------------------------------------------------------------------------

    def verdict(self, key: bytes, packet: Buffer) -> Verdict:
        """Look up the verdict of an outbound packet whose key is not among `flows`."""
        flows = self.flows
        flow = parse_flow(packet)
        if flow is None:
            return _NOT_IP
        verdict = self._decide(flow)
        if key:
            if len(flows) >= FLOWS_LIMIT:
                flows.clear()
            flows[key] = verdict
        return verdict

    def _decide(self, flow: Flow) -> Verdict:
        policy = self._index.find(flow)
        if policy is None:
            return _EXEMPT if self._index.is_exempt(flow) else _NO_POLICY
        if policy.action is not PolicyAction.PROTECT:
            return Verdict(policy, None, BY_POLICY, passes=policy.action is PolicyAction.PASS)
        # The newest one: during rekeying it takes over as soon as it is installed. A trap policy
        # may be wider than what the peer has agreed to: then a packet needs an SA of its own.
        for sa in reversed(self._by_reqid.get(policy.reqid, ())):
            if sa.admits(flow):
                return Verdict(policy, sa)
        return Verdict(policy, None, NO_SA)

    # -- SAs ----------------------------------------------------------------------------------

    def add_sa(self, spec: SaSpec) -> Association:
        """Install an SA.

        Raises:
            SaExists: Another one has its SPI.
            AlgorithmNotSupported: See `create_transform`.
        """
        made = InboundSa(spec) if spec.inbound else OutboundSa(spec, self._mtu)
        with self._lock:
            if isinstance(made, InboundSa):
                if made.spi in self.inbound:
                    raise SaExists(f"add SA {spec.id}", "another SA has this SPI")
                self.inbound[made.spi] = made
            else:
                self._add_outbound(made)
            self.flows = {}
        return made

    def _add_outbound(self, sa: OutboundSa) -> None:
        key = (sa.spec.id.destination, sa.spi)
        if key in self._outbound:
            raise SaExists(f"add SA {sa.spec.id}", "another SA to this address has this SPI")
        self._outbound[key] = sa
        self._by_reqid[sa.reqid] = (*self._by_reqid.get(sa.reqid, ()), sa)

    def move_sa(
        self, sa_id: SaId, source: str, destination: str, encapsulation: Encapsulation | None
    ) -> None:
        """Change the addresses and ports of an SA.

        Raises:
            SaNotFound: There is no such SA.
            SaExists: The SA stays as it was.
        """
        from dataclasses import replace

        with self._lock:
            sa = self._find(sa_id, "update")
            moved = replace(
                sa.spec,
                id=sa_id._replace(source=source, destination=destination),
                encapsulation=encapsulation,
            )
            if isinstance(sa, OutboundSa):
                new = (destination, sa.spi)
                if self._outbound.get(new, sa) is not sa:
                    raise SaExists(f"update SA {sa_id}", f"SPI is in use to {destination}")
                del self._outbound[sa_id.destination, sa.spi]
                self._outbound[new] = sa
            sa.spec = moved
            sa.encapsulated = encapsulation is not None
            sa.source, sa.destination = endpoint_pair(source, destination, encapsulation)
            if isinstance(sa, InboundSa):
                sa.reported = None

    def remove_sa(self, sa_id: SaId) -> Association:
        """Remove an SA.

        Raises:
            SaNotFound: There is no such SA.
        """
        with self._lock:
            sa = self._find(sa_id, "delete")
            if isinstance(sa, OutboundSa):
                del self._outbound[sa_id.destination, sa.spi]
                left = tuple(other for other in self._by_reqid[sa.reqid] if other is not sa)
                if left:
                    self._by_reqid[sa.reqid] = left
                else:
                    del self._by_reqid[sa.reqid]
            else:
                del self.inbound[sa.spi]
            self.flows = {}
        return sa

    def find_sa(self, sa_id: SaId, operation: str) -> Association:
        """Return an SA.

        Raises:
            SaNotFound: There is no such SA.
        """
        with self._lock:
            return self._find(sa_id, operation)

    def _find(self, sa_id: SaId, operation: str) -> Association:
        outbound = self._outbound.get((sa_id.destination, sa_id.spi))
        if outbound is not None and outbound.spec.id == sa_id:
            return outbound
        inbound = self.inbound.get(sa_id.spi)
        if inbound is not None and inbound.spec.id == sa_id:
            return inbound
        raise SaNotFound(f"{operation} SA {sa_id}", "there is no such SA")

    def associations(self) -> list[Association]:
        """Return all SAs."""
        with self._lock:
            return [*self.inbound.values(), *self._outbound.values()]

    # -- policies -----------------------------------------------------------------------------

    def add_policy(self, spec: PolicySpec) -> PolicySpec | None:
        """Install a policy; return the one with the same selectors that it replaces."""
        policy = Policy(spec) if spec.direction is PolicyDirection.OUT else None
        with self._lock:
            old, old_policy = self._policies.get(policy_key(spec), (None, None))
            if old_policy is not None:
                self._index.remove(old_policy)
            if policy is not None:
                self._index.add(policy)
            self._policies[policy_key(spec)] = (spec, policy)
            self.flows = {}
        return old

    def remove_policy(self, spec: PolicySpec) -> PolicySpec:
        """Remove the policy with these selectors, and return it.

        Raises:
            SaNotFound: There is no such policy.
        """
        with self._lock:
            found = self._policies.pop(policy_key(spec), None)
            if found is None:
                raise SaNotFound(f"delete policy {spec}", "there is no such policy")
            if found[1] is not None:
                self._index.remove(found[1])
            self.flows = {}
        return found[0]

    def policies(self) -> list[PolicySpec]:
        """Return all policies."""
        with self._lock:
            return [spec for spec, _ in self._policies.values()]

    def policy_use(self, spec: PolicySpec) -> float | None:
        """Return when a policy was last used.

        An inbound one is used when one of its SAs is: inbound packets are checked against the
        selectors of their SA.

        Raises:
            SaNotFound: There is no such policy.
        """
        with self._lock:
            found = self._policies.get(policy_key(spec))
            if found is None:
                raise SaNotFound(f"query policy {spec}", "there is no such policy")
            installed, policy = found
            if policy is not None:
                return policy.last_use
            reqid = installed.template.reqid if installed.template else 0
            uses = [sa.last_use for sa in self.inbound.values() if sa.reqid == reqid]
        return max((use for use in uses if use is not None), default=None)


def policy_key(spec: PolicySpec) -> PolicyKey:
    """Return what two policies must not have in common."""
    return (spec.source, spec.destination, spec.direction, spec.mark, spec.if_id)
