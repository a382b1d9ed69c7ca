"""Makes certificates for tests."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

_OIDS = {"C": NameOID.COUNTRY_NAME, "O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME}


def name_of(text: str) -> x509.Name:
    pairs = (item.strip().split("=") for item in text.split(","))
    return x509.Name([x509.NameAttribute(_OIDS[key], value) for key, value in pairs])


class Issued:
    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate = certificate
        self.key = key
        self.der = certificate.public_bytes(Encoding.DER)
        self.pem = certificate.public_bytes(Encoding.PEM)

    @cached_property
    def spki(self) -> bytes:
        public: bytes = self.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return public


class Authority(Issued):
    """A CA that signs itself."""

    def __init__(self, subject: str, *, is_ca: bool = True) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.name = name_of(subject)
        super().__init__(_sign(self.name, self.name, key, key, [_basic(is_ca)]), key)

    def issue(self, subject: str, *alt_names: str) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in alt_names])
        certificate = _sign(
            name_of(subject), self.name, key, self.key, [_basic(False), (names, False)]
        )
        return Issued(certificate, key)

    def crl(self, number: int = 1) -> bytes:
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now)
            .next_update(now + dt.timedelta(days=1))
            .add_extension(x509.CRLNumber(number), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(Encoding.DER)


def _basic(is_ca: bool) -> tuple[Any, bool]:
    return x509.BasicConstraints(ca=is_ca, path_length=None), True


def _sign(
    subject: x509.Name, issuer: x509.Name, key: Any, issuer_key: Any, extensions: list[Any]
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(issuer_key, hashes.SHA256())
