"""Entry points in the metadata of installed distributions."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest

from charon_core.plugin.distributions import GROUP, FoundPlugin, find_plugins, same_name

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, distribution: str, entry_points: str | bytes) -> None:
    """Leave behind what an installation does."""
    directory = folder / f"{distribution}.dist-info"
    directory.mkdir(parents=True)
    content = entry_points.encode() if isinstance(entry_points, str) else entry_points
    (directory / "entry_points.txt").write_bytes(content)


def test_entry_points_of_the_group_are_found(tmp_path: Path) -> None:
    install(
        tmp_path,
        "Charon.Sample_Plugin-1.2.3",
        "[console_scripts]\nx = y:z\n\n[charon.plugins]\n# a comment\n"
        "sample = sample.plugin:Sample\nother=other\n spaced = a . b : c \n[gui_scripts]\nq = r\n",
    )
    assert find_plugins([str(tmp_path)])[:2] == [
        FoundPlugin("sample", "sample.plugin:Sample", "charon-sample-plugin", "1.2.3"),
        FoundPlugin("other", "other", "charon-sample-plugin", "1.2.3"),
    ]


def test_the_first_of_a_distribution_on_the_path_counts(tmp_path: Path) -> None:
    install(tmp_path / "a", "sample-2", "[charon.plugins]\nsample = new\n")
    install(tmp_path / "b", "sample-1", "[charon.plugins]\nsample = old\n")
    found = find_plugins([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [(item.target, item.version) for item in found] == [("new", "2")]


@pytest.mark.parametrize(
    "entry_points",
    [
        "",
        "[charon.plugins]",
        "[charon.plugins]\nno equals sign\n= x\nx =\nx = a b\nx = a:b:c\n",
        "[charon.plugin]\nx = y\n",
        b"[charon.plugins]\n\xff\xfe = x\n",
    ],
)
def test_what_is_no_entry_point_is_passed_over(tmp_path: Path, entry_points: str | bytes) -> None:
    install(tmp_path, "sample-1", entry_points)
    assert find_plugins([str(tmp_path)]) == []


def test_folders_that_are_not_there_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "x-1.dist-info").mkdir()
    assert find_plugins([str(tmp_path), str(tmp_path / "file"), str(tmp_path / "none")]) == []


def test_the_same_is_found_as_by_the_standard_library() -> None:
    theirs = {
        (item.name, item.value.replace(" ", ""), item.dist.version if item.dist else "")
        for item in importlib.metadata.entry_points(group=GROUP)
    }
    ours = {(item.name, item.target, item.version) for item in find_plugins()}
    assert ours == theirs
    assert "kernel_null" in {name for name, _, _ in ours}


def test_names_with_hyphens_and_underscores_are_the_same() -> None:
    assert same_name("eap-md5", "eap_md5")
    assert not same_name("eap-md5", "eapmd5")
