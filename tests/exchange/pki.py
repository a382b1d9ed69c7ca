"""A certificate authority for tests, with keys of every kind."""

from __future__ import annotations

import datetime as dt
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from charon_core.credentials.certificates import Certificate
from charon_core.credentials.keys import PrivateKey
from tests.exchange.world import EPOCH

DAY = dt.timedelta(days=1)
NOW = dt.datetime.fromtimestamp(EPOCH, dt.UTC)

MAKERS = {
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "ecdsa256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


@cache
def key(kind: str, owner: str):
    """Return the key of an owner; the same in all tests, since making them takes time."""
    return MAKERS[kind]()


def spki(private) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Authority:
    """A CA; `issue` makes end entity certificates, `sub` makes intermediate CAs."""

    def __init__(self, name: str, kind: str = "ecdsa256", parent: Authority | None = None) -> None:
        self.name = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        self.key = key(kind, name)
        issuer = parent or self
        self.certificate = self._build(
            self.name, self.key.public_key(), issuer, NOW - DAY, NOW + 3650 * DAY
        ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = self.certificate.add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )  # fmt: skip
        self.certificate = self._sign(self.certificate, issuer)

    @property
    def trusted(self) -> Certificate:
        return Certificate(self.certificate.public_bytes(Encoding.DER))

    def issue(
        self,
        name: str,
        kind: str = "ecdsa256",
        *,
        begins: dt.datetime = NOW - DAY,
        ends: dt.datetime = NOW + 365 * DAY,
        padding: int = 0,
        policies: tuple[str, ...] = (),
    ) -> tuple[Certificate, PrivateKey]:
        """Issue a certificate for a DNS name; `padding` octets make it large."""
        private = key(kind, name)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        builder = self._build(subject, private.public_key(), self, begins, ends)
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [
            x509.DNSName(f"{number:04}.{'x' * 50}.example") for number in range(padding // 64)
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if policies:
            held = [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in policies]
            builder = builder.add_extension(x509.CertificatePolicies(held), critical=False)
        signed = self._sign(builder, self)
        return Certificate(signed.public_bytes(Encoding.DER)), PrivateKey(private)

    def _build(self, subject, public, issuer: Authority, begins, ends) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    @staticmethod
    def _sign(builder: x509.CertificateBuilder, issuer: Authority) -> x509.Certificate:
        raw = isinstance(issuer.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        return builder.sign(issuer.key, None if raw else hashes.SHA256())
