"""Blocks D and E of 'status': IKE_SAs and their CHILD_SAs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charon_plugins.stroke.server.status_connections import auth_name
from charon_plugins.stroke.server.times import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from charon_core.config.identification import Identification
    from charon_core.config.peer import PeerConfig
    from charon_core.sa.snapshot import ChildSaSnapshot, IkeSaSnapshot


def security_associations(
    sas: Sequence[IkeSaSnapshot],
    name: str | None,
    *,
    details: bool,
    peer_of: Callable[[str], PeerConfig | None],
) -> Iterator[str]:
    """Lines of all SAs, or of those that have the given name.

    Args:
        sas: all IKE_SAs.
        name: of IKE_SAs or CHILD_SAs; ``None`` for all.
        details: also what only 'statusall' shows.
        peer_of: configuration of a connection by name.
    """
    connecting = sum(ike.half_open for ike in sas)
    yield f"Security Associations ({len(sas) - connecting} up, {connecting} connecting):"
    found = False
    for ike in sas:
        children = [child for child in ike.children if name in (None, child.name)]
        if children or name in (None, ike.name):
            found = True
            yield from _ike_sa(ike, details, peer_of)
            for child in children:
                yield from _child_sa(child, details)
    if not found:
        yield "  none" if name is None else "  no match"


def _ike_sa(
    ike: IkeSaSnapshot, details: bool, peer_of: Callable[[str], PeerConfig | None]
) -> Iterator[str]:
    label = f"{ike.name:>12}[{ike.unique_id}]: "
    is_established = ike.state == "ESTABLISHED"
    ago = f" {span(ike.age)} ago" if is_established and ike.age is not None else ""
    yield (
        f"{label}{ike.state}{ago}, {ike.local.host}[{_shown(ike.local_id)}]..."
        f"{ike.remote.host}[{_shown(ike.remote_id)}]"
    )
    if not details:
        return
    if ike.remote_eap_id is not None and ike.remote_eap_id != ike.remote_id:
        yield f"{label}Remote EAP identity: {ike.remote_eap_id}"
    ours, theirs = ("*", "") if ike.is_initiator else ("", "*")
    tail = _rekeying(ike, peer_of) if is_established else ""
    yield (
        f"{label}IKEv{ike.version} SPIs: {ike.initiator_spi.hex()}_i{ours} "
        f"{ike.responder_spi.hex()}_r{theirs}{tail}"
    )
    if ike.proposal:
        yield f"{label}IKE proposal: {ike.proposal}"
    for kind, tasks in (
        ("queued", ike.tasks_queued),
        ("active", ike.tasks_active),
        ("passive", ike.tasks_passive),
    ):
        if tasks:
            yield f"{label}Tasks {kind}: {' '.join(tasks)} "


def _rekeying(ike: IkeSaSnapshot, peer_of: Callable[[str], PeerConfig | None]) -> str:
    tail = ""
    if ike.rekey_in is not None:
        tail += f", rekeying in {span(ike.rekey_in)}"
    if ike.reauth_in is not None:
        peer = peer_of(ike.name)
        classes = "+".join(auth_name(auth).split("_")[0] for auth in peer.local) if peer else ""
        tail += f", {classes}{' ' if classes else ''}reauthentication in {span(ike.reauth_in)}"
    return tail or f", rekeying disabled{_end(ike.expires_in)}"


def _child_sa(child: ChildSaSnapshot, details: bool) -> Iterator[str]:
    label = f"{child.name:>12}{{{child.unique_id}}}: "
    line = f"{label} {child.state}, {child.mode}, reqid {child.reqid}"
    if child.state == "INSTALLED":
        udp = " in UDP" if child.udp_encap else ""
        line += f", {child.protocol}{udp} SPIs: {child.spi_in:08x}_i {child.spi_out:08x}_o"
    elif child.state in ("REKEYING", "REKEYED") and child.expires_in is not None:
        line += f", expires in {span(child.expires_in)}"
    yield line
    if details and child.state == "INSTALLED":
        yield (
            f"{label} {child.proposal}"
            f", {_traffic('i', child.bytes_in, child.packets_in, child.idle_in)}"
            f", {_traffic('o', child.bytes_out, child.packets_out, child.idle_out)}"
            f", rekeying {_due(child.rekey_in, child.expires_in)}"
        )
    local = " ".join(map(str, child.local_ts)) or "dynamic"
    remote = " ".join(map(str, child.remote_ts)) or "dynamic"
    yield f"{label}  {local} === {remote}"


def _traffic(direction: str, octets: int, packets: int, idle: float | None) -> str:
    text = f"{octets} bytes_{direction}"
    if idle is None or not octets:
        return text
    return f"{text} ({packets} pkt{'' if packets == 1 else 's'}, {int(idle)}s ago)"


def _due(seconds: float | None, end: float | None) -> str:
    if seconds is None:
        return f"disabled{_end(end)}"
    return f"in {span(seconds)}" if seconds > 0 else "active"


def _end(seconds: float | None) -> str:
    """When an SA that nobody replaces is gone: its traffic may be unprotected from then on."""
    return "" if seconds is None else f", expires in {span(max(0.0, seconds))}"


def _shown(identity: Identification | None) -> str:
    return "%any" if identity is None else str(identity)
