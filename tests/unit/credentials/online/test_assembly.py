"""All parts together, with real workers, names and a web server on loopback."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from charon_core.credentials.manager import CredentialManager
from charon_core.credentials.memory import MemorySet
from charon_core.credentials.online.assembly import Surroundings, assemble
from charon_core.credentials.revocation import RevocationStatus, check
from charon_core.credentials.sets import AuthorityUris
from charon_core.processing.processor import Processor
from charon_core.settings.revocation import RevocationSettings
from tests.unit.credentials import pki
from tests.unit.credentials.online.server import ok, serving
from tests.unit.credentials.online.test_service import published

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from charon_core.credentials.online.service import RevocationService

TODAY = dt.datetime.now(dt.UTC).timestamp()
ROOT = pki.authority("C=CH, CN=Root", not_before=TODAY - pki.DAY, not_after=TODAY + pki.DAY)


@pytest.fixture
def processor() -> Iterator[Processor]:
    made = Processor(6)
    made.start()
    yield made
    assert made.stop(5.0) == []


class Daemon:
    def __init__(self, processor: Processor, folder: pathlib.Path, **settings: object) -> None:
        self.lines: list[str] = []
        self.credentials = CredentialManager()
        self.configured = MemorySet("configured")
        self.credentials.add(self.configured)
        self.credentials.cache_lists(True)
        surroundings = Surroundings(processor.queue, 6, folder, self.lines.append)
        self.service: RevocationService = assemble(
            RevocationSettings(**settings), self.credentials, surroundings
        )

    def ask(self, leaf: pki.Node) -> RevocationStatus:
        done = threading.Event()
        inquiry = self.service.inquiry(leaf.certificate, ROOT.certificate, listed=False)
        assert inquiry is not None
        inquiry.begin(done.set)
        assert done.wait(10), self.lines
        lists = self.service.lists(ROOT.certificate)
        return check(leaf.certificate, ROOT.certificate, lists, TODAY)[0]


def fresh_list(*revoked: int) -> bytes:
    return pki.crl(ROOT, revoked, this_update=TODAY - 60, next_update=TODAY + pki.DAY).der


def test_a_list_is_fetched_by_name_and_kept(processor: Processor, tmp_path: pathlib.Path) -> None:
    leaf = pki.issue("CN=leaf", ROOT)
    with serving(ok(fresh_list(leaf.x509.serial_number))) as server:
        uris = AuthorityUris(crl=(server.uri("/list", host="localhost"),))
        daemon = Daemon(processor, tmp_path)
        daemon.configured.set_authority_uris("root", ROOT.certificate, uris)
        assert daemon.ask(leaf) is RevocationStatus.REVOKED
        again = Daemon(processor, tmp_path)
        again.configured.set_authority_uris("root", ROOT.certificate, uris)
        assert again.ask(leaf) is RevocationStatus.REVOKED
        assert len(server.requests) == 1, "the second daemon has it from the disk"


def test_a_certificate_does_not_lead_to_this_host(
    processor: Processor, tmp_path: pathlib.Path
) -> None:
    with serving(ok(fresh_list())) as server:
        for host in ("localhost", "127.0.0.1"):
            uri = server.uri("/list", host=host)
            leaf = pki.issue("CN=leaf", ROOT, extensions=published((), (uri,)))
            daemon = Daemon(processor, tmp_path)
            assert daemon.ask(leaf) is RevocationStatus.UNKNOWN
            why = daemon.service.why_unknown(leaf.certificate, ROOT.certificate)
            assert "this host itself" in why
        assert server.requests == []
        daemon = Daemon(processor, tmp_path, addresses="any")
        assert daemon.ask(leaf) is RevocationStatus.GOOD


def test_files_of_the_configuration(processor: Processor, tmp_path: pathlib.Path) -> None:
    (tmp_path / "list.crl").write_bytes(fresh_list())
    leaf = pki.issue("CN=leaf", ROOT)
    daemon = Daemon(processor, tmp_path / "cache")
    uri = (tmp_path / "list.crl").as_uri()
    daemon.configured.set_authority_uris("root", ROOT.certificate, AuthorityUris(crl=(uri,)))
    assert daemon.ask(leaf) is RevocationStatus.GOOD
    named = pki.issue("CN=named", ROOT, extensions=published((), (uri,)))
    other = Daemon(processor, tmp_path / "empty")
    assert other.ask(named) is RevocationStatus.UNKNOWN


def test_a_plugin_fetches_by_another_scheme(processor: Processor, tmp_path: pathlib.Path) -> None:
    daemon = Daemon(processor, tmp_path)
    daemon.credentials.add_fetcher("ldap", lambda request, deadline: fresh_list())
    uri = "ldap://ca.test/cn=CA?certificateRevocationList"
    leaf = pki.issue("CN=leaf", ROOT, extensions=published((), (uri,)))
    assert daemon.ask(leaf) is RevocationStatus.GOOD


def test_peers_may_not_use_what_plugins_fetch(processor: Processor, tmp_path: pathlib.Path) -> None:
    daemon = Daemon(processor, tmp_path)
    daemon.credentials.add_fetcher("ldap", lambda request, deadline: pytest.fail("fetched"))
    from charon_core.credentials.online.lookup import Reference

    errand = daemon.service.certificates.errand(Reference(bytes(20), "ldap://x.test/", False))
    done = threading.Event()
    errand.begin(done.set)
    assert done.wait(10)
    assert any("not supported" in line for line in daemon.lines)


def test_a_daemon_that_asks_nobody_loads_none_of_it() -> None:
    program = "import sys, charon_core.daemon; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "charon_core.daemon" in loaded
    heavy = {"http.client", "ssl", "cryptography.x509"}
    assert not [name for name in loaded if name in heavy or ".credentials.online" in name]
