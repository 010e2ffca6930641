"""What follows from a failed attempt."""

from datetime import UTC, datetime

import pytest

from stigmergy.models.config import RetryPolicy
from stigmergy.models.retrying import Elsewhere, Failure, Refuse, Retry, judge, parse_retry_after

POLICY = RetryPolicy(max_attempts=5, base_s=1.0, max_wait_s=30.0)
NOW = datetime(2026, 7, 14, 12, 0, 0, tzinfo=UTC)


def failed(status: int, retry_after_s: float | None = None) -> Failure:
    return Failure("status", f"HTTP {status}", status=status, retry_after_s=retry_after_s)


def verdict_on(failure: Failure, *, attempt: int = 1, draw: float = 0.0):
    return judge(failure, attempt=attempt, policy=POLICY, draw=draw)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_wrong_request_is_refused_and_not_repeated(status):
    assert verdict_on(failed(status)) == Refuse()


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_provider_that_will_not_serve_is_left_for_another(status):
    assert verdict_on(failed(status)) == Elsewhere()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status):
    assert isinstance(verdict_on(failed(status)), Retry)


@pytest.mark.parametrize("kind", ["timeout", "connect", "broken", "malformed"])
def test_a_call_without_any_answer_is_tried_again(kind):
    assert isinstance(verdict_on(Failure(kind, "gone")), Retry)


def test_retry_after_is_waited_exactly():
    assert verdict_on(failed(429, retry_after_s=7.0), attempt=4, draw=0.9) == Retry(
        7.0, provider_wide=True
    )


def test_a_provider_that_asks_for_more_than_the_longest_wait_is_left():
    assert verdict_on(failed(429, retry_after_s=31.0)) == Elsewhere(cool_down_s=31.0)


def test_the_backoff_doubles_up_to_the_longest_wait():
    waits = [verdict_on(failed(500), attempt=attempt).wait_s for attempt in range(1, 8)]
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_chance_shortens_the_backoff_by_at_most_half():
    assert verdict_on(failed(500), attempt=3, draw=0.5).wait_s == 3.0
    assert verdict_on(failed(500), attempt=3, draw=0.999).wait_s > 2.0


def test_an_error_of_one_call_does_not_stop_the_others():
    assert not verdict_on(failed(500)).provider_wide
    assert verdict_on(failed(503)).provider_wide
    assert verdict_on(Failure("connect", "refused")).provider_wide


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        ("1.5", 1.5),
        ("Tue, 14 Jul 2026 12:00:30 GMT", 30.0),
        ("Tue, 14 Jul 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds
