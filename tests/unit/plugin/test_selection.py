"""Which plugins may load."""

from __future__ import annotations

import pytest

from charon_core.plugin.distributions import FoundPlugin
from charon_core.plugin.selection import Selection
from charon_core.settings import PluginSettings

INSTALLED = [
    FoundPlugin("sql", "charon_plugins.sql:Plugin", "charon-sql", "1"),
    FoundPlugin("zebra", "zebra:Plugin", "zebra-tools", "1"),
    FoundPlugin("kernel_null", "charon_core.x:Null", "charon-core", "1"),
    FoundPlugin("eap_md5", "charon_plugins.eap_md5:Plugin", "charon-eap-md5", "1"),
]


def chosen(
    *, load: str = "", block: str = "", is_root: bool = False, exact: str | None = None
) -> list[str]:
    """Return the names of the plugins that may load, in order."""
    return [
        choice.plugin.name for choice in choices(load, block, is_root, exact) if not choice.reason
    ]


def choices(load: str = "", block: str = "", is_root: bool = False, exact: str | None = None):
    settings = PluginSettings(tuple(load.split()), tuple(block.split()))
    environment = {} if exact is None else {"CHARON_PLUGINS": exact}
    return Selection.make(settings, environment, is_root=is_root).choose(INSTALLED)


def test_a_user_loads_all_that_is_installed() -> None:
    assert chosen() == ["kernel_null", "eap_md5", "sql", "zebra"]


def test_root_loads_nothing_unasked_that_is_not_of_charon() -> None:
    assert chosen(is_root=True) == ["kernel_null", "eap_md5", "sql"]
    (zebra,) = [choice for choice in choices(is_root=True) if choice.reason]
    assert zebra.reason == (
        "the distribution zebra-tools is not one of charon's (charon-*), and the daemon is "
        "root's; list 'zebra' in plugins.load to allow it"
    )


def test_root_loads_what_it_asked_for_in_its_order() -> None:
    assert chosen(load="zebra eap-md5", is_root=True) == ["kernel_null", "zebra", "eap_md5"]


@pytest.mark.parametrize("block", ["eap_md5 kernel_null", "eap-md5 kernel-null"])
def test_what_is_blocked_does_not_load(block: str) -> None:
    assert chosen(block=block) == ["sql", "zebra"]
    assert chosen(load="sql eap_md5", block=block) == ["sql"]


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        ("", []),
        ("sql", ["sql"]),
        ("zebra, kernel-null", ["kernel_null", "zebra"]),
        ("tests.sample:Sample,sql", ["sql", "Sample"]),
    ],
)
def test_the_environment_says_exactly_what_loads(exact: str, expected: list[str]) -> None:
    assert chosen(exact=exact, block="sql", is_root=True) == expected


@pytest.mark.parametrize("asked", [{"load": "eap_md4"}, {"exact": "eap_md4"}])
def test_a_name_that_is_not_installed_is_told(asked: dict[str, str]) -> None:
    missing = choices(**asked)[-1]
    assert missing.missing
    assert missing.reason.endswith("but not installed; did you mean 'eap_md5'?")


def test_a_name_that_is_like_none_gets_the_list() -> None:
    missing = choices(load="qqq")[-1]
    assert missing.reason.endswith("installed are: kernel_null, eap_md5, sql, zebra")


def test_of_one_name_the_one_of_charon_counts() -> None:
    twin = FoundPlugin("sql", "evil:Plugin", "a-better-sql", "9")
    settings = PluginSettings(("sql",))
    result = Selection.make(settings, {}, is_root=True).choose([twin, *INSTALLED])
    assert [c.plugin.distribution for c in result if c.plugin.name == "sql" and not c.reason] == [
        "charon-sql"
    ]
    (second,) = [c for c in result if c.plugin is twin]
    assert second.reason == "its name is taken by that of charon-sql"
