"""Certificates for the measurements: one CA, one certificate for each side."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from charon_core.credentials.certificates import Certificate
from charon_core.credentials.keys import PrivateKey

if TYPE_CHECKING:
    from pathlib import Path


def write_certificates(kind: str, root: Path) -> str:
    """Write a CA and the certificates of both sides below `root`; returns ipsec.secrets."""
    authority_key = _key(kind)
    authority = _certificate("Bench CA", authority_key, None, authority_key, ca=True)
    folder = root / "etc/ipsec.d"
    (folder / "cacerts/ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for name, alternative in (
        ("responder", x509.DNSName("responder.example.org")),
        ("initiator", x509.RFC822Name("load@initiator.example.org")),
    ):
        key = _key(kind)
        certificate = _certificate(name, key, authority, authority_key, alternative)
        (folder / f"certs/{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / f"private/{name}.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
    return ": PKCS8 responder.pem\n"


def read_certificates(root: Path) -> tuple[Certificate, Certificate, PrivateKey]:
    """Return the CA, the initiator's certificate and its key."""
    folder = root / "etc/ipsec.d"
    authority = x509.load_pem_x509_certificate((folder / "cacerts/ca.pem").read_bytes())
    own = x509.load_pem_x509_certificate((folder / "certs/initiator.pem").read_bytes())
    key = load_pem_private_key((folder / "private/initiator.pem").read_bytes(), None)
    return (
        Certificate(authority.public_bytes(Encoding.DER)),
        Certificate(own.public_bytes(Encoding.DER)),
        PrivateKey(key),
    )


def _key(kind: str) -> Any:
    return (
        rsa.generate_private_key(65537, 2048)
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )


def _certificate(
    name: str,
    key: Any,
    issuer: x509.Certificate | None,
    signing_key: Any,
    alternative: x509.GeneralName | None = None,
    *,
    ca: bool = False,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(signing_key, hashes.SHA256())
