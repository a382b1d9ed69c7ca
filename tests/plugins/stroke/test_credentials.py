"""What the daemon knows after start, reread, reload and ca sections."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from charon_core.config.identification import Identification
from charon_core.credentials.sets import AuthorityUris, SecretKind
from charon_plugins.stroke.wire.bodies import AddCa, Config, Name, Reread
from charon_plugins.stroke.wire.message import Message, encode
from charon_plugins.stroke.wire.types import MessageType, RereadFlag
from tests.plugins.stroke.certificates import Authority
from tests.plugins.stroke.fakes import World

if TYPE_CHECKING:
    from pathlib import Path

MOON, SUN = Identification.parse("10.77.0.1"), Identification.parse("10.77.0.2")


def reread(world: World, flags: RereadFlag) -> str:
    return world.ask(Message(MessageType.REREAD, Reread(int(flags))))


def write_secrets(world: World, text: str) -> None:
    world.paths.ipsec_secrets.write_text(text)
    world.paths.ipsec_secrets.chmod(0o600)


def psk(world: World) -> bytes | None:
    found = world.credentials.shared_secret(SecretKind.IKE, MOON, SUN)
    return found.secret.reveal() if found else None


def anchors(world: World) -> set[str]:
    return {str(ca.subject) for ca in world.credentials.trust_anchors()}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("10.77.0.1 : PSK A\n: PSK B\n", b"B"),
        (": PSK A\n10.77.0.1 : PSK B\n", b"A"),
        ("10.77.0.1 %any : PSK B\n: PSK A\n", b"B"),
        ("10.77.0.1 %any : PSK A\n10.77.0.2 : PSK B\n", b"B"),
        ("10.77.0.2 : PSK A\n10.77.0.1 10.77.0.2 : PSK B\n", b"B"),
        (": PSK A\n: PSK B\n", b"B"),
        ("1.2.3.4 : PSK A\n", None),
    ],
)
def test_key_that_is_chosen(tmp_path: Path, text: str, key: bytes | None) -> None:
    world = World(tmp_path)
    write_secrets(world, text)
    world.start()
    assert psk(world) == key
    world.stop()


def test_reread_replaces_all_secrets(world: World) -> None:
    assert psk(world) is None
    write_secrets(world, ": PSK A\n")
    assert reread(world, RereadFlag.SECRETS) == ""
    assert psk(world) == b"A"
    write_secrets(world, "1.2.3.4 : PSK A\n")
    assert reread(world, RereadFlag.ALL) == ""
    assert psk(world) is None


def test_secrets_stay_if_the_file_cannot_be_read(world: World) -> None:
    write_secrets(world, ": PSK A\n")
    reread(world, RereadFlag.SECRETS)
    world.paths.ipsec_secrets.unlink()
    reread(world, RereadFlag.SECRETS)
    assert psk(world) == b"A"
    world.paths.ipsec_secrets.mkdir()
    reread(world, RereadFlag.SECRETS)
    assert psk(world) == b"A"
    assert world.bus.said("those loaded before are kept")


def test_bad_line_is_in_the_log_and_the_others_count(world: World) -> None:
    write_secrets(world, "nonsense\n: PSK A\n")
    reread(world, RereadFlag.SECRETS)
    assert psk(world) == b"A"
    assert world.bus.said(f"{world.paths.ipsec_secrets}, line 1: ")


def test_no_secret_is_ever_logged(world: World) -> None:
    write_secrets(world, ': PSK "geheim"\n: PSK geheim\n: PSK 0xgeheim\n: geheim\ngeheim\n')
    reread(world, RereadFlag.SECRETS)
    assert psk(world) == b"geheim"
    assert not world.bus.said("geheim")


def test_authorities(world: World) -> None:
    one, two = Authority("C=CH, CN=one"), Authority("C=CH, CN=two")
    fake = Authority("C=CH, CN=fake", is_ca=False)
    folder = world.paths.ipsec_d / "cacerts"
    (folder / "bundle.pem").write_bytes(one.pem + two.pem + fake.pem)
    (folder / "broken.pem").write_bytes(b"nonsense")
    (folder / "sub").mkdir()
    assert reread(world, RereadFlag.CACERTS) == ""
    assert anchors(world) == {"C=CH, CN=one", "C=CH, CN=two"}
    assert world.bus.said("lacks the CA basic constraint")
    assert world.bus.said("broken.pem' failed")
    (folder / "bundle.pem").write_bytes(two.der)
    reread(world, RereadFlag.CACERTS)
    assert anchors(world) == {"C=CH, CN=two"}


def test_authority_without_basic_constraint_may_be_accepted(tmp_path: Path) -> None:
    world = World(tmp_path, {"ignore_missing_ca_basic_constraint": True})
    fake = Authority("C=CH, CN=fake", is_ca=False)
    (world.paths.ipsec_d / "cacerts/fake.pem").write_bytes(fake.pem)
    world.start()
    assert anchors(world) == {"C=CH, CN=fake"}
    world.stop()


def test_ca_sections(world: World) -> None:
    one, two = Authority("C=CH, CN=one"), Authority("C=CH, CN=two")
    folder = world.paths.ipsec_d / "cacerts"
    outside = world.root / "two.pem"
    outside.write_bytes(two.pem)
    (folder / "one.pem").write_bytes(one.pem)
    add_ca = [("a", "one.pem"), ("b", str(outside)), ("c", "missing.pem"), ("d", None)]
    for name, file in add_ca:
        assert world.ask(Message(MessageType.ADD_CA, AddCa(name, file), -1)) == ""
    assert anchors(world) == {"C=CH, CN=one", "C=CH, CN=two"}
    assert world.bus.said("ca 'c': cacert = 'missing.pem': expected a CA certificate")
    assert world.bus.said("ca 'd': cacert is missing")
    reread(world, RereadFlag.CACERTS)
    assert anchors(world) == {"C=CH, CN=one", "C=CH, CN=two"}
    for name in ("a", "b", "x"):
        assert world.ask(Message(MessageType.DEL_CA, Name(name), -1)) == ""
    assert anchors(world) == {"C=CH, CN=one"}
    assert world.bus.said("there is no ca section 'x'")


def test_uris_of_ca_sections(world: World) -> None:
    one = Authority("C=CH, CN=one")
    (world.paths.ipsec_d / "cacerts/one.pem").write_bytes(one.pem)

    def add(**uris: str) -> list[AuthorityUris]:
        assert world.ask(Message(MessageType.ADD_CA, AddCa("a", "one.pem", **uris), -1)) == ""
        (certificate,) = world.credentials.trust_anchors()
        return list(world.credentials.authority_uris(certificate))

    given = add(
        crluri="http://a/1", crluri2="file:///2", ocspuri="http://a/3", ocspuri2="http://a/4"
    )
    assert given == [AuthorityUris(("http://a/1", "file:///2"), ("http://a/3", "http://a/4"))]
    assert add(ocspuri2="http://b/") == [AuthorityUris((), ("http://b/",))]
    reread(world, RereadFlag.CACERTS)
    (certificate,) = world.credentials.trust_anchors()
    assert list(world.credentials.authority_uris(certificate))
    assert world.ask(Message(MessageType.DEL_CA, Name("a"), -1)) == ""
    assert not list(world.credentials.authority_uris(certificate))


def test_cachecrls(world: World) -> None:
    assert not world.credentials.caches_lists
    for on in (1, 0):
        assert world.ask(Message(MessageType.CONFIG, Config(on), -1)) == ""
        assert world.credentials.caches_lists is bool(on)


def test_revocation_lists(world: World) -> None:
    one = Authority("C=CH, CN=one")
    (world.paths.ipsec_d / "crls/one.crl").write_bytes(one.crl())
    (world.paths.ipsec_d / "crls/broken.crl").write_bytes(b"x")
    reread(world, RereadFlag.CRLS)
    issuer = Identification.parse("C=CH, CN=one")
    assert len(list(world.credentials.crls(issuer))) == 1
    assert world.bus.said("broken.crl' failed")


def test_reload_reads_everything_again(world: World) -> None:
    from charon_core.settings import PluginTable

    write_secrets(world, ": PSK A\n")
    one = Authority("C=CH, CN=one")
    (world.paths.ipsec_d / "cacerts/one.pem").write_bytes(one.pem)
    world.plugin.charon_reload(PluginTable({"max_concurrent": 2}))
    assert psk(world) == b"A"
    assert anchors(world) == {"C=CH, CN=one"}
    world.plugin.charon_reload(PluginTable({"max_concurrent": 0}))
    assert world.bus.said("settings of stroke are kept")


def test_passphrase_comes_over_the_control_socket(world: World) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
    )

    moon = Authority("C=CH, CN=one")
    key = moon.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
    )
    path = world.paths.ipsec_d / "private/moon.pem"
    path.write_bytes(key)
    write_secrets(world, ": PKCS8 moon.pem %prompt\n")
    with world.connect() as client:
        client.sendall(encode(Message(MessageType.REREAD, Reread(1))))
        prompt = client.recv(1000).decode()
        assert prompt == f"Private key '{path}' is encrypted.\nPassphrase:\n"
        client.sendall(b"wrong\n")
        assert client.recv(1000).decode() == "Passphrase invalid!\nPassphrase:\n"
        client.sendall(b"geheim\n")
        assert client.recv(1000) == b""
    assert len(list(world.credentials.private_keys())) == 1


def test_two_rereads_at_once(world: World) -> None:
    write_secrets(world, ": PSK A\n" * 50)
    threads = [threading.Thread(target=reread, args=(world, RereadFlag.ALL)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert psk(world) == b"A"
