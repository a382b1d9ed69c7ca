from __future__ import annotations

from charon_core.network.rate import RateLimit


def test_lets_a_burst_pass_and_then_the_rate():
    now = [0.0]
    limit = RateLimit(rate=2.0, burst=5, clock=lambda: now[0])
    assert [limit.allow() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.5
    assert [limit.allow() for _ in range(2)] == [True, False]
    now[0] += 1000.0
    assert sum(limit.allow() for _ in range(100)) == 5


def test_tells_how_many_were_held_back():
    now = [0.0]
    limit = RateLimit(rate=1.0, clock=lambda: now[0])
    assert limit.take_suppressed() == ""
    for _ in range(4):
        limit.allow()
    assert limit.take_suppressed() == " (3 more before)"
    assert limit.take_suppressed() == ""
