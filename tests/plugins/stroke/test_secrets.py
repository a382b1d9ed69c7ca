"""ipsec.secrets: lines, values, errors, keys, passphrases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from charon_core.config.identification import Identification
from charon_core.credentials.sets import SecretKind
from charon_plugins.stroke.credentials.secrets import Conversation, LoadedSecrets, SecretsLoader
from charon_plugins.stroke.credentials.secrets_file import (
    MAX_FILES,
    MAX_INCLUDE_DEPTH,
    SecretsFile,
    read_secrets,
)
from tests.plugins.stroke.certificates import Authority


def parse(text: str) -> SecretsFile:
    return read_secrets(Path("/secrets"), lambda _: text.encode("utf-8", "surrogateescape"))


def secret_of(line: str) -> bytes:
    file = parse(line)
    assert file.problems == []
    (entry,) = file.shared
    return entry.secret.reveal()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"text"', b"text"),
        ("'text'", b"text"),
        ('"a b # c"', b"a b # c"),
        ('"it\'s"', b"it's"),
        ('"0x01"', b"0x01"),
        ('""', b""),
        (r'"a\n"', rb"a\n"),
        ("0x0102", b"\x01\x02"),
        ("0X0102", b"\x01\x02"),
        ("0x01:02", b"\x01\x02"),
        ("0x102", b"\x01\x02"),
        ("0sAQI=", b"\x01\x02"),
        ("0SAQI", b"\x01\x02"),
        ("word", b"word"),
        ("word # comment", b"word"),
        ('"word" # comment', b"word"),
        ("wörd", "wörd".encode()),
    ],
)
def test_secret_values(written: str, value: bytes) -> None:
    assert secret_of(f": PSK {written}") == value


def test_octets_that_are_not_utf8_are_kept() -> None:
    file = read_secrets(Path("/x"), lambda _: b': PSK "\xff\xfe"\n')
    assert file.shared[0].secret.reveal() == b"\xff\xfe"


@pytest.mark.parametrize(
    ("line", "selectors"),
    [
        (': PSK "x"', ()),
        ('moon sun : PSK "x"', ("moon", "sun")),
        ("  moon\tsun : PSK \t'x'", ("moon", "sun")),
        ("\"C=CH, O=X Y, CN=foo\" 'b c' : PSK x", ("C=CH, O=X Y, CN=foo", "b c")),
        ("%any : PSK x", ("%any",)),
        ("fec0::1 10.0.0.1 : PSK x", ("fec0::1", "10.0.0.1")),
        ('moon : PSK "a : PSK b"', ("moon",)),
    ],
)
def test_selectors(line: str, selectors: tuple[str, ...]) -> None:
    file = parse(line)
    assert file.problems == []
    assert file.shared[0].selectors == selectors


@pytest.mark.parametrize("text", ["", "\n\n", "# comment", "   # : PSK x", "\t\n", "\r\n"])
def test_lines_without_entries(text: str) -> None:
    assert parse(text) == SecretsFile()


def test_line_ends_of_both_kinds() -> None:
    file = parse(": PSK a\r\n: PSK b\n: PSK c")
    assert [entry.secret.reveal() for entry in file.shared] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('moon PSK "x"', "blank, colon, blank"),
        ('@z:PSK "x"', "blank, colon, blank"),
        ('moon\t:\tPSK "x"', "blank, colon, blank"),
        (":PSK x", "blank, colon, blank"),
        (': PSK"x"', "expected a type such as PSK"),
        (": PSK", "expected a type such as PSK"),
        (": PSK ", "expected a type such as PSK"),
        (": ", "expected a type such as PSK"),
        (": psk x", "write PSK in capitals"),
        (": FOO x", "unknown type; expected one of PSK"),
        (": PSK 'x", "closing '"),
        ('"moon : PSK "x', "closing"),
        (": PSK 0xzz", "not hexadecimal digits; put it into quotes"),
        (": PSK 0s!!", "not base64"),
        (": PIN %smartcard:50 1234", "smartcards are not supported"),
        (": BLISS key", "BLISS keys are not supported"),
        ("include nothing.*", "no file matches"),
    ],
)
def test_bad_line_is_reported_and_the_others_count(line: str, complaint: str) -> None:
    file = parse(f": PSK first\n{line}\n: PSK last\n")
    assert [entry.secret.reveal() for entry in file.shared] == [b"first", b"last"]
    (problem,) = file.problems
    assert problem.startswith("/secrets, line 2: ")
    assert complaint in problem


@pytest.mark.parametrize(
    "line",
    [
        ": PSK 'geheim",
        ": PSK 0xgeheim",
        ": PSK 0sgeheim!",
        ": geheim ",
        "geheim",
        ": geheim x",
        ": PSK2 geheim",
    ],
)
def test_complaints_hold_no_secret(line: str) -> None:
    file = parse(line)
    assert file.problems
    assert "geheim" not in repr(file)


def test_secrets_do_not_show() -> None:
    assert "geheim" not in repr(parse(': PSK "geheim"\n: RSA key "geheim"\n'))


@pytest.mark.parametrize(
    ("line", "kind", "file", "passphrases", "asks"),
    [
        (": RSA moon.key", "RSA", "moon.key", [], False),
        (": ECDSA 'my key'", "ECDSA", "my key", [], False),
        (': PKCS8 moon.key "pass word"', "PKCS8", "moon.key", [b"pass word"], False),
        (": RSA moon.key 0x0102 ignored", "RSA", "moon.key", [b"\1\2"], False),
        (": RSA moon.key # comment", "RSA", "moon.key", [], False),
        (": RSA moon.key %prompt", "RSA", "moon.key", [], True),
        (": P12 moon.p12 a b", "P12", "moon.p12", [b"a", b"b"], False),
        ("moon : P12 moon.p12 a %prompt", "P12", "moon.p12", [b"a"], True),
    ],
)
def test_key_lines(line: str, kind: str, file: str, passphrases: list[bytes], asks: bool) -> None:
    (entry,) = parse(line).keys
    assert (entry.kind, entry.file, entry.asks) == (kind, file, asks)
    assert [passphrase.reveal() for passphrase in entry.passphrases] == passphrases


def test_include(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "main").write_text(": PSK a\ninclude d/*.secrets ignored\n: PSK d\n")
    (tmp_path / "d/1.secrets").write_text(": PSK b\nbad\n")
    (tmp_path / "d/2.secrets").write_text("include ../other\n")
    (tmp_path / "other").write_text(": PSK c\n")
    file = read_secrets(tmp_path / "main")
    assert [entry.secret.reveal() for entry in file.shared] == [b"a", b"b", b"c", b"d"]
    (problem,) = file.problems
    assert problem.startswith(f"{tmp_path / 'd/1.secrets'}, line 2: ")


def test_include_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "main").write_text("include .\n: PSK a\n")
    file = read_secrets(tmp_path / "main")
    assert len(file.shared) == 1
    assert "cannot read" in file.problems[0]


def test_files_that_include_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "main").write_text("include main\n: PSK a\n")
    file = read_secrets(tmp_path / "main")
    assert len(file.shared) == MAX_INCLUDE_DEPTH + 1
    assert "nested more than" in file.problems[0]


def test_files_that_include_themselves_many_times_end(tmp_path: Path) -> None:
    (tmp_path / "main").write_text("include main\n" * 4 + ": PSK a\n")
    assert len(read_secrets(tmp_path / "main").shared) <= MAX_FILES


@given(st.text(st.sampled_from(":PSKRSA \t\"'0xs#\n\r%promptinclude/*.ä"), max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read(text: str) -> None:
    file = parse(text)
    assert all(problem.startswith("/secrets, line ") for problem in file.problems)


class Log(list[str]):
    def said(self, part: str) -> bool:
        return any(part in line for line in self)


@pytest.fixture
def log() -> Log:
    return Log()


def loader(folder: Path, text: str, log: Log) -> SecretsLoader:
    (folder / "secrets").write_text(text)
    (folder / "secrets").chmod(0o600)
    (folder / "private").mkdir(exist_ok=True)
    return SecretsLoader(folder / "secrets", folder / "private", log.append)


def load(folder: Path, text: str, log: Log) -> LoadedSecrets:
    return loader(folder, text, log).load()


def test_shared_secrets(tmp_path: Path, log: Log) -> None:
    loaded = load(
        tmp_path,
        "moon sun : PSK a\n: PSK b\ncarol : EAP c\ndave : XAUTH d\n"
        "erin : NTLM 0x0102030405060708090a0b0c0d0e0f10\n",
        log,
    )
    assert [(shared.kind, shared.secret.reveal()) for shared in loaded.shared] == [
        (SecretKind.IKE, b"a"),
        (SecretKind.IKE, b"b"),
        (SecretKind.EAP, b"c"),
        (SecretKind.EAP, b"d"),
        (SecretKind.NTLM, bytes(range(1, 17))),
    ]
    assert loaded.shared[0].owners == (
        Identification.parse("moon"),
        Identification.parse("sun"),
    )
    assert loaded.shared[1].owners == (Identification.any(),)
    assert log[1:] == [
        "loaded IKE secret for moon sun",
        "loaded IKE secret for %any",
        "loaded EAP secret for carol",
        "loaded EAP secret for dave",
        "loaded NTLM secret for erin",
    ]


def test_selector_that_is_no_identity(tmp_path: Path, log: Log) -> None:
    loaded = load(tmp_path, "@#zz : PSK a\n: PSK b\n", log)
    assert [shared.secret.reveal() for shared in loaded.shared] == [b"b"]
    assert log.said(f"{tmp_path / 'secrets'}, line 1: expected an identity as selector")


def test_open_file_is_warned_of(tmp_path: Path, log: Log) -> None:
    made = loader(tmp_path, ": PSK a\n", log)
    (tmp_path / "secrets").chmod(0o644)
    assert len(made.load().shared) == 1
    assert log.said("mode 0600")


def pem(key: object, form: PrivateFormat, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    octets: bytes = key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined]
    return octets


@pytest.fixture(scope="module")
def keys() -> dict[str, bytes]:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    return {
        "rsa": pem(rsa_key, PrivateFormat.TraditionalOpenSSL),
        "rsa-pkcs8": pem(rsa_key, PrivateFormat.PKCS8),
        "rsa-locked": pem(rsa_key, PrivateFormat.TraditionalOpenSSL, b"geheim"),
        "ec": pem(ec_key, PrivateFormat.TraditionalOpenSSL),
        "ec-locked": pem(ec_key, PrivateFormat.PKCS8, b"geheim"),
        "ed": pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
        "weak": pem(rsa.generate_private_key(65537, 1024), PrivateFormat.PKCS8),
    }


def put(folder: Path, keys: dict[str, bytes]) -> None:
    (folder / "private").mkdir()
    for name, octets in keys.items():
        (folder / "private" / name).write_bytes(octets)


def test_private_keys(tmp_path: Path, keys: dict[str, bytes], log: Log) -> None:
    put(tmp_path, keys)
    text = (
        f": RSA rsa\n: RSA {tmp_path}/private/rsa-pkcs8\n: RSA rsa-locked geheim\n"
        ": ECDSA ec\n: ECDSA ec-locked geheim\n: PKCS8 ed\n: PKCS8 rsa\n"
    )
    loaded = load(tmp_path, text, log)
    assert [key.type.name for key in loaded.keys] == [
        "RSA",
        "RSA",
        "RSA",
        "ECDSA",
        "ECDSA",
        "ED25519",
        "RSA",
    ]
    assert f"loaded RSA private key from '{tmp_path}/private/rsa'" in log


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (": ECDSA rsa", "expected a key of type ECDSA"),
        (": RSA ec", "expected a key of type RSA"),
        (": RSA missing", "No such file"),
        (": RSA rsa-locked", "encrypted"),
        (": RSA rsa-locked wrong", "passphrase does not fit"),
        (": PKCS8 weak", "1024"),
        (": RSA ..", "directory"),
    ],
)
def test_key_that_cannot_be_loaded_is_told_and_the_rest_goes_on(
    tmp_path: Path, keys: dict[str, bytes], log: Log, line: str, reason: str
) -> None:
    put(tmp_path, keys)
    loaded = load(tmp_path, f"{line}\n: PSK a\n", log)
    assert not loaded.keys
    assert len(loaded.shared) == 1
    (complaint,) = [text for text in log if "failed" in text]
    assert complaint.startswith(f"loading private key from '{tmp_path}/private/")
    assert reason in complaint
    assert "line 1" in complaint
    assert "wrong" not in complaint


class Person:
    """Answers prompts from a list."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.shown: list[str] = []

    @property
    def conversation(self) -> Conversation:
        return Conversation(self._ask, self.shown.append)

    def _ask(self, text: str) -> str | None:
        self.shown.append(text)
        return self.answers.pop(0)


def test_passphrase_is_asked_for(tmp_path: Path, keys: dict[str, bytes], log: Log) -> None:
    put(tmp_path, keys)
    person = Person("wrong", "geheim")
    loaded = loader(tmp_path, ": ECDSA ec-locked %prompt\n", log).load(person.conversation)
    assert len(loaded.keys) == 1
    assert person.shown == [
        f"Private key '{tmp_path}/private/ec-locked' is encrypted.\n",
        "Passphrase invalid!\n",
    ]


def test_three_wrong_passphrases_are_enough(
    tmp_path: Path, keys: dict[str, bytes], log: Log
) -> None:
    put(tmp_path, keys)
    person = Person("a", "b", "c", "geheim")
    loaded = loader(tmp_path, ": RSA rsa-locked %prompt\n", log).load(person.conversation)
    assert not loaded.keys
    assert person.shown[1:4] == ["Passphrase invalid!\n"] * 2 + ["Passphrase invalid, giving up."]
    assert person.shown[4].startswith("loading private key from ")
    assert log.said("failed")


def test_person_who_leaves(tmp_path: Path, keys: dict[str, bytes], log: Log) -> None:
    put(tmp_path, keys)
    text = ": RSA rsa-locked %prompt\n: PSK a\n"
    loaded = loader(tmp_path, text, log).load(Person(None).conversation)
    assert not loaded.keys
    assert len(loaded.shared) == 1


def test_nobody_is_asked_for_a_key_that_is_open(
    tmp_path: Path, keys: dict[str, bytes], log: Log
) -> None:
    put(tmp_path, keys)
    person = Person()
    assert loader(tmp_path, ": RSA rsa %prompt\n", log).load(person.conversation).keys
    assert person.shown == []


def test_reload_keeps_a_key_that_somebody_unlocked(
    tmp_path: Path, keys: dict[str, bytes], log: Log
) -> None:
    put(tmp_path, keys)
    made = loader(tmp_path, ": ECDSA ec-locked %prompt\n", log)
    assert not made.load().keys
    assert log.said("run rereadsecrets")
    assert made.load(Person("geheim").conversation).keys
    assert made.load().keys
    assert log.said("kept the private key")


def test_container(tmp_path: Path, log: Log) -> None:
    authority = Authority("C=CH, CN=CA")
    moon = authority.issue("C=CH, CN=moon", "moon")
    octets = pkcs12.serialize_key_and_certificates(
        b"moon",
        moon.key,
        moon.certificate,
        [authority.certificate],
        BestAvailableEncryption(b"geheim"),
    )
    put(tmp_path, {"moon.p12": octets})
    loaded = load(tmp_path, ": P12 moon.p12 geheim\n", log)
    assert len(loaded.keys) == 1
    assert {c.der for c in loaded.certificates} == {moon.der, authority.der}
    assert not load(tmp_path, ": P12 moon.p12 wrong\n", log).keys
    made = loader(tmp_path, ": P12 moon.p12 %prompt\n", log)
    person = Person("geheim")
    assert made.load(person.conversation).keys
    assert person.shown == [f"PKCS#12 file '{tmp_path}/private/moon.p12' is encrypted.\n"]
    assert made.load().keys


def test_missing_file_is_an_error_of_the_caller(tmp_path: Path, log: Log) -> None:
    with pytest.raises(OSError, match="No such file"):
        SecretsLoader(tmp_path / "none", tmp_path, log.append).load()
    assert os.listdir(tmp_path) == []
