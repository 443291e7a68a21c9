"""A window that takes too long, or whose reply is too large, is requested again in halves."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from fake_listrak import Account, Ask, Reply
from tap_listrak.listrak import transport
from tap_listrak.streams import BY_NAME
from tests.support.runs import tap_for
from tests.support.tap import MakeTap, Tap

Which = Callable[[datetime, datetime], bool]
DAY = timedelta(days=1)
LIMIT = 2**20


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", LIMIT)


def account() -> Account:
    return Account(lists=2, messages=20, contacts=30, complaints=30, campaigns=0,
                   start=datetime(2026, 6, 2), end=datetime(2026, 6, 30))  # fmt: skip


def window(ask: Ask) -> tuple[datetime, datetime]:
    """The bounds of a request, without the second by which windows overlap."""
    start, end = (datetime.fromisoformat(ask.arguments[name]) for name in ("StartDate", "EndDate"))
    return start + timedelta(seconds=1), end


def fail_windows(tap: Tap, stream: str, which: Which, reply: Reply | None = None) -> None:
    """Let the windows of the first list (or of the account) fail for their size, or with this."""

    def rule(ask: Ask) -> Reply | None:
        if ask.operation != BY_NAME[stream].operation or not which(*window(ask)):
            return None
        is_first = ask.arguments.get("ListID", str(tap.list_ids[0])) == str(tap.list_ids[0])
        return (reply or Reply(b" " * (LIMIT + 1))) if is_first else None

    tap.service.rules.append(rule)


def days_asked(tap: Tap, stream: str) -> list[float]:
    """The days of each window requested of the first list, or of the account, in order."""
    list_id = tap.list_ids[0]
    return [
        (window(ask)[1] - window(ask)[0]) / DAY
        for ask in tap.calls(stream)
        if ask.arguments.get("ListID", str(list_id)) == str(list_id)
        and ask.arguments.get("Page", "1") == "1"
    ]


@pytest.mark.parametrize("stream", ["messages", "subscribed_contacts", "list_unsubs", "complaints"])
def test_a_window_too_large_is_halved_until_it_is_not(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream, account=account(), start_date="2026-06-01", interval_days=30)
    fail_windows(tap, stream, lambda start, end: end - start > 10 * DAY)
    run = tap.night()
    assert (run.code, tap.missing(run), run.warnings()) == (0, {}, [])
    assert Counter(days_asked(tap, stream)) == {30: 1, 15: 2, 7.5: 4}
    assert len([line for line in run.lines("INFO") if "in two halves" in line]) == 3


def test_a_window_that_times_out_is_halved_after_one_try(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "messages", "message_opens", account=account(),
                  start_date="2026-06-01", request_timeout=1)  # fmt: skip
    fail_windows(tap, "messages", lambda start, end: end - start > 20 * DAY, Reply(hang=True))
    run = tap.night()
    assert (run.code, tap.missing(run), run.warnings()) == (0, {}, [])
    assert days_asked(tap, "messages") == [30, 15, 15]
    other = tap.list_ids[1]
    assert len(tap.calls("messages", ListID=other)) == 1, "the other lists keep their windows"


@pytest.mark.parametrize("stream", ["messages", "subscribed_contacts", "complaints"])
def test_a_day_has_usual_tries_and_the_rest_is_not_split(make_tap: MakeTap, stream: str) -> None:
    tap = tap_for(make_tap, stream, "message_opens", account=account(), start_date="2026-06-01")
    # The first day, and what is longer than ten of them.
    day = datetime(2026, 6, 1, 6)
    fail_windows(tap, stream, lambda start, end: start <= day <= end or (end - start > 10 * DAY))
    run = tap.night()
    asked = Counter(days_asked(tap, stream))
    # The rest of what was halved comes, and the second half fails whole.
    assert asked.pop(15) in (2, 6)
    assert asked == {30: 1, 7.5: 2, 3.75: 2, 1.875: 2, 1: 5, 0.875: 1}
    assert tap.missing(run).keys() == {stream, *(["message_opens"] if stream == "messages" else [])}
    if stream == "messages":
        assert len(run.warnings("Skipped in this run")) == 2
        assert [each["stream"] for each in run.set_aside] == ["message_opens"] * 2
    else:
        bounds = [(each["start"], each["end"]) for each in run.set_aside]
        assert bounds == [
            ("2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"),
            ("2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z"),
        ]
    tap.service.rules.clear()
    assert tap.missing(run, tap.night(1, run)) == {}


def test_a_window_that_fails_in_another_way_is_not_halved(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "subscribed_contacts", account=account(), start_date="2026-06-01")
    fail_windows(tap, "subscribed_contacts", lambda start, end: True, Reply(b"", 503))
    run = tap.night()
    assert days_asked(tap, "subscribed_contacts") == [30] * 5
    assert len(run.set_aside) == 1


def test_what_was_set_aside_is_not_halved_and_neither_is_a_message(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, "message_opens", "subscribed_contacts", account=account(),
                  start_date="2026-06-01")  # fmt: skip
    fail_windows(tap, "subscribed_contacts", lambda start, end: True, Reply(b"", 503))
    first = tap.night()
    tap.service.rules.clear()
    fail_windows(tap, "subscribed_contacts", lambda start, end: end - start > 20 * DAY)
    fail_windows(tap, "message_opens", lambda start, end: True)
    tap.night(1, first)
    assert days_asked(tap, "subscribed_contacts")[0] == 30
    assert 30 not in days_asked(tap, "subscribed_contacts")[1:]
    assert {int(each) for each in days_asked(tap, "message_opens")} <= {1, 2}
