"""What is learned from servers, what is not believed, and what is remembered of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.memory import MemorySet
from charon_core.credentials.online import knowledge as knowledge_module
from charon_core.credentials.online.desk import MAX_WAITING
from charon_core.credentials.online.disk import DiskCache
from charon_core.credentials.online.knowledge import (
    CertificateKey,
    FetchedList,
    IssuerKey,
    Knowledge,
    Way,
)
from charon_core.credentials.online.ocsp import OcspStatus
from charon_core.credentials.online.request import Failure, FetchError
from charon_core.credentials.online.service import MAX_PLACES, RevocationOptions
from charon_core.credentials.revocation import RevocationStatus, check
from charon_core.credentials.sets import AuthorityUris
from tests.unit.credentials import pki
from tests.unit.credentials.online.responder import refusal, response
from tests.unit.credentials.online.servers import Servers
from tests.unit.credentials.pki import DAY, NOW, Node

if TYPE_CHECKING:
    import pathlib

    from charon_core.credentials.online.service import RevocationService

OCSP, CRL = "http://ocsp.test/", "http://crl.test/root.crl"


def published(ocsp: tuple[str, ...] = (), crl: tuple[str, ...] = ()) -> tuple:
    found = []
    if ocsp:
        method = x509.oid.AuthorityInformationAccessOID.OCSP
        found.append(
            x509.AuthorityInformationAccess(
                [x509.AccessDescription(method, pki.general(f"uri:{uri}")) for uri in ocsp]
            )
        )
    if crl:
        names = [pki.general(f"uri:{uri}") for uri in crl]
        found.append(x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]))
    return tuple((extension, False) for extension in found)


ROOT = pki.authority("C=CH, CN=Root")
BOTH = pki.issue("CN=both", ROOT, extensions=published((OCSP,), (CRL,)))
LISTED = pki.issue("CN=listed", ROOT, extensions=published((), (CRL,)))
PLAIN = pki.issue("CN=plain", ROOT)


class Lab:
    """A service with its servers and a clock."""

    def __init__(self, **options: object) -> None:
        self.now = NOW
        self.servers = Servers(lambda: self.now, options=RevocationOptions(**options))
        self.credentials = CredentialManager()
        self.configured = MemorySet("configured")
        self.credentials.add(self.configured)
        self.service: RevocationService = self.servers.service(self.credentials)
        self.told = 0

    def ask(self, leaf: Node = BOTH, *, listed: bool = False) -> bool:
        """Ask if there is something to ask; tells whether there was."""
        inquiry = self.service.inquiry(leaf.certificate, ROOT.certificate, listed=listed)
        if inquiry is None:
            return False
        inquiry.begin(self._on_done)
        self.servers.work()
        return True

    def _on_done(self) -> None:
        self.told += 1

    def status(self, leaf: Node = BOTH) -> RevocationStatus:
        said = self.service.status(leaf.certificate, ROOT.certificate)
        if said is not None:
            return RevocationStatus.REVOKED if said.is_revoked else RevocationStatus.GOOD
        lists = self.service.lists(ROOT.certificate)
        return check(leaf.certificate, ROOT.certificate, lists, self.now)[0]

    def why(self, leaf: Node = BOTH) -> str:
        return self.service.why_unknown(leaf.certificate, ROOT.certificate)


# -- order ------------------------------------------------------------------------------------


def test_ocsp_is_enough() -> None:
    lab = Lab()
    lab.servers.answers = {OCSP: response(BOTH, ROOT), CRL: pki.crl(ROOT).der}
    assert lab.ask()
    assert lab.servers.asked == [OCSP]
    assert lab.status() is RevocationStatus.GOOD
    assert lab.told == 1
    (request,) = lab.servers.requests
    assert request.content_type == "application/ocsp-request"
    assert request.body


@pytest.mark.parametrize(
    "answer",
    [
        FetchError(Failure.TIMEOUT, "no answer"),
        b"<html>no</html>",
        refusal(__import__("cryptography.x509.ocsp", fromlist=["x"]).OCSPResponseStatus.TRY_LATER),
        response(BOTH, ROOT, "unknown"),
        response(PLAIN, ROOT),
        response(BOTH, ROOT, nonce=bytes(32)),
        response(BOTH, ROOT, next_update=NOW - DAY, this_update=NOW - 2 * DAY),
    ],
    ids=["dead", "html", "later", "unknown", "other", "replay", "old"],
)
def test_lists_are_fetched_where_ocsp_tells_nothing(answer: bytes) -> None:
    lab = Lab()
    lab.servers.answers = {OCSP: answer, CRL: pki.crl(ROOT).der}
    assert lab.ask()
    assert lab.servers.asked == [OCSP, CRL]
    assert lab.status() is RevocationStatus.GOOD
    # OCSP is left alone for a while, since a list is there.
    assert not lab.ask(listed=True)
    lab.now += 31
    assert lab.ask(listed=True)
    assert lab.servers.asked == [OCSP, CRL, OCSP]


def test_configured_places_come_first() -> None:
    lab = Lab()
    uris = AuthorityUris(crl=("http://own.test/crl",), ocsp=("http://127.0.0.1/ocsp",))
    lab.configured.set_authority_uris("root", ROOT.certificate, uris)
    assert lab.ask()
    assert lab.servers.asked == ["http://127.0.0.1/ocsp", OCSP, "http://own.test/crl", CRL]
    assert [request.configured for request in lab.servers.requests] == [True, False, True, False]
    assert lab.ask(PLAIN), "they are for all certificates of the CA"
    lab.configured.drop_authority_uris("root")
    other = pki.issue("CN=other", ROOT)
    assert not lab.ask(other)


def test_nobody_to_ask() -> None:
    assert not Lab().ask(PLAIN)


def test_places_are_bounded() -> None:
    many = tuple(f"http://crl{number}.test/" for number in range(50))
    leaf = pki.issue("CN=many", ROOT, extensions=published((), many))
    lab = Lab()
    assert lab.ask(leaf)
    assert lab.servers.asked == list(many[:MAX_PLACES])


@pytest.mark.parametrize("scheme", ["ldap", "ftp"])
def test_schemes_that_nobody_has(scheme: str) -> None:
    leaf = pki.issue("CN=leaf", ROOT, extensions=published((), (f"{scheme}://ca.test/cn=CA",)))
    lab = Lab()
    assert lab.ask(leaf)
    assert f"'{scheme}:' is not supported; publish it by http" in lab.why(leaf)


# -- what is not believed ---------------------------------------------------------------------

OTHER = pki.authority("C=CH, CN=Other")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html>", "not a revocation list"),
        (b"", "nothing came"),
        (pki.crl(OTHER).der, "it is of 'C=CH, CN=Other'"),
        (pki.crl(ROOT, private=pki.key(owner="mallory")).der, "not signed by"),
        (pki.crl(ROOT, next_update=NOW - 1).der, "has expired"),
        (
            pki.crl(
                ROOT,
                extensions=(
                    (
                        x509.IssuingDistributionPoint(
                            None, None, only_contains_ca_certs=True,
                            only_contains_user_certs=False, only_some_reasons=None,
                            indirect_crl=False, only_contains_attribute_certs=False,
                        ),
                        True,
                    ),
                ),
            ).der,
            "not understood",
        ),
    ],
    ids=["html", "empty", "other-ca", "forged", "expired", "partial"],
)  # fmt: skip
def test_lists_that_do_not_count(data: bytes, reason: str) -> None:
    lab = Lab()
    lab.servers.answers = {CRL: data}
    assert lab.ask(LISTED)
    assert lab.status(LISTED) is RevocationStatus.UNKNOWN
    assert reason in lab.why(LISTED)
    assert CRL in lab.why(LISTED)
    assert any(CRL in line and reason in line for line in lab.servers.lines)


def test_a_forged_list_does_not_displace_the_right_one() -> None:
    lab = Lab()
    serial = LISTED.x509.serial_number
    lab.servers.answers = {CRL: pki.crl(ROOT, (serial,), next_update=NOW + 60).der}
    assert lab.ask(LISTED)
    lab.now += 61
    forged = pki.crl(ROOT, number=99, private=pki.key(owner="mallory"), next_update=NOW + 9 * DAY)
    lab.servers.answers = {CRL: forged.der}
    lab.ask(LISTED)
    assert lab.status(LISTED) is RevocationStatus.REVOKED


def test_an_older_list_does_not_displace_a_newer_one() -> None:
    lab = Lab()
    serial = LISTED.x509.serial_number
    lab.servers.answers = {CRL: pki.crl(ROOT, (serial,), number=2, next_update=NOW + 60).der}
    assert lab.ask(LISTED)
    lab.now += 61
    lab.servers.answers = {CRL: pki.crl(ROOT, number=1).der}
    lab.ask(LISTED)
    assert lab.status(LISTED) is RevocationStatus.REVOKED


def test_a_replay_does_not_take_a_revocation_back() -> None:
    lab = Lab()
    earlier = response(BOTH, ROOT, this_update=NOW - 3600)
    lab.servers.answers = {OCSP: response(BOTH, ROOT, "revoked", next_update=NOW + 60)}
    assert lab.ask()
    lab.now += 400
    assert lab.status() is RevocationStatus.REVOKED
    lab.servers.answers = {OCSP: earlier}
    assert lab.ask()
    assert lab.status() is RevocationStatus.REVOKED
    assert "older answer" in lab.why()
    # One that is newer does: the certificate was only on hold.
    lab.now += 60
    lab.servers.answers = {OCSP: response(BOTH, ROOT, this_update=NOW)}
    assert lab.ask()
    assert lab.status() is RevocationStatus.GOOD


def test_lists_as_pem() -> None:
    lab = Lab()
    made = x509.load_der_x509_crl(pki.crl(ROOT).der)
    lab.servers.answers = {CRL: made.public_bytes(Encoding.PEM)}
    assert lab.ask(LISTED)
    assert lab.status(LISTED) is RevocationStatus.GOOD


# -- remembering ------------------------------------------------------------------------------


def test_one_list_serves_all_certificates_of_a_ca() -> None:
    lab = Lab()
    lab.servers.answers = {CRL: pki.crl(ROOT).der}
    others = [pki.issue(f"CN={n}", ROOT, extensions=published((), (CRL,))) for n in range(3)]
    inquiries = [
        lab.service.inquiry(leaf.certificate, ROOT.certificate, listed=False) for leaf in others
    ]
    for inquiry in inquiries:
        inquiry.begin(lab._on_done)
    lab.servers.work()
    assert lab.told == 3
    assert lab.servers.asked == [CRL]


def test_failures_cost_ever_more_patience() -> None:
    lab = Lab()
    for delay in (30, 60, 120):
        assert lab.ask(LISTED)
        assert not lab.ask(LISTED)
        lab.now += delay - 1
        assert not lab.ask(LISTED)
        lab.now += 1.5
    lab.service.flush()
    assert lab.ask(LISTED)


def test_turned_away_at_the_desk() -> None:
    lab = Lab()
    for number in range(MAX_WAITING):
        lab.service.desk.ask(number, "x", lambda: None, lambda: None)
    inquiry = lab.service.inquiry(BOTH.certificate, ROOT.certificate, listed=False)
    inquiry.begin(lab._on_done)
    assert lab.told == 1
    assert "too many servers" in lab.why()
    assert lab.service.inquiry(BOTH.certificate, ROOT.certificate, listed=False) is None
    lab.servers.work()
    lab.now += 1.1
    lab.servers.answers = {OCSP: response(BOTH, ROOT)}
    assert lab.ask()
    assert lab.why() == ""


def test_flush() -> None:
    lab = Lab()
    lab.servers.answers = {OCSP: response(BOTH, ROOT), CRL: pki.crl(ROOT).der}
    lab.ask()
    lab.ask(LISTED)
    lab.service.flush(statuses=True)
    assert lab.service.status(BOTH.certificate, ROOT.certificate) is None
    assert lab.service.lists(ROOT.certificate)
    lab.service.flush(lists=True)
    assert lab.service.lists(ROOT.certificate) == []


def test_lists_are_refreshed_before_they_expire() -> None:
    lab = Lab(refresh=3600.0)
    lab.servers.answers = {CRL: pki.crl(ROOT, next_update=NOW + 7200).der}
    lab.ask(LISTED)
    lab.service.refresh_lists()
    assert lab.servers.jobs == []
    lab.now += 3601
    lab.servers.answers = {CRL: pki.crl(ROOT, number=2, next_update=NOW + 14400).der}
    lab.service.refresh_lists()
    lab.service.refresh_lists()
    lab.servers.work()
    assert lab.servers.asked == [CRL, CRL]
    assert lab.service.lists(ROOT.certificate)[0].number == 2
    lab.now += 7200
    lab.servers.answers = {}
    lab.service.refresh_lists()
    lab.servers.work()
    assert any("stays as it is" in line for line in lab.servers.lines)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_STATUSES", "MAX_REFUSALS", "MAX_LISTS"):
        monkeypatch.setattr(knowledge_module, name, 3)
    known = Knowledge()
    issuer = IssuerKey(b"name", b"key")
    crl = pki.crl(ROOT)
    for number in range(10):
        key = CertificateKey(issuer, bytes((number,)))
        known.keep_status(key, OcspStatus(False, "", NOW, NOW))
        known.keep_refusal((key, Way.LIST), "x", NOW, retry=1, limit=2)
        known.keep_list(IssuerKey(bytes((number,)), b""), FetchedList(crl, None))
    assert len(known._statuses) == len(known._lists) == 3
    assert len(known._refusals) == 3
    monkeypatch.setattr(knowledge_module, "MAX_LIST_OCTETS", len(crl.der))
    known.keep_list(IssuerKey(b"last", b""), FetchedList(crl, None))
    assert [key[0].name for key in known._lists] == [b"last"]


# -- the disk ---------------------------------------------------------------------------------


class TestDisk:
    def cache(self, folder: pathlib.Path) -> tuple[DiskCache, list[str]]:
        lines: list[str] = []
        return DiskCache(folder, 1 << 20, lines.append), lines

    def lab(self, folder: pathlib.Path) -> Lab:
        lab = Lab()
        lab.service.disk = DiskCache(folder, 1 << 20, lab.servers.lines.append)
        return lab

    def test_lists_outlive_the_daemon(self, tmp_path: pathlib.Path) -> None:
        folder = tmp_path / "new" / "crls"
        lab = self.lab(folder)
        lab.servers.answers = {CRL: pki.crl(ROOT).der}
        lab.ask(LISTED)
        (file,) = folder.iterdir()
        key = x509.SubjectKeyIdentifier.from_public_key(ROOT.private.public_key())
        assert file.name == f"{key.digest.hex()}.crl"
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        later = self.lab(folder)
        assert later.ask(LISTED)
        assert later.servers.asked == []
        assert later.status(LISTED) is RevocationStatus.GOOD

    def test_what_lies_there_is_verified(self, tmp_path: pathlib.Path) -> None:
        cache, _ = self.cache(tmp_path)
        forged = pki.crl(ROOT, private=pki.key(owner="mallory"))
        cache.save(ROOT.certificate, forged)
        lab = self.lab(tmp_path)
        lab.ask(LISTED)
        assert lab.status(LISTED) is RevocationStatus.UNKNOWN
        assert lab.servers.asked == [CRL]
        assert any("not signed by" in line for line in lab.servers.lines)

    def test_rubbish_and_links_are_not_used(self, tmp_path: pathlib.Path) -> None:
        cache, lines = self.cache(tmp_path)
        cache.save(ROOT.certificate, pki.crl(ROOT))
        (file,) = tmp_path.iterdir()
        good = file.read_bytes()
        file.write_bytes(b"rubbish")
        assert cache.load(ROOT.certificate) == []
        file.unlink()
        (tmp_path / "elsewhere").write_bytes(good)
        file.symlink_to(tmp_path / "elsewhere")
        assert cache.load(ROOT.certificate) == []
        assert len(lines) == 3
        # Written over it is the link, not what it leads to.
        cache.save(ROOT.certificate, pki.crl(ROOT, number=2))
        assert not file.is_symlink()
        assert (tmp_path / "elsewhere").read_bytes() == good

    def test_a_link_in_place_of_the_temporary_file(self, tmp_path: pathlib.Path) -> None:
        cache, _ = self.cache(tmp_path)
        cache.save(ROOT.certificate, pki.crl(ROOT))
        (file,) = tmp_path.iterdir()
        (tmp_path / f".{file.name}.new").symlink_to("/etc/passwd.test")
        cache.save(ROOT.certificate, pki.crl(ROOT, number=2))
        (loaded,) = cache.load(ROOT.certificate)
        assert loaded.number == 2
        assert list(tmp_path.iterdir()) == [file]

    def test_a_folder_that_everybody_may_write_to(self, tmp_path: pathlib.Path) -> None:
        tmp_path.chmod(0o777)
        cache, lines = self.cache(tmp_path)
        cache.save(ROOT.certificate, pki.crl(ROOT))
        assert list(tmp_path.iterdir()) == []
        assert "writable by everybody" in lines[0]

    def test_a_folder_that_cannot_be_made(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "file").touch()
        cache, lines = self.cache(tmp_path / "file" / "crls")
        cache.save(ROOT.certificate, pki.crl(ROOT))
        assert "CRL is not cached" in lines[0]

    def test_files_are_bounded(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("charon_core.credentials.online.disk.MAX_FILES", 1)
        cache, lines = self.cache(tmp_path)
        cache.save(ROOT.certificate, pki.crl(ROOT))
        cache.save(OTHER.certificate, pki.crl(OTHER))
        cache.save(ROOT.certificate, pki.crl(ROOT, number=2))
        assert len(list(tmp_path.iterdir())) == 1
        assert any("files already" in line for line in lines)

    def test_delta_lists_lie_beside(self, tmp_path: pathlib.Path) -> None:
        cache, _ = self.cache(tmp_path)
        cache.save(ROOT.certificate, pki.crl(ROOT))
        cache.save(ROOT.certificate, pki.crl(ROOT, number=2, base=1))
        assert sum(name.endswith("_delta.crl") for name in os.listdir(tmp_path)) == 1
        assert [crl.is_delta for crl in cache.load(ROOT.certificate)] == [False, True]
