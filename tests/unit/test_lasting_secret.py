"""The secret that outlives the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from charon_core.lasting_secret import lasting_secret

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "lib/charon/secret"
    secret = lasting_secret(file, 32)
    assert len(secret) == 32
    assert secret == lasting_secret(file, 32)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        (bytes(32), 0o640, "chmod 600"),
        (bytes(31), 0o600, "31 octets"),
        (bytes(33), 0o600, "33 octets"),
    ],
)
def test_what_others_may_know_is_no_secret(
    tmp_path: Path, content: bytes, mode: int, reason: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ValueError, match=reason):
        lasting_secret(file, 32)


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(bytes(32))
    target.chmod(0o600)
    (tmp_path / "secret").symlink_to(target)
    with pytest.raises(OSError, match=r"symbolic|Too many"):
        lasting_secret(tmp_path / "secret", 32)
