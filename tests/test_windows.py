"""A window that takes too long, or whose reply is too large, is requested again in halves."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from fake_listrak import Account, Ask, Reply
from tap_listrak.listrak import transport
from tests.support import runs
from tests.support.tap import MakeTap, Tap, of_stream

Which = Callable[[datetime, datetime], bool]
DAY = timedelta(days=1)
LIMIT = 2**20
BUSY = Reply(b"", 503)


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", LIMIT)


def tap_for(make_tap: MakeTap, *streams: str, **config: object) -> Tap:
    """A tap for an account of June, which is one window."""
    dates: dict[str, Any] = {"start": datetime(2026, 6, 2), "end": datetime(2026, 6, 30)}
    account = Account(lists=1, messages=20, contacts=30, complaints=30, campaigns=0, **dates)
    return runs.tap_for(make_tap, *streams, account=account, start_date="2026-06-01", **config)


def window(ask: Ask) -> tuple[datetime, datetime]:
    """The bounds of a request, without the second by which windows overlap."""
    start, end = (datetime.fromisoformat(ask.arguments[name]) for name in ("StartDate", "EndDate"))
    return start + timedelta(seconds=1), end


def fail_windows(tap: Tap, stream: str, which: Which, reply: Reply | None = None) -> None:
    """Let windows of a stream fail for their size, or with this reply."""
    reply, is_call = reply or Reply(b" " * (LIMIT + 1)), of_stream(stream)
    tap.fail_calls(lambda ask: is_call(ask) and which(*window(ask)), reply)


def days_asked(tap: Tap, stream: str) -> list[float]:
    """The days of each window requested, in order."""
    first_pages = (ask for ask in tap.calls(stream) if ask.arguments.get("Page", "1") == "1")
    return [(end - start) / DAY for start, end in map(window, first_pages)]


@pytest.mark.parametrize("stream", ["messages", "subscribed_contacts", "list_unsubs", "complaints"])
def test_a_window_too_large_is_halved_until_it_is_not(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream, interval_days=30)
    fail_windows(tap, stream, lambda start, end: end - start > 10 * DAY)
    run = tap.night()
    assert (run.code, tap.missing(run), run.warnings()) == (0, {}, [])
    assert Counter(days_asked(tap, stream)) == {30: 1, 15: 2, 7.5: 4}
    assert len([line for line in run.lines("INFO") if "in two halves" in line]) == 3


def test_a_window_that_times_out_is_halved_after_one_try(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "messages", "message_opens", request_timeout=3)
    fail_windows(tap, "messages", lambda start, end: end - start > 20 * DAY, Reply(hang=True))
    run = tap.night()
    assert (run.code, tap.missing(run), run.warnings()) == (0, {}, [])
    assert days_asked(tap, "messages") == [30, 15, 15]


@pytest.mark.parametrize("stream", ["messages", "subscribed_contacts", "complaints"])
def test_a_day_has_usual_tries_and_the_rest_is_not_split(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream, "message_opens")
    # The first day, and what is longer than ten of them.
    day = datetime(2026, 6, 1, 6)
    fail_windows(tap, stream, lambda start, end: start <= day <= end or (end - start > 10 * DAY))
    run = tap.night()
    asked = Counter(days_asked(tap, stream))
    # The rest of what was halved comes, and the second half fails whole.
    assert asked.pop(15) in (2, 6)
    assert asked == {30: 1, 7.5: 2, 3.75: 2, 1.875: 2, 1: 5, 0.875: 1}
    if stream == "messages":
        assert tap.missing(run).keys() == {"messages", "message_opens"}
        assert len(run.warnings("Skipped in this run")) == 2
        assert [each["stream"] for each in run.set_aside] == ["message_opens"] * 2
    else:
        assert tap.missing(run).keys() == {stream}
        bounds = [(each["start"][:10], each["end"][:10]) for each in run.set_aside]
        assert bounds == [("2026-06-01", "2026-06-02"), ("2026-06-16", "2026-07-01")]
    tap.heal()
    assert tap.missing(run, tap.night(1, run)) == {}


def test_neither_another_failure_nor_a_retry_nor_a_message_is_halved(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "subscribed_contacts")
    tap.config["start_date"] = "2026-05-02"
    fail_windows(tap, "subscribed_contacts", lambda start, end: start.month == 6, BUSY)
    first = tap.night()
    assert days_asked(tap, "subscribed_contacts") == [30] * (1 + 5)
    assert len(first.set_aside) == 1
    tap.heal()
    fail_windows(tap, "subscribed_contacts", lambda start, end: end - start > 20 * DAY)
    fail_windows(tap, "message_opens", lambda start, end: True)
    tap.night(1, first)
    assert [days > 20 for days in days_asked(tap, "subscribed_contacts")][:2] == [True, False]
    assert {int(each) for each in days_asked(tap, "message_opens")} <= {1, 2}
