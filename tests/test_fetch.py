"""What is requested ahead is bounded, and pages that look alike are all taken."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fake_listrak import Ask, Reply
from tests.support.runs import CLICK, MESSAGES, NOW, START, at, set_aside, tiny_tap
from tests.support.tap import MakeTap, Tap

# Eight pages for each worker.
AHEAD = 8


def tap_of(make_tap: MakeTap, lists: int, **config: Any) -> Tap:
    tap = tiny_tap(make_tap, lists=lists)
    tap.catalog = None
    tap.config |= config
    return tap


def test_the_first_event_is_requested_after_few_windows_of_messages(make_tap: MakeTap) -> None:
    tap = tap_of(make_tap, 5, interval_days=1, concurrency=4)
    run = tap.run()
    assert run.code == 0
    asked = tap.service.asked
    first_event = next(place for place, ask in enumerate(asked) if "MsgID" in ask.arguments)
    sent = min(str(row["SendDate"]) for row in tap.service.account.messages(345_001))
    needed = (datetime.fromisoformat(sent) - START).days + 1
    assert len([ask for ask in asked if ask.operation == MESSAGES]) > 200
    assert first_event <= 1 + needed + 4 * AHEAD


def test_while_a_reply_hangs_no_more_is_requested_than_the_bound(make_tap: MakeTap) -> None:
    tap = tap_of(make_tap, 40, interval_days=365, concurrency=2, request_timeout=2)
    hung: list[int] = []

    def rule(ask: Ask) -> Reply | None:
        if ask.operation == MESSAGES and ask.arguments["ListID"] == "345001" and len(hung) < 2:
            hung.append(len(tap.service.asked))
            return Reply(hang=True) if len(hung) == 1 else None
        return None

    tap.service.rules.append(rule)
    assert tap.run().code == 0
    assert hung[1] - hung[0] <= 2 * AHEAD + 2


def test_pages_alike_at_both_ends_are_not_taken_for_repeated_ones(make_tap: MakeTap) -> None:
    tap = tiny_tap(make_tap, lists=1, messages=1, counts={CLICK: 0}, page_size=4)
    tap.catalog = None
    account = tap.service.account
    MsgID = int(str(account.messages(345_001)[0]["MsgID"]))
    link = {"LinkUrl": "https://example.com/" + "r" * 200, "LinkDescription": ""}
    for number in range(24):
        email = f"{number}@example.com" if number % 4 in (1, 2) else "robot@example.com"
        account.add_event(CLICK, MsgID, email, NOW, **link)
    run = tap.run(clock=at(NOW))
    assert run.code == 0
    assert set_aside(run) == []
    assert len(run.records("message_clicks")) == 24
