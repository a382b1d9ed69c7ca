"""Block B of 'statusall': the connections as they are configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.config.peer import AuthClass, RevocationPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from charon_core.config.child import ChildConfig
    from charon_core.config.peer import AuthConfig, PeerConfig
    from charon_core.config.traffic_selector import TrafficSelector

#: Names of EAP methods of the IETF in 'uses EAP_… authentication'.
EAP_NAMES: Final = {
    1: "IDENTITY",
    4: "MD5",
    5: "OTP",
    6: "GTC",
    13: "TLS",
    18: "SIM",
    21: "TTLS",
    23: "AKA",
    25: "PEAP",
    26: "MSCHAPV2",
    38: "TNC",
    50: "AKA_PRIME",
    54: "PT",
}


def connections(peers: Iterable[PeerConfig], name: str | None) -> Iterator[str]:
    """Lines of all connections, or of those that have, or whose child has, the given name."""
    yield "Connections:"
    for peer in peers:
        children = [child for child in peer.children if name in (None, peer.name, child.name)]
        if name in (None, peer.name) or children:
            yield from _connection(peer, children)


def auth_name(auth: AuthConfig) -> str:
    """How a side authenticates: ``public key``, ``EAP_MD5``, ``EAP_7-311``, ..."""
    if auth.auth_class is not AuthClass.EAP or auth.eap_method is None:
        return auth.auth_class.value
    number, vendor = auth.eap_method
    if vendor:
        return f"EAP_{number}-{vendor}"
    return f"EAP_{EAP_NAMES.get(number, number)}"


def _connection(peer: PeerConfig, children: Iterable[ChildConfig]) -> Iterator[str]:
    ike = peer.ike
    dpd = f", dpddelay={peer.dpd_delay:g}s" if peer.dpd_delay else ""
    version = "IKEv2" if ike.version else "IKEv1/2"
    yield f"{peer.name:>12}:  {','.join(ike.local)}...{','.join(ike.remote)}  {version}{dpd}"
    for auth in peer.local:
        yield from _round(peer.name, "local: ", auth)
    for auth in peer.remote:
        yield from _round(peer.name, "remote:", auth)
    for child in children:
        dpd = f", dpdaction={child.dpd_action.value}" if peer.dpd_delay else ""
        selectors = f"{_selectors(child.local_ts)} === {_selectors(child.remote_ts)}"
        yield f"{child.name:>12}:   child:  {selectors} {child.mode.value}{dpd}"


def _round(name: str, side: str, auth: AuthConfig) -> Iterator[str]:
    identity = "" if auth.identity.is_any else f"[{auth.identity}] "
    uses = f"uses {auth_name(auth)} authentication"
    if auth.auth_class is AuthClass.EAP and auth.eap_identity is not None:
        uses += f" with EAP identity '{auth.eap_identity}'"
    yield f"{name:>12}:   {side} {identity}{uses}"
    if auth.ca is not None:
        yield f'{name:>12}:    ca:    "{auth.ca}"'
    if auth.certificates:
        yield f'{name:>12}:    cert:  "{_subject(auth.certificates[0])}"'
    if auth.revocation is RevocationPolicy.STRICT:
        yield f"{name:>12}:    crl:   status must be GOOD"
    elif auth.revocation is RevocationPolicy.IF_URI:
        yield f"{name:>12}:    crl:   status must be GOOD or SKIPPED"
    for group in auth.groups:
        yield f"{name:>12}:    group: {group}"


def _subject(der: bytes) -> str:
    # Certificates are heavy and only shown here.
    from charon_core.credentials.certificates import Certificate, CertificateError

    try:
        return str(Certificate(der).subject)
    except CertificateError:
        return "(unreadable certificate)"


def _selectors(selectors: Iterable[TrafficSelector]) -> str:
    return " ".join(map(str, selectors)) or "dynamic"
