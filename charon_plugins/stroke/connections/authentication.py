"""Authentication rounds: leftauth and its relatives become `AuthConfig` values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from charon_core.config.identification import Identification
from charon_core.config.peer import AuthClass, AuthConfig, RevocationPolicy
from charon_plugins.stroke.connections import files
from charon_plugins.stroke.connections.ends import items
from charon_plugins.stroke.connections.problems import SettingError
from charon_plugins.stroke.wire.types import CrlPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from charon_core.credentials.certificates import Certificate
    from charon_plugins.stroke.connections.ends import Side
    from charon_plugins.stroke.connections.problems import Problems
    from charon_plugins.stroke.wire.bodies import AddConn

_PSK: Final = frozenset({"psk", "secret"})
_PUBKEY: Final = ("pubkey", "rsa", "ecdsa", "ed25519", "ed448", "mldsa", "ike:")
_EXPECTED: Final = "expected pubkey (with constraints), psk, eap, eap-METHOD, null or any"
_EAP_METHODS: Final = {
    "identity": 1,
    "md5": 4,
    "otp": 5,
    "gtc": 6,
    "tls": 13,
    "sim": 18,
    "ttls": 21,
    "aka": 23,
    "peap": 25,
    "mschapv2": 26,
    "tnc": 38,
    "aka-prime": 50,
    "pt": 54,
}
_EAP_MAX_TYPE: Final = 255
_REVOCATION: Final = {
    CrlPolicy.NO: RevocationPolicy.RELAXED,
    CrlPolicy.YES: RevocationPolicy.STRICT,
    CrlPolicy.IF_URI: RevocationPolicy.IF_URI,
}


class Method(NamedTuple):
    """What an auth setting says."""

    auth_class: AuthClass
    eap_method: tuple[int, int] | None = None
    constraints: tuple[str, ...] = ()


class Round(NamedTuple):
    """The settings of one round, by number: those of the second have a 2 behind their name."""

    number: int
    auth: str | None
    identity: str | None
    cert: str | None
    ca: str | None
    groups: str | None

    @property
    def suffix(self) -> str:
        """What stands behind the names of this round's keywords."""
        return "" if self.number == 1 else str(self.number)


def rounds(side: Side, *, is_local: bool) -> list[Round]:
    """The rounds of one side: one, and a second if it has a method."""
    end = side.end
    found = [Round(1, end.auth, end.id, end.cert, end.ca, end.groups)]
    if end.auth2:
        identity = end.id2 or (end.id if is_local else "%any")
        found.append(Round(2, end.auth2, identity, end.cert2, end.ca2, end.groups2))
    return found


def parse_method(key: str, text: str) -> Method:
    """Take an auth setting apart.

    Raises:
        SettingError: it is none that IKEv2 has, or its constraints have unknown words.
    """
    if text in _PSK:
        return Method(AuthClass.PSK)
    if text == "any":
        return Method(AuthClass.ANY)
    if text == "null":
        return Method(AuthClass.NULL)
    if text.startswith("xauth"):
        raise SettingError(key, text, f"{_EXPECTED}; XAuth is part of IKEv1 only")
    if text == "eap" or text.startswith("eap-"):
        return _eap(key, text)
    if text.startswith(_PUBKEY):
        constraints = () if text == "pubkey" else (text,)
        _check_constraints(key, text, constraints)
        return Method(AuthClass.PUBKEY, constraints=constraints)
    raise SettingError(key, text, _EXPECTED)


def _eap(key: str, text: str) -> Method:
    name, _, rest = text.removeprefix("eap").removeprefix("-").partition(":")
    constraints = (rest,) if rest else ()
    _check_constraints(key, text, constraints)
    if name in ("", "dynamic"):
        return Method(AuthClass.EAP, None, constraints)
    number, dash, vendor = name.partition("-")
    if name in _EAP_METHODS:
        method = _EAP_METHODS[name], 0
    elif number.isdecimal() and (vendor.isdecimal() or not dash) and len(name) <= 16:
        method = int(number), int(vendor or 0)
        if not vendor and method[0] > _EAP_MAX_TYPE:
            raise SettingError(key, text, f"expected an EAP type up to {_EAP_MAX_TYPE}")
    else:
        known = ", ".join(_EAP_METHODS)
        raise SettingError(key, text, f"expected an EAP method: a number, or one of {known}")
    return Method(AuthClass.EAP, method, constraints)


def _check_constraints(key: str, text: str, constraints: tuple[str, ...]) -> None:
    """Refuse words that nobody obeys: what was meant to restrict must not be passed over."""
    if not constraints:
        return
    from charon_core.credentials.constraints import parse_constraints

    unknown = parse_constraints(constraints).unknown
    if unknown:
        raise SettingError(
            key, text, f"expected KEYTYPE[-BITS][-HASH...]; unknown: {', '.join(unknown)}"
        )


class AuthBuilder:
    """Builds the rounds of one connection."""

    def __init__(
        self, connection: AddConn, certs: Path, problems: Problems, certificates: list[Certificate]
    ) -> None:
        """Prepare.

        Args:
            connection: the message.
            certs: folder of the files that connections name.
            problems: takes what is wrong or odd.
            certificates: takes those that the connection names, intermediates among them.
        """
        self._connection = connection
        self._certs = certs
        self._problems = problems
        self._certificates = certificates

    def build(self, side: Side, *, is_local: bool) -> tuple[AuthConfig, ...]:
        """The rounds of one side.

        Raises:
            IncompleteError: the complaints have been gathered.
        """
        parts = {
            item.suffix: partial(self._round, side, item, is_local)
            for item in rounds(side, is_local=is_local)
        }
        return tuple(self._problems.gather(parts).values())

    def _round(self, side: Side, item: Round, is_local: bool) -> AuthConfig:
        method = parse_method(side.key(f"auth{item.suffix}"), item.auth or "pubkey")
        identity, is_loose = self._identity(side, item, is_local)
        key = side.key(f"cert{item.suffix}")
        bundles = files.certificates(key, item.cert, self._certs)
        for bundle in bundles:
            self._certificates += bundle
        if bundles:
            identity = self._confirmed(side, item, identity, [bundle[0] for bundle in bundles])
        raw_key = None
        if item.number == 1:
            raw_key = files.public_key(side.key("sigkey"), side.end.rsakey, self._certs)
        # Our own intermediates are sent; the peer is pinned to end entities.
        sent = [c.der for bundle in bundles for c in (bundle if is_local else bundle[:1])]
        is_eap = method.auth_class is AuthClass.EAP
        return AuthConfig(
            auth_class=method.auth_class,
            identity=identity,
            loose_identity=is_loose and not is_local,
            eap_method=method.eap_method,
            eap_identity=self._other_identity("eap_identity") if is_eap else None,
            aaa_identity=self._other_identity("aaa_identity") if is_eap else None,
            certificates=tuple(sent),
            public_keys=() if raw_key is None else (raw_key.spki,),
            ca=_parse_identity(side.key(f"ca{item.suffix}"), item.ca) if item.ca else None,
            signature_constraints=method.constraints,
            groups=items(item.groups),
            cert_policies=items(side.end.cert_policy),
            revocation=self._revocation(),
        )

    def _identity(self, side: Side, item: Round, is_local: bool) -> tuple[Identification, bool]:
        """Identity of a round, and whether it was written with a %: any that is confirmed."""
        text = item.identity
        if not text:
            if not is_local and len(side.addresses) > 1:
                self._problems.note(
                    f"{side.word} has several addresses and {side.key('id')} is not set: "
                    "any identity is accepted from them"
                )
            return _address_identity(side, is_local), False
        is_loose = text.startswith("%") and text not in ("%any", "%any6")
        key = side.key(f"id{item.suffix}")
        return _parse_identity(key, text.removeprefix("%") if is_loose else text), is_loose

    def _confirmed(
        self, side: Side, item: Round, identity: Identification, own: list[Certificate]
    ) -> Identification:
        """The identity, or the first certificate's subject if no certificate has that identity."""
        if not identity.is_any and any(certificate.has_identity(identity) for certificate in own):
            return identity
        subject = own[0].subject
        if item.identity:
            self._problems.note(
                f"{side.key('id' + item.suffix)} = {item.identity!r} is not confirmed by the "
                f"certificate, '{subject}' is used instead"
            )
        return subject

    def _other_identity(self, name: str) -> Identification | None:
        value: str | None = getattr(self._connection, name)
        if not value:
            return None
        return Identification.any() if value == "%identity" else _parse_identity(name, value)

    def _revocation(self) -> RevocationPolicy:
        policy = self._connection.crl_policy
        try:
            return _REVOCATION[CrlPolicy(policy)]
        except ValueError:
            raise SettingError("strictcrlpolicy", policy, "expected no, yes or ifuri") from None


def _address_identity(side: Side, is_local: bool) -> Identification:
    """What an end without id is called: by its address or host name, if it has exactly one.

    A peer with a network or range may have any identity that is an address in it.
    """
    if len(side.addresses) != 1:
        return Identification.any()
    (address,) = side.addresses
    if address.startswith("%") or (is_local and "/" in address):
        return Identification.any()
    identity = _parse_identity(side.word, address)
    return Identification.any() if is_local and identity.is_pattern else identity


def _parse_identity(key: str, text: str) -> Identification:
    try:
        return Identification.parse(text)
    except ValueError as error:
        raise SettingError(key, text, f"expected an identity: {error}") from None
