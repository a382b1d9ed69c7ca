"""References to certificates, bundles, and what is remembered of them."""

from __future__ import annotations

import random
from contextlib import suppress
from hashlib import sha1

import pytest

from charon_core.config.der import encode
from charon_core.credentials.certificates import CertificateError
from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.online import lookup as module
from charon_core.credentials.online.lookup import Reference, read_bundle
from tests.unit.credentials import pki
from tests.unit.credentials.online.servers import Servers

ROOT = pki.authority("C=CH, CN=Root")
LEAF = pki.issue("CN=leaf", ROOT)
URL = "http://certs.test/leaf"


def bundle(*entries: tuple[int, bytes]) -> bytes:
    return encode(0x30, b"".join(encode(tag, content) for tag, content in entries))


@pytest.mark.parametrize("data", [b"", bytes(19), bytes(20), bytes(20) + b"\xff", b"x"])
def test_what_is_no_reference(data: bytes) -> None:
    with pytest.raises(ValueError):
        Reference.read(data, is_bundle=False)


def test_a_bundle_with_lists() -> None:
    data = bundle((0xA0, LEAF.der), (0xA1, pki.crl(ROOT).der), (0xA0, ROOT.der))
    assert read_bundle(data) == (LEAF.certificate, ROOT.certificate)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LEAF.der,
        bundle(),
        bundle((0xA1, pki.crl(ROOT).der)),
        bundle((0xA2, LEAF.der)),
        bundle((0xA0, LEAF.der + b"\0")),
        bundle((0xA0, b"")),
        bundle((0xA0, LEAF.der)) + b"\0",
        bundle(*[(0xA0, LEAF.der)] * 17),
    ],
)
def test_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(CertificateError):
        read_bundle(data)


@pytest.mark.parametrize("seed", range(4))
def test_fuzz(seed: int) -> None:
    chance = random.Random(seed)
    sample = bundle((0xA0, LEAF.der), (0xA1, pki.crl(ROOT).der))
    for _ in range(300):
        data = bytearray(sample)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(CertificateError):
            read_bundle(bytes(data))


def test_failures_are_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [pki.NOW]
    servers = Servers(lambda: now[0])
    lookup = servers.service(CredentialManager()).certificates
    reference = Reference(sha1(LEAF.der).digest(), URL, False)
    told: list[int] = []

    def ask() -> bool:
        errand = lookup.errand(reference)
        if errand is None:
            return False
        errand.begin(lambda: told.append(1))
        servers.work()
        return True

    assert ask()
    assert lookup.find(reference) is None
    assert not ask()
    # Nobody spoils the certificate of another by a URL that leads nowhere.
    servers.answers["http://other.test/"] = LEAF.der
    other = reference._replace(url="http://other.test/")
    lookup.errand(other).begin(lambda: told.append(2))
    servers.work()
    assert lookup.find(reference) == (LEAF.certificate,)
    assert told == [1, 2]
    monkeypatch.setattr(module, "MAX_FOUND", 2)
    monkeypatch.setattr(module, "MAX_FAILED", 2)
    for number in range(5):
        lookup.keep(Reference(bytes((number,)), URL, False), ())
        lookup.fail(Reference(bytes((number,)), URL, False))
    assert len(lookup._found) == len(lookup._failed) == 2
