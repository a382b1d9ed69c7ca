"""The numbers that govern IKE_SAs: times, limits, ports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IkeParameters:
    """Times in seconds, sizes in octets; the defaults are those of the field's C daemons."""

    retransmit_timeout: float = 4.0
    """Time before the first retransmission."""
    retransmit_base: float = 1.8
    """Each further one waits this many times longer."""
    retransmit_tries: int = 5
    """Retransmissions before the peer counts as dead."""
    retransmit_jitter: float = 0.0
    """Up to this share of each time-out is taken off at random (0.0 .. 0.9)."""
    retransmit_limit: float = 0.0
    """Longest time-out between two retransmissions; 0 = no limit."""
    half_open_timeout: float = 30.0
    """A responder forgets an IKE_SA that has not been authenticated after this time."""
    patience: float = 10.0
    """A message waits so long at the most for what has to be asked of others; never longer than
    half of `half_open_timeout`."""
    delete_timeout: float = 30.0
    """An unanswered delete of our own ends after this time at the latest."""
    keep_alive: float = 20.0
    """Silence before a NAT keepalive is sent; 0 = never."""
    fragment_size: int = 1280
    """Largest IKE datagram, IP and UDP headers included, where fragmentation is in use."""
    init_restarts: int = 5
    """How often cookies or other key exchange methods may restart an IKE_SA_INIT."""
    max_message_id: int = 0xFFFF_FFFF
    """The last usable message ID (RFC 7296 2.2)."""
    replay_window: int = 32
    """Packets of an ESP anti-replay window, where a connection leaves it to the daemon."""
    natt_port: int = 4500
    """The peer's port once NAT traversal is in use (RFC 7296 2.23)."""
    max_children: int = 1000
    """CHILD_SAs that a peer may have in one IKE_SA."""
    max_selector_pairs: int = 4096
    """Pairs of traffic selectors in all CHILD_SAs of one IKE_SA: each pair is three policies."""
    max_virtual_ips: int = 8
    """Virtual addresses that one peer may have of us."""
    virtual_ip_interface: str = ""
    """Interface that gets our virtual addresses; empty leaves it to the kernel interface."""
    accept_domains: tuple[str, ...] = ()
    """Domains that a gateway may have its name servers asked for alone (RFC 8598)."""
    accept_trust_anchors: tuple[str, ...] = ()
    """Domains whose DNSSEC trust anchors a gateway may replace (RFC 8598)."""

    make_before_break: bool = False
    """Reauthenticate by a second IKE_SA beside the old one, instead of after it."""
    rekey_retry: float = 15.0
    """Time after which a rekeying that has failed is tried again."""
    rekey_retry_jitter: float = 10.0
    """Up to so much of it is taken off at random."""
    rekeyed_linger: float = 5.0
    """How long a CHILD_SA still receives after rekeying, when it has been deleted; 0 = not."""
    rekeyed_patience: float = 60.0
    """How long the peer may take to delete what it has replaced; then we do."""

    def rekey_retry_delay(self, share: float) -> float:
        """Time to wait after a failed rekeying; `share` is a random number in 0.0 .. 1.0."""
        return max(1.0, self.rekey_retry - self.rekey_retry_jitter * share)

    def retransmit_delay(self, attempt: int, jitter: float) -> float:
        """Time to wait after transmission number `attempt` (0 = the first).

        `jitter` is a random number in 0.0 .. 1.0 that decides how much is taken off.
        """
        delay = self.retransmit_timeout * self.retransmit_base**attempt
        if self.retransmit_limit:
            delay = min(delay, self.retransmit_limit)
        return delay * (1.0 - self.retransmit_jitter * jitter)
