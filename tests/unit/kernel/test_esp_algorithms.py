"""What of proposals is left where a backend lacks algorithms, and which it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from charon_core.config.keywords import parse_proposals
from charon_core.config.proposal import ENCR, INTEG, Proposal, Transform
from charon_core.encoding.registry import EncryptionId, IntegrityId, ProtocolId
from charon_core.kernel.esp_algorithms import EspAlgorithms
from charon_core.kernel.manager import KernelInterface
from charon_core.kernel.null import NullBackend
from charon_core.kernel.userspace.backend import UserspaceBackend
from charon_core.kernel.xfrm.backend import XfrmBackend

DOCS = Path(__file__).parents[3] / "docs/kernel.md"


def esp(text: str) -> tuple[Proposal, ...]:
    return parse_proposals(text + "!", ProtocolId.ESP)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("3des-sha1,aes128-sha256", "aes128-sha256"),
        ("aes128-3des-sha1", "aes128-sha1"),
        ("3des-sha1", None),
        ("aes256gcm16", "aes256gcm16"),
        ("aes128-sha1-sha256-modp2048", "aes128-sha1-sha256-modp2048"),
    ],
)
def test_what_userspace_leaves(given: str, left: str | None) -> None:
    expected = () if left is None else esp(left)
    assert UserspaceBackend.algorithms.installable(esp(given)) == expected
    assert XfrmBackend.algorithms.installable(esp(given)) == esp(given)


def test_other_protocols_are_no_affair_of_it() -> None:
    ike = parse_proposals("3des-sha1-modp2048!", ProtocolId.IKE)
    assert UserspaceBackend.algorithms.installable(ike) == ike
    assert UserspaceBackend.algorithms.missing(ike) == []


def test_missing_algorithms_have_names() -> None:
    proposals = esp("3des-sha1,3des-aes128-sha256")
    kernel = KernelInterface(NullBackend(), None)  # type: ignore[arg-type]
    assert kernel.missing(proposals) == ""
    assert kernel.installable(proposals) is proposals
    kernel.ipsec.algorithms = EspAlgorithms(  # type: ignore[attr-defined]
        frozenset({EncryptionId.AES_CBC}), frozenset({IntegrityId.HMAC_SHA1_96})
    )
    assert kernel.missing(proposals) == "kernel backend 'null' has no 3DES_CBC, HMAC_SHA2_256_128"
    assert kernel.installable(proposals) == ()


def test_the_documents_list_what_there_is() -> None:
    rows = {
        cells[1].strip(" `"): set(re.findall(r"[A-Z0-9_]{4,}", cells[2] + cells[3]))
        for line in DOCS.read_text().splitlines()
        if line.startswith(("| `xfrm` | ", "| `userspace` | "))
        and len(cells := line.split("|")) == 5
        and "AES_CBC" in line
    }
    for backend in (XfrmBackend, UserspaceBackend):
        names = {str(Transform(ENCR, number)) for number in backend.algorithms.ciphers}
        names |= {str(Transform(INTEG, number)) for number in backend.algorithms.integrities}
        assert rows[backend.name] == names
