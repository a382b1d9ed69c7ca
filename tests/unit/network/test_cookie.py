from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charon_core.encoding.message import Message
from charon_core.encoding.payloads import KeyExchange, Nonce, Notify, VendorId
from charon_core.encoding.registry import ExchangeType, NotifyType
from charon_core.network.cookie import (
    COOKIE_LENGTH,
    LIFETIME,
    SECRET_LIFETIME,
    CookieJar,
    InitRequest,
    read_init_request,
)

NONCE = bytes(range(32))
SPI = b"initiatr"
HOST = "192.0.2.1"


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


def counting_random():
    """Random octets that differ with each call, and are the same in each run."""
    numbers = itertools.count(7)
    return lambda size: bytes((next(numbers) * 37 + index) % 256 for index in range(size))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jar(clock):
    return CookieJar(clock, counting_random())


def test_knows_its_own_cookie(jar):
    cookie = jar.make(NONCE, HOST, SPI)
    assert jar.check(cookie, NONCE, HOST, SPI)


def test_a_cookie_fits_its_notify(jar):
    assert len(jar.make(NONCE, HOST, SPI)) == COOKIE_LENGTH
    assert 1 <= COOKIE_LENGTH <= 64, "RFC 7296 section 2.6"


def test_no_state_is_kept_for_a_cookie(jar):
    before = dict(vars(jar))
    jar.make(NONCE, HOST, SPI)
    assert vars(jar) == before


@pytest.mark.parametrize(
    ("nonce", "host", "spi"),
    [
        (NONCE[:-1], HOST, SPI),
        (NONCE + b"x", HOST, SPI),
        (NONCE[::-1], HOST, SPI),
        (NONCE, "192.0.2.2", SPI),
        (NONCE, "2001:db8::1", SPI),
        (NONCE, HOST, b"initiatR"),
        (b"1" + NONCE, "192.0.2.", SPI),
    ],
)
def test_a_cookie_is_for_one_nonce_address_and_spi(jar, nonce, host, spi):
    assert not jar.check(jar.make(NONCE, HOST, SPI), nonce, host, spi)


@pytest.mark.parametrize("position", range(COOKIE_LENGTH))
def test_every_octet_of_a_cookie_counts(jar, position):
    cookie = bytearray(jar.make(NONCE, HOST, SPI))
    for bit in range(8):
        cookie[position] ^= 1 << bit
        assert not jar.check(bytes(cookie), NONCE, HOST, SPI)
        cookie[position] ^= 1 << bit
    assert jar.check(bytes(cookie), NONCE, HOST, SPI)


@pytest.mark.parametrize("length", [length for length in range(65) if length != COOKIE_LENGTH])
def test_a_cookie_of_another_length_is_wrong(jar, length):
    cookie = (jar.make(NONCE, HOST, SPI) * 4)[:length]
    assert not jar.check(cookie, NONCE, HOST, SPI)


@given(st.binary(max_size=80))
def test_nothing_made_up_is_a_cookie(data):
    jar = CookieJar(Clock(), counting_random())
    assert not jar.check(data, NONCE, HOST, SPI)


def test_a_cookie_of_another_host_of_ours_is_wrong(jar, clock):
    other = CookieJar(clock, lambda size: b"\x55" * size)
    assert not jar.check(other.make(NONCE, HOST, SPI), NONCE, HOST, SPI)


@pytest.mark.parametrize(
    ("age", "valid"),
    [(0.0, True), (LIFETIME / 2, True), (LIFETIME, True), (LIFETIME + 0.01, False)],
)
@pytest.mark.parametrize("until_rotation", [1000.0, 5.0, 0.001])
def test_a_cookie_lives_for_its_time_whenever_the_secret_changes(
    jar, clock, age, valid, until_rotation
):
    clock.now += max(0.0, SECRET_LIFETIME - until_rotation)
    cookie = jar.make(NONCE, HOST, SPI)
    clock.now += age
    assert jar.check(cookie, NONCE, HOST, SPI) is valid


def test_a_cookie_from_the_future_is_wrong(jar, clock):
    cookie = jar.make(NONCE, HOST, SPI)
    clock.now -= 1.0
    assert not jar.check(cookie, NONCE, HOST, SPI)


def test_the_secret_changes_with_time(clock):
    drawn = []

    def random(size):
        drawn.append(size)
        return bytes([len(drawn)]) * size

    jar = CookieJar(clock, random)
    at_start = len(drawn)
    jar.make(NONCE, HOST, SPI)
    clock.now += SECRET_LIFETIME - 1
    jar.make(NONCE, HOST, SPI)
    assert len(drawn) == at_start
    clock.now += 1
    jar.make(NONCE, HOST, SPI)
    assert drawn[at_start:] == [32]


def test_after_a_long_pause_the_last_secret_is_forgotten(jar, clock):
    jar.make(NONCE, HOST, SPI)
    clock.now += 2 * SECRET_LIFETIME
    jar.make(NONCE, HOST, SPI)
    assert jar._previous is None


def test_versions_of_the_secret_wrap_around(clock):
    jar = CookieJar(clock, lambda size: b"\xff" * size)
    cookie = jar.make(NONCE, HOST, SPI)
    assert cookie[0] == 255
    clock.now += SECRET_LIFETIME - 1
    old = jar.make(NONCE, HOST, SPI)
    clock.now += 1
    new = jar.make(NONCE, HOST, SPI)
    assert new[0] == 0
    assert jar.check(old, NONCE, HOST, SPI)
    assert jar.check(new, NONCE, HOST, SPI)


def test_the_time_in_cookies_wraps_around(clock):
    jar = CookieJar(clock, lambda size: b"\xff" * size)
    clock.now = (1 << 32) / 1000 - 1
    jar.make(NONCE, HOST, SPI)
    cookie = jar.make(NONCE, HOST, SPI)
    clock.now += 2
    assert jar.check(cookie, NONCE, HOST, SPI)


@pytest.mark.parametrize(("lifetime", "secret"), [(0, 10), (-1, 10), (11, 10)])
def test_a_secret_has_to_outlive_its_cookies(lifetime, secret):
    with pytest.raises(ValueError, match="cookies live"):
        CookieJar(lifetime=lifetime, secret_lifetime=secret)


def test_the_secret_is_not_shown(jar):
    assert jar._secret.hex() not in repr(jar)
    assert repr(jar._secret) not in repr(jar)


# -- what is read of a request --


def request(*payloads):
    data = Message(
        SPI, bytes(8), ExchangeType.IKE_SA_INIT, is_initiator=True, is_response=False,
        message_id=0, payloads=payloads,
    ).encode()  # fmt: skip
    return data, data[16]


COOKIE = Notify.of(NotifyType.COOKIE, b"a cookie")
FRAGMENTATION = Notify.of(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED)
KE = KeyExchange(31, b"k" * 32)
NI = Nonce(NONCE)


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        ((COOKIE, KE, NI), InitRequest(NONCE, b"a cookie")),
        ((KE, NI), InitRequest(NONCE, None)),
        ((NI,), InitRequest(NONCE, None)),
        ((KE, NI, COOKIE), InitRequest(NONCE, None)),
        ((KE, COOKIE, NI), InitRequest(NONCE, None)),
        ((VendorId(b"v"), COOKIE, NI), InitRequest(NONCE, None)),
        ((FRAGMENTATION, COOKIE, NI), InitRequest(NONCE, None)),
        ((FRAGMENTATION, NI), InitRequest(NONCE, None)),
        ((COOKIE, COOKIE, NI), InitRequest(NONCE, b"a cookie")),
        ((Notify.of(NotifyType.COOKIE), NI), InitRequest(NONCE, b"")),
        ((Notify(1, b"spi!", NotifyType.COOKIE, b"c"), NI), InitRequest(NONCE, b"c")),
        ((COOKIE, KE), None),
        ((KE,), None),
        ((), None),
    ],
)
def test_read_init_request(payloads, expected):
    assert read_init_request(*request(*payloads)) == expected


@pytest.mark.parametrize("length", [0, 1, 15, 257, 1000])
def test_a_nonce_of_illegal_length_is_none(length):
    data, _ = request(NI)
    body = bytes(length)
    data = data[:28] + bytes([0, 0]) + (4 + length).to_bytes(2, "big") + body
    assert read_init_request(data, 40) is None


def test_truncated_at_every_length():
    data, first = request(COOKIE, KE, NI)
    whole = read_init_request(data, first)
    for length in range(len(data)):
        assert read_init_request(data[:length], first) is None
    assert whole is not None


@pytest.mark.parametrize("length", range(4))
def test_a_payload_shorter_than_its_header_ends_the_search(length):
    """Class 1 and 2: a length that is too short, and a chain that would not advance."""
    data, first = request(KE, NI)
    broken = data[:30] + length.to_bytes(2, "big") + data[32:]
    assert read_init_request(broken, first) is None


def test_a_chain_of_endless_payloads_is_bounded():
    data = request()[0] + b"\x2b\x00\x00\x04" * 10000
    assert read_init_request(data, 43) is None


@pytest.mark.parametrize("spi_length", [9, 255])
def test_a_notify_whose_spi_does_not_fit_ends_the_search(spi_length):
    data, first = request(COOKIE, NI)
    broken = data[:33] + bytes([spi_length]) + data[34:]
    assert read_init_request(broken, first) is None


@given(st.binary(max_size=200), st.integers(0, 255))
def test_fuzz(tail, first):
    data = request()[0] + tail
    result = read_init_request(data, first)
    assert result is None or len(result.nonce) in range(16, 257)


@given(st.integers(0, 120), st.integers(0, 255))
def test_fuzz_of_single_octets(position, value):
    data, first = request(COOKIE, KE, NI)
    broken = bytearray(data)
    broken[position % len(data)] = value
    read_init_request(bytes(broken), first)
