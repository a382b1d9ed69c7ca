"""Certificates as a hash and a URL in IKE messages (RFC 7296 3.6)."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final

from charon_core.bus.listener import Group, Level
from charon_core.encoding.payloads import Certificate as CertificatePayload
from charon_core.encoding.registry import CertEncoding
from charon_core.processing.errand import NotYet
from charon_core.sa.postponed import may_wait
from charon_core.sa.state import Trait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charon_core.credentials.certificates import Certificate
    from charon_core.sa.ike_sa import IkeSa

ENCODINGS: Final = frozenset({CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE})

MAX_FOLLOWED: Final = 4
"""References of one message that are followed."""


def url_to_send(ike: IkeSa, certificate: Certificate) -> str:
    """Return where the peer can fetch a certificate of ours; empty if it cannot."""
    if Trait.PEER_LOOKS_UP not in ike.traits:
        return ""
    return ike.env.credentials.published_at(certificate)


def payload(certificate: Certificate, url: str) -> CertificatePayload:
    """Return a certificate of ours as its hash and where it is."""
    digest = sha1(certificate.der, usedforsecurity=False).digest()
    return CertificatePayload(
        encoding=CertEncoding.HASH_AND_URL_X509, data=digest + url.encode("ascii", "ignore")
    )


def resolve(ike: IkeSa, payload: CertificatePayload) -> Sequence[Certificate]:
    """Return the certificates that a peer refers to; none if they are not to be had.

    Raises:
        NotYet: They have to be fetched first.
    """
    from charon_core.credentials.online.lookup import Reference

    online = ike.env.credentials.online
    if online is None:
        return ()
    try:
        is_bundle = payload.encoding == CertEncoding.HASH_AND_URL_BUNDLE
        reference = Reference.read(payload.data, is_bundle=is_bundle)
    except ValueError as error:
        ike.log(Group.IKE, Level.CONTROL, "ignoring reference to a certificate: %s", error)
        return ()
    found = online.certificates.find(reference)
    if found is not None:
        ike.log(Group.IKE, Level.CONTROL, 'received hash-and-url "%s"', reference.url)
        return found
    errand = online.certificates.errand(reference)
    if errand is not None and may_wait(ike):
        raise NotYet(errand)
    ike.log(
        Group.IKE, Level.CONTROL, "ignoring certificate at '%s', which cannot be had", reference.url
    )
    return ()
