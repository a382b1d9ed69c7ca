"""A certificate authority with keys of every kind, and the files that either daemon needs."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from tests.interop.tunnels import Side, key_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

    from tests.interop.tunnels import Tunnel

_DAY = dt.timedelta(days=1)

KEY_MAKERS: Mapping[str, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
    "ecdsa256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


@cache
def key(kind: str, owner: str) -> CertificateIssuerPrivateKeyTypes:
    """Return the key of an owner; made once, since that takes time."""
    return KEY_MAKERS[kind]()


def key_pem(kind: str, owner: str) -> bytes:
    """Return an owner's key as a PKCS#8 file."""
    return key(kind, owner).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_pem(kind: str, owner: str) -> bytes:
    """Return an owner's public key as a file."""
    public = key(kind, owner).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Authority:
    """A CA, by default one that both daemons trust."""

    def __init__(
        self,
        name: str = "Interop CA",
        kind: str = "ecdsa256",
        *,
        above: Authority | None = None,
    ) -> None:
        """Make a root, or with an authority `above` an intermediate CA."""
        self._now = dt.datetime.now(dt.UTC)
        self._name = _distinguished_name(name)
        self._key = key(kind, name)
        issuer = above or self
        builder = issuer._builder(self._name, self._key.public_key(), 3650)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=False, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )  # fmt: skip
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
        )
        self.pem = issuer._sign(builder)
        #: The certificates that it has issued, by the name that they are for.
        self.issued: dict[str, x509.Certificate] = {}

    def issue(
        self,
        identity: str,
        kind: str,
        owner: str,
        *,
        padding: int = 0,
        days: int = 365,
        responder: str = "",
        crl: str = "",
    ) -> bytes:
        """Return a certificate for a DNS name, as PEM; `padding` octets make it large.

        `responder` and `crl` are where it says that its revocation is told.
        """
        public = key(kind, owner).public_key()
        names = [x509.DNSName(identity)]
        names += [x509.DNSName(f"{n:04}.{'x' * 50}.example") for n in range(padding // 64)]
        builder = self._builder(_distinguished_name(identity), public, days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            critical=False,
        )
        for extension in _places(responder, crl):
            builder = builder.add_extension(extension, critical=False)
        pem = self._sign(builder)
        self.issued[identity] = x509.load_pem_x509_certificate(pem)
        return pem

    def by_hash(self, digest: str) -> bytes:
        """Return the certificate with this SHA-1 hash, DER; empty if there is none."""
        ders = (certificate.public_bytes(Encoding.DER) for certificate in self.issued.values())
        return next((der for der in ders if sha1(der).hexdigest() == digest), b"")

    def crl(self, *revoked: str) -> bytes:
        """Return a revocation list, DER, with the certificates of these names."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - dt.timedelta(minutes=1))
            .next_update(now + _DAY)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for name in revoked:
            entry = x509.RevokedCertificateBuilder(self.issued[name].serial_number, now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def ocsp(self, request: bytes, *revoked: str) -> bytes:
        """Answer an OCSP request, DER; the certificates of these names are revoked."""
        asked = ocsp.load_der_ocsp_request(request)
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        certificate = next(
            (c for c in self.issued.values() if c.serial_number == asked.serial_number), None
        )
        if certificate is None:
            status = ocsp.OCSPResponseStatus.UNAUTHORIZED
            return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
        is_revoked = any(self.issued[name] == certificate for name in revoked)
        states = ocsp.OCSPCertStatus
        own = x509.load_pem_x509_certificate(self.pem)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=certificate,
                issuer=own,
                algorithm=asked.hash_algorithm,
                cert_status=states.REVOKED if is_revoked else states.GOOD,
                this_update=now - dt.timedelta(minutes=1),
                next_update=now + _DAY,
                revocation_time=now if is_revoked else None,
                revocation_reason=x509.ReasonFlags.superseded if is_revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, own)
        )
        for extension in asked.extensions:
            builder = builder.add_extension(extension.value, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _builder(
        self, subject: x509.Name, public: CertificatePublicKeyTypes, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - 3 * _DAY)
            .not_valid_after(self._now + days * _DAY)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        raw = isinstance(self._key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        return builder.sign(self._key, None if raw else hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a daemon looks for what it needs to prove and to trust."""

    authorities: Path
    certificates: Path
    private_keys: Path
    public_keys: Path


def write_credentials(
    tunnels: Iterable[Tunnel], side: Side, places: Places, authority: Authority
) -> None:
    """Write all files that an end needs for the authentication of these tunnels."""
    for folder in (
        places.authorities,
        places.certificates,
        places.private_keys,
        places.public_keys,
    ):
        folder.mkdir(exist_ok=True, parents=True)
    (places.authorities / "ca.pem").write_bytes(authority.pem)
    for tunnel in tunnels:
        kind = tunnel.key_kind
        if kind:
            private = places.private_keys / f"{kind}.pem"
            private.write_bytes(key_pem(kind, side.name))
            private.chmod(0o600)
        if tunnel.raw:
            for owner in Side:
                file = places.public_keys / key_file(kind, owner)
                file.write_bytes(public_key_pem(kind, owner.name))
        if tunnel.has_certificates:
            issuer = authority
            if tunnel.intermediate:
                issuer = Authority(f"CA of {side.name.lower()}", above=authority)
                (places.authorities / "intermediate.pem").write_bytes(issuer.pem)
            certificate = _certificate(tunnel, side, issuer)
            (places.certificates / f"{tunnel.name}.pem").write_bytes(certificate)


def _certificate(tunnel: Tunnel, side: Side, authority: Authority) -> bytes:
    defect = tunnel.defect if side is tunnel.defective else ""
    issuer = Authority("Another CA") if defect == "untrusted" else authority
    return issuer.issue(
        "somebody-else.test" if defect == "other-name" else tunnel.dns_name(side),
        tunnel.key_kind,
        side.name,
        padding=tunnel.padding,
        days=-1 if defect == "expired" else 365,
        responder=tunnel.ocsp,
        crl=tunnel.crl,
    )


def _places(responder: str, crl: str) -> Iterator[x509.ExtensionType]:
    if responder:
        method = AuthorityInformationAccessOID.OCSP
        place = x509.AccessDescription(method, x509.UniformResourceIdentifier(responder))
        yield x509.AuthorityInformationAccess([place])
    if crl:
        names = [x509.UniformResourceIdentifier(crl)]
        yield x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def _distinguished_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Interop"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
