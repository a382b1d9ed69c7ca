"""OCSP responses of every kind, made with the builders of the `cryptography` library."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.unit.credentials import pki
from tests.unit.credentials.pki import DAY, NOW, Node

OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
STATUS = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}


def response(
    leaf: Node,
    issuer: Node,
    status: str = "good",
    *,
    signer: Node | None = None,
    private: object = None,
    this_update: float = NOW - 60,
    next_update: float | None = NOW + DAY,
    nonce: bytes | None = None,
    by_key: bool = False,
    about_issuer: Node | None = None,
    send: tuple[Node, ...] | None = None,
    algorithm: hashes.HashAlgorithm | None = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    signed_with: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A response about `leaf`, signed by its issuer unless another signer is given."""
    signer = signer or issuer
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf.x509,
        issuer=(about_issuer or issuer).x509,
        algorithm=algorithm or hashes.SHA1(),
        cert_status=STATUS[status],
        this_update=pki.moment(this_update).replace(tzinfo=None),
        next_update=None if next_update is None else pki.moment(next_update).replace(tzinfo=None),
        revocation_time=pki.moment(NOW - DAY).replace(tzinfo=None) if status == "revoked" else None,
        revocation_reason=x509.ReasonFlags.key_compromise if status == "revoked" else None,
    )
    encoding = ocsp.OCSPResponderEncoding.HASH if by_key else ocsp.OCSPResponderEncoding.NAME
    builder = builder.responder_id(encoding, signer.x509)
    if send is None and signer is not issuer:
        send = (signer,)
    if send:
        builder = builder.certificates([node.x509 for node in send])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    made = builder.sign(private or signer.private, signed_with or hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def refusal(status: ocsp.OCSPResponseStatus) -> bytes:
    made = ocsp.OCSPResponseBuilder.build_unsuccessful(status)
    return made.public_bytes(Encoding.DER)


def delegate(issuer: Node, name: str = "CN=responder", **fields: object) -> Node:
    """A responder whom an issuer charges with its responses."""
    fields.setdefault("purposes", (OCSP_SIGNING,))
    fields.setdefault("key_usage", pki.usage("digital_signature"))
    return pki.issue(name, issuer, **fields)
