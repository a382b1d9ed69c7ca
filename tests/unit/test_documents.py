"""What the documents name exists: files they link to, paths, options, commands, make targets."""

from __future__ import annotations

import re
import tomllib
import types
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import pytest
from click.testing import CliRunner

from charon_core.bus import SaRef
from charon_core.bus.events import IkeUp

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "charon_plugins/*/README.md")
    for path in ROOT.glob(pattern)
)
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != ".venv"}
MAKE_TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SCHEME = re.compile(r"[a-z]+:")
PATH = re.compile(r"\.?[\w-]+/[\w./*-]*")
PROGRAM = re.compile(r"(?:^|[\s/])(charon(?:-stroke|-starter)?)((?:\s+\S+)*)")
WORDS_OF_MAKE = re.compile(r"^\s*make ([a-z-]+)\b")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)


class Named(NamedTuple):
    """A command line that a document shows."""

    program: str
    words: tuple[str, ...]


def text_of(document: Path) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def prose_of(document: Path) -> str:
    return FENCE.sub("", text_of(document))


def code_of(document: Path) -> Iterator[str]:
    """Yield every line that is set as code: in fences without a language, indented, in spans."""
    for language, block in FENCE.findall(text_of(document)):
        if not language:
            yield from block.splitlines()
    for line in prose_of(document).splitlines():
        if line.startswith("    "):
            yield line.strip()
        yield from SPAN.findall(line)


def anchor_of(heading: str) -> str:
    words = re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower())
    return re.sub(r"\s", "-", words.strip())


def commands_of(document: Path) -> Iterator[Named]:
    for line in code_of(document):
        found = PROGRAM.search(line.partition(" # ")[0])
        if found:
            yield Named(found[1], tuple(found[2].split()))


@cache
def options_of(program: str) -> frozenset[str]:
    """Return the options that the program's own help has, those of its subcommands included."""
    return frozenset(re.findall(r"--[a-z][a-z-]*", help_of(program)))


@cache
def help_of(program: str) -> str:
    runner = CliRunner()
    if program == "charon-stroke":
        from charon_plugins.stroke.client.cli import command
    elif program == "charon-starter":
        from charon_plugins.stroke.starter.cli import command
    else:
        from charon_core.commands import cli

        # Not the group's own help: it would ask the plugins that are installed here.
        helps = (runner.invoke(cli, [name, "--help"]).output for name in cli.commands)
        return "\n".join(("--version", *helps))
    assert isinstance(command, click.Command)
    return runner.invoke(command, ["--help"]).output


@cache
def subcommands_of(program: str) -> frozenset[str]:
    if program == "charon-stroke":
        from charon_plugins.stroke.client.commands import COMMANDS

        return frozenset(COMMANDS)
    if program == "charon":
        from charon_core.commands import cli

        return frozenset(cli.commands)
    return frozenset()


def test_there_are_documents() -> None:
    assert Path("README.md") in DOCUMENTS
    assert Path("docs/index.md") in DOCUMENTS


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(prose_of(document)):
        if SCHEME.match(target):
            continue
        name, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / name if name else ROOT / document
        assert linked.exists(), f"{document} links to {target}"
        if anchor:
            anchors = map(anchor_of, HEADING.findall(linked.read_text(encoding="utf-8")))
            assert anchor in anchors, f"{document} links to {target}"


def test_the_index_has_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall(text_of(Path("docs/index.md")))}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - linked == set()


@each_document
def test_paths_exist(document: Path) -> None:
    """A path is one of the repository if it begins with a folder of its root."""
    for span in SPAN.findall(prose_of(document)):
        if PATH.fullmatch(span) and span.partition("/")[0] in FOLDERS:
            assert list(ROOT.glob(span.rstrip("/"))), f"{document} names {span}"


@each_document
def test_options_and_commands_exist(document: Path) -> None:
    for program, words in commands_of(document):
        shown = f"{document}: {program} {' '.join(words)}"
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            known = "--debug-" if option.startswith("--debug-") else option
            assert known in options_of(program), shown
        if words and re.fullmatch(r"[a-z][a-z-]*", words[0]) and program != "charon-starter":
            assert words[0] in subcommands_of(program), shown


@each_document
def test_make_targets_exist(document: Path) -> None:
    for line in code_of(document):
        found = WORDS_OF_MAKE.match(line)
        if found:
            assert found[1] in MAKE_TARGETS, f"{document}: {line}"


def readme_block(language: str, containing: str) -> str:
    blocks = FENCE.findall(text_of(Path("README.md")))
    return next(block for kind, block in blocks if kind == language and containing in block)


def test_the_plugin_in_the_readme_is_one() -> None:
    block = readme_block("python", "class Greeter")
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
    module = types.ModuleType("charon_greeter")
    exec(block, module.__dict__)
    said: list[str] = []
    bus = types.SimpleNamespace(
        add_listener=lambda listener: said.append(listener.name),
        log=lambda _group, _level, message, *arguments: said.append(message % arguments),
    )
    greeter = module.Greeter()
    greeter.charon_register_listeners(bus)
    greeter.on_event(IkeUp(SaRef("home", 3)))
    assert greeter.events == (IkeUp,)
    assert said == ["greeter", "welcome, home[3]"]


def test_the_plugin_in_the_readme_can_be_installed() -> None:
    """hatchling finds a single module only if it is named like the distribution."""
    project = tomllib.loads(readme_block("toml", "charon.plugins"))["project"]
    module = project["name"].replace("-", "_")
    assert f"`{module}.py`" in text_of(Path("README.md"))
    assert project["entry-points"]["charon.plugins"] == {"greeter": f"{module}:Greeter"}
