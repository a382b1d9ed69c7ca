"""Certificate authorities for tests: keys are made once, certificates as a test wants them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from charon_core.config import dn
from charon_core.config.identification import Identification
from charon_core.config.peer import AuthConfig
from charon_core.credentials.certificates import Certificate
from charon_core.credentials.crls import Crl
from charon_core.credentials.keys import PrivateKey, PublicKey

NOW = 1_800_000_000.0
DAY = 86400.0
YEAR = 365 * DAY

_MAKERS = {
    "ec256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ec384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ec192": lambda: ec.generate_private_key(ec.SECP192R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa2048e3": lambda: rsa.generate_private_key(3, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


@cache
def key(kind: str = "ec256", owner: str = ""):
    """A key of an owner, the same in all tests."""
    return _MAKERS[kind]()


def moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def name(text: str) -> x509.Name:
    """A written distinguished name, for the library."""
    if not text:
        return x509.Name([])
    rdns = []
    for rdn in dn.decode(dn.parse(text)):
        attribute = rdn[0]
        kind = x509.name._ASN1Type(attribute.tag)
        dotted = dn.der.decode_oid(attribute.oid)
        rdns.append(
            x509.NameAttribute(
                x509.ObjectIdentifier(dotted), attribute.value.decode(), kind, _validate=False
            )
        )
    return x509.Name(rdns)


def general(text: str) -> x509.GeneralName:
    """``dns:``, ``email:``, ``ip:``, ``uri:`` or ``dn:`` and the name."""
    kind, _, value = text.partition(":")
    if kind == "ip":
        import ipaddress

        if "/" in value:
            return x509.IPAddress(ipaddress.ip_network(value))
        return x509.IPAddress(ip_address(value))
    if kind == "dn":
        return x509.DirectoryName(name(value))
    if kind == "other":
        return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01x")
    classes = {
        "dns": x509.DNSName,
        "email": x509.RFC822Name,
        "uri": x509.UniformResourceIdentifier,
    }
    return classes[kind](value)


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def usage(*words: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{word: word in words for word in USAGES})


@dataclass(frozen=True)
class Node:
    """A certificate with its private key."""

    certificate: Certificate
    x509: x509.Certificate
    private: object

    @property
    def der(self) -> bytes:
        return self.certificate.der

    @property
    def private_key(self) -> PrivateKey:
        return PrivateKey(self.private)

    @property
    def public_key(self) -> PublicKey:
        return self.certificate.public_key


def issue(
    subject: str,
    issuer: Node | None = None,
    *,
    kind: str = "ec256",
    owner: str | None = None,
    private: object = None,
    ca: bool | None = None,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    names: tuple[str, ...] = (),
    not_before: float = NOW - YEAR,
    not_after: float = NOW + YEAR,
    permitted: tuple[str, ...] = (),
    excluded: tuple[str, ...] = (),
    policies: tuple[str, ...] = (),
    purposes: tuple[str, ...] = (),
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    key_ids: bool = True,
    digest: hashes.HashAlgorithm | None = None,
    serial: int | None = None,
    issuer_name: str | None = None,
) -> Node:
    """Issue a certificate; without issuer it signs itself. CAs are made by `authority`."""
    private = private or key(kind, owner if owner is not None else subject)
    signer = issuer.private if issuer else private
    signer_name = issuer.x509.subject if issuer else name(subject)
    if issuer_name is not None:
        signer_name = name(issuer_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(signer_name)
        .public_key(private.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(moment(not_before))
        .not_valid_after(moment(not_after))
    )
    if ca is not None:
        basic = x509.BasicConstraints(ca=ca, path_length=path_length)
        builder = builder.add_extension(basic, critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if names:
        alternatives = x509.SubjectAlternativeName([general(text) for text in names])
        builder = builder.add_extension(alternatives, critical=not subject)
    if permitted or excluded:
        constraints = x509.NameConstraints(
            [general(text) for text in permitted] or None,
            [general(text) for text in excluded] or None,
        )
        builder = builder.add_extension(constraints, critical=True)
    if policies:
        information = [x509.PolicyInformation(x509.ObjectIdentifier(p), None) for p in policies]
        builder = builder.add_extension(x509.CertificatePolicies(information), critical=False)
    if purposes:
        extended = x509.ExtendedKeyUsage([x509.ObjectIdentifier(p) for p in purposes])
        builder = builder.add_extension(extended, critical=True)
    if key_ids:
        own = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
        theirs = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(own, critical=False)
        builder = builder.add_extension(theirs, critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    edwards = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    made = builder.sign(signer, None if edwards else digest or hashes.SHA256())
    return Node(Certificate(made.public_bytes(Encoding.DER)), made, private)


def authority(subject: str, issuer: Node | None = None, **fields) -> Node:
    """Issue the certificate of a CA."""
    fields.setdefault("ca", True)
    fields.setdefault("key_usage", usage("key_cert_sign", "crl_sign"))
    return issue(subject, issuer, **fields)


def spki(private) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def crl(
    issuer: Node,
    revoked: tuple[int, ...] = (),
    *,
    number: int = 1,
    base: int | None = None,
    this_update: float = NOW - DAY,
    next_update: float | None = NOW + DAY,
    reason: x509.ReasonFlags | None = None,
    private: object = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    digest: hashes.HashAlgorithm | None = None,
) -> Crl:
    """A revocation list of a CA, signed by it unless another key is given."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.x509.subject)
        .last_update(moment(this_update))
        .next_update(moment(next_update or NOW + DAY))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private.public_key()),
            critical=False,
        )
    )
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for serial in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(moment(this_update))
        )
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    made = builder.sign(private or issuer.private, digest or hashes.SHA256())
    return Crl(made.public_bytes(Encoding.DER))


def demands(identity: str = "%any", **fields) -> AuthConfig:
    """What a connection demands of the peer."""
    return AuthConfig(identity=Identification.parse(identity), **fields)
