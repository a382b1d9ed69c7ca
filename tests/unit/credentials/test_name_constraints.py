"""Name constraints: which names a CA lets pass (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

import pytest

from charon_core.config import der, dn
from charon_core.credentials.certificates import Certificate
from charon_core.credentials.extensions import NameConstraints
from charon_core.credentials.general_names import DIRECTORY, EMAIL, GeneralName
from charon_core.credentials.name_constraints import violation
from tests.unit.credentials import pki
from tests.unit.credentials.test_certificates import Parts

MATCHES = [
    # constraint, name, covered
    ("dns:example.org", "dns:example.org", True),
    ("dns:example.org", "dns:MOON.Example.ORG", True),
    ("dns:example.org", "dns:a.b.example.org", True),
    ("dns:example.org", "dns:example.org.", True),
    ("dns:example.org", "dns:evilexample.org", False),
    ("dns:example.org", "dns:example.org.evil.com", False),
    ("dns:.example.org", "dns:moon.example.org", True),
    ("dns:.example.org", "dns:example.org", False),
    ("dns:.example.org", "dns:moon.example.com", False),
    ("dns:.example.org", "dns:.example.org", False),
    ("email:carol@example.org", "email:Carol@example.org", True),
    ("email:carol@example.org", "email:dave@example.org", False),
    ("email:example.org", "email:carol@example.org", True),
    ("email:example.org", "email:carol@sub.example.org", False),
    ("email:.example.org", "email:carol@sub.example.org", True),
    ("email:.example.org", "email:carol@example.org", False),
    ("ip:10.0.0.0/8", "ip:10.255.0.1", True),
    ("ip:10.0.0.0/8", "ip:11.0.0.1", False),
    ("ip:10.0.0.0/8", "ip:fec0::1", False),
    ("ip:fec0::/16", "ip:fec0:1::1", True),
    ("ip:0.0.0.0/0", "ip:10.0.0.1", True),
    ("dn:C=CH, O=Test", "dn:C=CH, O=test, CN=x", True),
    ("dn:C=CH, O=Test", "dn:C=CH, O=Test", True),
    ("dn:C=CH, O=Test", "dn:C=CH", False),
    ("dn:C=CH, O=Test", "dn:O=Test, C=CH", False),
    ("dn:C=CH, O=Test", "dn:C=CH, O=Tester, CN=x", False),
]


def constraints(permitted=(), excluded=()):
    """As they come out of a CA certificate."""
    made = pki.authority("CN=ca", permitted=permitted, excluded=excluded)
    return made.certificate.extensions.name_constraints


def named(*names, subject="CN=x"):
    return pki.issue(subject, names=names).certificate


@pytest.mark.parametrize(("constraint", "name", "covered"), MATCHES)
def test_matching(constraint, name, covered):
    # The subject is a directory name: it has to fit, too, where those are constrained.
    subject = "" if constraint.startswith("dn:") else "CN=x"
    certificate = named(name, subject=subject)
    permitted = violation(certificate, constraints(permitted=(constraint,)))
    excluded = violation(certificate, constraints(excluded=(constraint,)))
    assert (permitted is None) == covered
    assert (excluded is None) == (not covered)


def test_messages_name_what_is_wrong():
    only = constraints(permitted=("dns:example.org",))
    assert violation(named("dns:evil.com"), only) == (
        "its DNS name 'evil.com' is not among those permitted"
    )
    never = constraints(excluded=("ip:10.0.0.0/8",))
    assert violation(named("ip:10.0.0.1"), never) == "its IP address name '10.0.0.1' is excluded"


def test_other_kinds_of_names_are_free():
    only = constraints(permitted=("dns:example.org",))
    free = named("email:a@evil.com", "ip:10.0.0.1", "uri:http://evil.com/", "other:")
    assert violation(free, only) is None
    assert violation(named(), only) is None


def test_every_name_must_fit():
    only = constraints(permitted=("dns:example.org", "dns:example.com"))
    assert violation(named("dns:a.example.org", "dns:b.example.com"), only) is None
    assert violation(named("dns:a.example.org", "dns:evil.com"), only) is not None


def test_excluded_wins_over_permitted():
    both = constraints(permitted=("dns:example.org",), excluded=("dns:secret.example.org",))
    assert violation(named("dns:moon.example.org"), both) is None
    assert "excluded" in violation(named("dns:x.secret.example.org"), both)


def test_the_subject_counts_as_directory_name():
    only = constraints(permitted=("dn:C=CH",))
    assert violation(named(subject="C=CH, CN=x"), only) is None
    assert "directory" in violation(named(subject="C=DE, CN=x"), only)
    assert violation(named("dns:x", subject=""), only) is None


@pytest.mark.parametrize("name", ["dns:evil.com", "email:a@evil.com"])
def test_empty_constraints_cover_everything(name):
    certificate = named(name)
    tag = certificate.extensions.alt_names[0].tag
    assert violation(certificate, NameConstraints((GeneralName(tag, b""),), ())) is None
    assert violation(certificate, NameConstraints((), (GeneralName(tag, b""),))) is not None


def test_the_empty_directory_name_covers_everything():
    everything = NameConstraints((GeneralName(0xA4, b"\x30\x00"),), ())
    assert violation(named(subject="C=DE, CN=x"), everything) is None


@pytest.mark.parametrize("kind", ["uri:http://example.org/", "other:"])
def test_what_is_not_understood_is_refused(kind):
    """Class 8: constraints that cannot be compared fail closed."""
    name = pki.issue("CN=x", names=(kind,)).certificate
    tag = name.extensions.alt_names[0].tag
    for limits in (
        NameConstraints((GeneralName(tag, b"x"),), ()),
        NameConstraints((), (GeneralName(tag, b"x"),)),
    ):
        assert "not understood" in violation(name, limits)
        assert violation(named("dns:x"), limits) is None


class TestEmailInTheSubject:
    only = NameConstraints((), (GeneralName(EMAIL, b"evil.com"),))

    def test_it_is_constrained(self):
        assert "excluded" in violation(named(subject="CN=x, E=a@evil.com"), self.only)
        assert violation(named(subject="CN=x, E=a@good.com"), self.only) is None

    def test_alternative_names_take_its_place(self):
        certificate = named("email:a@good.com", subject="CN=x, E=a@evil.com")
        assert violation(certificate, self.only) is None

    def test_other_string_types_do_not_hide_it(self):
        parts = Parts()
        email = dn.Attribute(
            der.encode_oid("1.2.840.113549.1.9.1"), der.BMP_STRING, "a@evil.com".encode("utf-16-be")
        )
        parts.subject = dn.encode(((email,),))
        assert "cannot be read" in violation(Certificate(parts.der()), self.only)


def test_malformed_constraints_are_refused():
    malformed = GeneralName(DIRECTORY, bytes.fromhex("30023000"))
    for limits in (NameConstraints((malformed,), ()), NameConstraints((), (malformed,))):
        assert "cannot be read" in violation(named(subject="C=CH, CN=x"), limits)
