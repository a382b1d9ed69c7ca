"""Name constraints of CAs: which names certificates below may have (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from charon_core.config import dn
from charon_core.config.der import (
    IA5_STRING,
    PRINTABLE_STRING,
    UTF8_STRING,
    DerError,
    encode_oid,
)
from charon_core.credentials.general_names import (
    ADDRESS,
    DIRECTORY,
    DNS,
    EMAIL,
    GeneralName,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charon_core.credentials.certificates import Certificate
    from charon_core.credentials.extensions import NameConstraints

_EMAIL_ATTRIBUTE: Final = encode_oid("1.2.840.113549.1.9.1")
_TEXT_TAGS: Final = frozenset({IA5_STRING, PRINTABLE_STRING, UTF8_STRING})
_EMPTY_NAME: Final = b"\x30\x00"


def violation(certificate: Certificate, constraints: NameConstraints) -> str | None:
    """Return what a certificate's names do against the constraints of a CA above it, or None.

    Names of a kind that constraints exist for, but that cannot be compared here, are refused.
    """
    try:
        return _violation(certificate, constraints)
    except DerError as error:
        return f"a name under name constraints cannot be read: {error}"


def _violation(certificate: Certificate, constraints: NameConstraints) -> str | None:
    for name in _names(certificate):
        matches = _MATCHERS.get(name.tag)
        excluded = [known for known in constraints.excluded if known.tag == name.tag]
        permitted = [known for known in constraints.permitted if known.tag == name.tag]
        if not excluded and not permitted:
            continue
        if matches is None:
            return f"its {name.kind} name is constrained in a way that is not understood"
        if any(matches(name.content, known.content) for known in excluded):
            return f"its {name.kind} name {_show(name)} is excluded"
        if permitted and not any(matches(name.content, known.content) for known in permitted):
            return f"its {name.kind} name {_show(name)} is not among those permitted"
    return None


def _names(certificate: Certificate) -> Iterator[GeneralName]:
    """Yield every name that constraints apply to."""
    subject = certificate.subject.data
    if subject != _EMPTY_NAME:
        yield GeneralName(DIRECTORY, subject)
    alternatives = certificate.extensions.alt_names
    yield from alternatives
    if any(name.tag == EMAIL for name in alternatives):
        return
    # Old certificates have their e-mail address in the subject: the constraints hold there, too.
    for rdn in dn.decode(subject):
        for attribute in rdn:
            if attribute.oid == _EMAIL_ATTRIBUTE:
                if attribute.tag not in _TEXT_TAGS:
                    message = f"e-mail address of string type 0x{attribute.tag:02x} in the subject"
                    raise DerError(message)
                yield GeneralName(EMAIL, attribute.value)


def _show(name: GeneralName) -> str:
    identity = name.identity()
    return f"'{identity}'" if identity is not None else name.content.hex()


def _match_dns(name: bytes, constraint: bytes) -> bool:
    """A constraint covers itself and everything below; with a leading dot only what is below."""
    name, constraint = name.lower().removesuffix(b"."), constraint.lower().removesuffix(b".")
    if not constraint:
        return True
    if constraint.startswith(b"."):
        return name.endswith(constraint) and len(name) > len(constraint)
    return name == constraint or name.endswith(b"." + constraint)


def _match_email(name: bytes, constraint: bytes) -> bool:
    """A constraint is a mailbox, a host, or with a leading dot everything below a domain."""
    name, constraint = name.lower(), constraint.lower()
    if b"@" in constraint:
        return name == constraint
    host = name.rpartition(b"@")[2]
    if constraint.startswith(b"."):
        return host.endswith(constraint)
    return not constraint or host == constraint


def _match_address(name: bytes, constraint: bytes) -> bool:
    size = len(name)
    if len(constraint) != 2 * size:
        return False
    network, mask = constraint[:size], constraint[size:]
    return all(
        octet & bits == base & bits for octet, base, bits in zip(name, network, mask, strict=True)
    )


def _match_directory(name: bytes, constraint: bytes) -> bool:
    """A constraint covers every name that begins with its RDNs."""
    theirs = dn.normalise(dn.decode(name))
    ours = dn.normalise(dn.decode(constraint))
    return theirs[: len(ours)] == ours


_MATCHERS: Final[dict[int, Callable[[bytes, bytes], bool]]] = {
    DNS: _match_dns,
    EMAIL: _match_email,
    ADDRESS: _match_address,
    DIRECTORY: _match_directory,
}
