"""Certificates and requests for them in IKE messages (RFC 7296 3.6, 3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.config.peer import AuthClass, SendCert
from charon_core.encoding.payloads import Certificate as CertificatePayload
from charon_core.encoding.payloads import CertificateRequest, Notify
from charon_core.encoding.registry import CertEncoding, NotifyType, name_of
from charon_core.sa.authenticators import references
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from charon_core.config.peer import AuthConfig
    from charon_core.credentials.certificates import Certificate
    from charon_core.encoding.message import Message
    from charon_core.sa.ike_sa import IkeSa
    from charon_core.sa.tasks.task import Outgoing

_HASH_LENGTH: Final = 20
_BY_KEYS: Final = frozenset({AuthClass.PUBKEY, AuthClass.ANY})


def add_own(ike: IkeSa, auth: AuthConfig, out: Outgoing) -> None:
    """Add our certificate and what leads from it to a CA, as the configuration wants it."""
    config = ike.peer_config
    if config is None or auth.auth_class not in _BY_KEYS or config.send_cert is SendCert.NEVER:
        return
    asked = Trait.PEER_WANTS_CERTIFICATE in ike.traits
    if config.send_cert is SendCert.IF_ASKED and not asked:
        return
    found = ike.env.credentials.private_key_for(auth)
    if found is None:
        return
    for certificate in found[1]:
        url = references.url_to_send(ike, certificate)
        if url:
            text = 'sending hash-and-url "%s" of certificate "%s"'
            ike.log(Group.IKE, Level.CONTROL, text, url, certificate.subject)
            out.append(references.payload(certificate, url))
            continue
        ike.log(Group.IKE, Level.CONTROL, 'sending certificate "%s"', certificate.subject)
        out.append(CertificatePayload(encoding=CertEncoding.X509_SIGNATURE, data=certificate.der))


def add_requests(ike: IkeSa, expected: AuthConfig, out: Outgoing) -> None:
    """Ask for certificates of the CAs that we trust, where the peer needs one."""
    if expected.auth_class not in _BY_KEYS:
        return
    if ike.ike_config is None or not ike.ike_config.send_certreq:
        return
    _add_requests(ike, out)


def add_requests_of_candidates(ike: IkeSa, out: Outgoing) -> None:
    """Ask the initiator, before it is known who it is, in the IKE_SA_INIT response.

    Whoever it is may need to know; one that has a secret passes the request over.
    """
    if ike.ike_config is None or not ike.ike_config.send_certreq:
        return
    _add_requests(ike, out)


def _add_requests(ike: IkeSa, out: Outgoing) -> None:
    credentials = ike.env.credentials
    hashes = credentials.ca_hashes()
    if not hashes:
        return
    out.append(CertificateRequest(encoding=CertEncoding.X509_SIGNATURE, data=b"".join(hashes)))
    if credentials.looks_up_certificates:
        out.append(Notify.of(NotifyType.HTTP_CERT_LOOKUP_SUPPORTED))


def learn_requests(ike: IkeSa, message: Message) -> None:
    """Remember which CAs the peer asks for, and in which form it takes certificates."""
    if message.notify(NotifyType.HTTP_CERT_LOOKUP_SUPPORTED) is not None:
        ike.traits |= Trait.PEER_LOOKS_UP
    authorities: set[bytes] = set()
    for request in message.all(CertificateRequest):
        if request.encoding != CertEncoding.X509_SIGNATURE:
            continue
        ike.traits |= Trait.PEER_WANTS_CERTIFICATE
        data = request.data
        authorities.update(data[at : at + _HASH_LENGTH] for at in range(0, len(data), _HASH_LENGTH))
    if authorities:
        ike.handshake.authorities |= authorities


def presented(ike: IkeSa, message: Message) -> list[Certificate]:
    """Return the certificates of a message, end entity first; unreadable ones are left out.

    Raises:
        NotYet: One has to be fetched first.
    """
    from charon_core.credentials.certificates import Certificate

    credentials = ike.env.credentials
    followed = 0
    found: list[Certificate] = []
    for payload in message.all(CertificatePayload):
        if payload.encoding in references.ENCODINGS and credentials.looks_up_certificates:
            followed += 1
            if followed <= references.MAX_FOLLOWED:
                found += references.resolve(ike, payload)
            continue
        if payload.encoding != CertEncoding.X509_SIGNATURE:
            ike.log(
                Group.IKE, Level.CONTROL, "ignoring certificate with encoding %s",
                name_of(CertEncoding, payload.encoding),
            )  # fmt: skip
            continue
        try:
            certificate = Certificate.from_der(payload.data)
        except ValueError as error:
            ike.log(Group.IKE, Level.CONTROL, "ignoring unreadable certificate: %s", error)
            continue
        ike.log(
            Group.IKE, Level.CONTROL, 'received %s cert "%s"',
            "issuer" if found else "end entity", certificate.subject,
        )  # fmt: skip
        found.append(certificate)
    return found
