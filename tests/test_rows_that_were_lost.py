"""Ways in which version 1.0.0 lost rows or never got past one message: each test fails on it."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fake_listrak import Account, Ask, Reply, fault, html, raw, with_exception
from tap_listrak.streams import BY_NAME, PUBLISHED, STREAMS
from tests.support.state_keeping import deep_merge
from tests.support.tap import MakeTap, Run, Tap, keys_emitted, keys_held, selecting

NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
SENT = "ReportMessageContactSent"
OPEN = "ReportRangeMessageContactOpen"
CLICK = "ReportRangeMessageContactClick"
BOUNCE = "ReportRangeMessageContactBounces"
MESSAGES = "ReportListMessageActivity"
CONTACTS = "ReportRangeSubscribedContacts"
BY_MESSAGE = (
    "message_sends",
    "message_opens",
    "message_clicks",
    "message_reads",
    "message_bounces",
    "message_unsubs",
)
SPAN = {"start": datetime(2026, 2, 1), "end": datetime(2026, 3, 15)}


def on_day(day: int) -> dict[str, Callable[[], datetime]]:
    """The clock of a run so many days after NOW."""
    return {"clock": lambda: NOW + timedelta(days=day)}


def make_small_tap(make_tap: MakeTap, **more: Any) -> Tap:
    config = {"start_date": "2026-02-01", **more.pop("config", {})}
    shape = {"lists": 1, "messages": 3, "contacts": 8, "sends": 12, "page_size": 5}
    return make_tap(config=config, **{**shape, **SPAN, **more})


def message_ids(tap: Tap) -> list[int]:
    """The messages of all lists, in the order of the walk."""
    account = tap.service.account
    return [
        int(str(message["MsgID"]))
        for row in account.lists()
        for message in sorted(
            account.messages(int(str(row["ListID"]))),
            key=lambda message: (str(message["SendDate"]), int(str(message["MsgID"]))),
        )
    ]


def set_aside(run: Run) -> list[tuple[str, int]]:
    """The streams and messages that the last STATE names as owed."""
    entries = run.state["bookmarks"]
    return [
        (name, owed["MsgID"])
        for name, entry in entries.items()
        for owed in entry.get("set_aside", [])
    ]


def answer_for(reply: Reply, *msg_ids: int, operation: str | None = None) -> Callable[[Ask], Any]:
    """A rule that answers so for these messages, whatever is asked of them (or one operation)."""

    def rule(ask: Ask) -> Reply | None:
        is_asked = ask.arguments.get("MsgID") in {str(msg_id) for msg_id in msg_ids}
        return reply if is_asked and operation in (None, ask.operation) else None

    return rule


def missing(tap: Tap, *runs: Run) -> dict[str, int]:
    """How many rows the account holds that none of these runs emitted, by stream selected."""
    streams = STREAMS if tap.catalog else PUBLISHED
    held, emitted = keys_held(tap.service.account, streams), keys_emitted(*runs)
    lost = {name: (rows - emitted[name]).total() for name, rows in held.items()}
    return {name: count for name, count in lost.items() if count}


# Lines.

TEXTS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), max_size=20)
# What stands at the ends of JSON objects, and so between two records of a page.
BRACES = st.lists(st.sampled_from(["},{", '"', "{", "}", "[", "]", ",", ":", "\\", "\n", "\u2028"]))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(st.one_of(TEXTS, BRACES.map("".join)), min_size=3, max_size=6))
def test_no_text_breaks_a_line(make_tap: MakeTap, texts: list[str]) -> None:
    tap = make_small_tap(make_tap, messages=0, contacts=0)
    account = tap.service.account
    ListID = int(str(account.lists()[0]["ListID"]))
    account.add_message(ListID, 1, "2026-02-03T00:00:00", Subject=texts[0])
    for number, text in enumerate(texts):
        email, other = f"{number}@example.com", texts[number - 1]
        account.add_event(
            BOUNCE, 1, email, "2026-02-04T00:00:00", BounceDetail=text, BounceReason=other
        )
        account.add_event(
            CLICK, 1, email, "2026-02-04T00:00:00", LinkUrl=text, LinkDescription=other
        )
        account.add_contact(ListID, email, "2026-02-04T00:00:00", AdditionMethod=text)
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert len(run.of_type("RECORD")) == 2 + 3 * len(texts)
    columns = {
        "message_bounces": ("BounceDetail", "BounceReason"),
        "message_clicks": ("LinkUrl", "LinkDescription"),
        "subscribed_contacts": ("AdditionMethod",),
    }
    for name, (first, *_) in columns.items():
        # XML makes one line end of CR LF; the fake writes CR as a reference, so that it survives.
        values = [record[first] or "" for record in run.records(name)]
        assert Counter(values) == Counter(texts)


@pytest.mark.parametrize("text", ["},{", '},{"', '{"a":[{"b":1},{"c', "},{\\", '"},{"'])
def test_a_text_that_looks_like_the_end_of_a_record_is_a_text(make_tap: MakeTap, text: str) -> None:
    tap = make_small_tap(make_tap)
    msg_id = message_ids(tap)[0]
    for number in range(4):
        email = f"{number}@example.com"
        tap.service.account.add_event(
            BOUNCE, msg_id, email, "2026-03-01T00:00:00", BounceDetail=text, BounceReason=text
        )
    run = tap.run(**on_day(0))
    details = [record["BounceDetail"] for record in run.records("message_bounces")]
    assert details.count(text) == 4
    assert missing(tap, run) == {}


# The state as targets keep it.


def flushed(states: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The STATE of a target that flushes by stream: the first, with one entry of the last."""
    first: dict[str, Any] = json.loads(json.dumps(states[0]))
    if name in states[-1]["bookmarks"]:
        first["bookmarks"][name] = states[-1]["bookmarks"][name]
    return first


def test_a_target_that_flushed_one_stream_only_loses_nothing(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, conversations=1).selecting_all()
    bad = message_ids(tap)[0]
    tap.service.rules.append(answer_for(html(404), bad, operation=CLICK))
    first = tap.run(**on_day(0))
    assert first.code == 0
    assert first.state["bookmarks"].keys() == BY_NAME.keys()
    for name in first.state["bookmarks"]:
        tap.service.rules.clear()
        rest = tap.run(state=flushed(first.states, name), **on_day(1))
        kept = Run(0, "".join(f"{line}\n" for line in stored(first, name)), "")
        assert rest.code == 0
        assert missing(tap, kept, rest) == {}


def stored(run: Run, name: str) -> list[str]:
    """The lines of one stream's records: what a target had stored of this run."""
    start = f'{{"type":"RECORD","stream":"{name}"'
    return [line for line in run.out.splitlines() if line.startswith(start)]


def test_a_state_that_claims_nothing_stands_before_the_first_record(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap).selecting_all()
    run = tap.run(**on_day(0))
    kinds = [message["type"] for message in run.messages]
    assert kinds.index("STATE") < kinds.index("RECORD")
    assert run.states[0] == {"bookmarks": {}}
    again = tap.run(state=run.state, **on_day(1))
    kinds = [message["type"] for message in again.messages]
    assert kinds.index("STATE") < kinds.index("RECORD")
    assert again.states[0] == run.state


def merged(older: Any, newer: Any) -> Any:
    """What a deep merge makes of two states."""
    return deep_merge(newer, copy.deepcopy(older))


def test_a_deep_merge_brings_back_no_list_that_was_left_out(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, lists=2)
    one, other = sorted(int(str(row["ListID"])) for row in tap.service.account.lists())
    clicks = json.dumps(selecting(tap.discover(), "message_clicks"))
    whole = json.dumps(selecting(tap.discover(), *keys_held(tap.service.account)))
    narrow = {"list_ids": [other]}
    # The scope of clicks alone is wide, and then as narrow as all others.
    runs = [tap.run(config=narrow, catalog=whole, **on_day(0))]
    runs.append(tap.run(catalog=clicks, state=runs[-1].state, **on_day(1)))
    runs.append(tap.run(config=narrow, catalog=whole, state=runs[-1].state, **on_day(40)))
    msg_id = int(str(tap.service.account.messages(one)[0]["MsgID"]))
    late = NOW + timedelta(days=20)
    tap.service.account.add_event(CLICK, msg_id, "late@example.com", late, LinkUrl="x")
    state = merged(runs[1].state, runs[2].state)
    runs.append(tap.run(catalog=whole, state=state, **on_day(80)))
    assert missing(tap, *runs) == {}


def test_a_merge_brings_back_no_test_messages_option(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    without = tap.run(config={"include_test_messages": False}, **on_day(0))
    whole = tap.run(state=without.state, **on_day(1))
    again = tap.run(state=merged(without.state, whole.state), **on_day(2))
    assert "include_test_messages" not in again.err


# Messages that Listrak refuses.

REFUSALS = {
    "404": html(404),
    "[Report] [InvalidMessage]": fault(f"{OPEN}(): [Report] [InvalidMessage] No such message"),
    "400": html(400),
    "410": html(410),
    "403": html(403),
}


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_one_message_refused_for_all_streams_keeps_nothing_else(
    make_tap: MakeTap, refusal: str, concurrency: int
) -> None:
    tap = make_small_tap(make_tap, messages=6, config={"concurrency": concurrency})
    bad = message_ids(tap)[2]
    tap.service.rules.append(answer_for(REFUSALS[refusal], bad))
    first = tap.run(**on_day(0))
    assert first.code == 0, first.err
    assert sorted(set_aside(first)) == sorted((name, bad) for name in BY_MESSAGE)
    second = tap.run(state=first.state, **on_day(1))
    assert second.code == 0
    tap.service.rules.clear()
    assert set(missing(tap, first, second)) <= set(BY_MESSAGE)
    third = tap.run(state=second.state, **on_day(2))
    assert missing(tap, first, second, third) == {}
    assert set_aside(third) == []


def test_eight_refused_among_sixty_keep_no_other_message_away(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, messages=60, sends=4)
    bad = message_ids(tap)[5::7][:8]
    tap.service.rules.append(answer_for(html(400), *bad))
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert len(set_aside(run)) == 8 * len(BY_MESSAGE)


def test_a_refused_message_that_failed_again_is_asked_once_a_run(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    bad = message_ids(tap)[1]
    tap.service.rules.append(answer_for(html(404), bad))
    first = tap.run(**on_day(0))
    for day in (1, 2):
        before = len(tap.service.asked)
        run = tap.run(state=first.state, **on_day(day))
        asked = tap.service.asked[before:]
        assert run.code == 0
        calls = Counter(ask.operation for ask in asked if ask.arguments.get("MsgID") == str(bad))
        assert set(calls.values()) == {1}
        ends = {owed["end"] for owed in run.state["bookmarks"]["message_opens"]["set_aside"]}
        assert ends == {f"{NOW + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}"}
        first = run


# Pages that are others by now.


@pytest.mark.parametrize(
    "changed", [{"timezone": "UTC"}, {"page_size": 10}, {"page_size": 2}], ids=str
)
def test_a_page_that_is_another_by_now_begins_its_message_anew(
    make_tap: MakeTap, changed: dict[str, Any]
) -> None:
    config = {"timezone": "America/New_York"}
    counts = {CLICK: 23, OPEN: 0, BOUNCE: 0}
    tap = make_small_tap(make_tap, config=config, counts=counts, timezone="America/New_York")
    bad = message_ids(tap)[0]

    def rule(ask: Ask) -> Reply | None:
        is_bad = ask.operation == CLICK and ask.arguments["MsgID"] == str(bad)
        return html(404) if is_bad and int(ask.arguments["Page"]) >= 4 else None

    tap.service.rules.append(rule)
    first = tap.run(**on_day(0))
    assert first.state["bookmarks"]["message_clicks"]["set_aside"][0]["Page"] == 3
    tap.service.rules.clear()
    tap.service.account.page_size = changed.get("page_size", 5)
    tap.service.account.version += 1
    # A row that came late, and moves the others on by one.
    tap.service.account.add_event(CLICK, bad, "first@example.com", "2026-02-02T00:00:00")
    zone = {"timezone": changed["timezone"]} if "timezone" in changed else {}
    second = tap.run(config=zone, state=first.state, **on_day(1))
    third = tap.run(config=zone, state=second.state, **on_day(2))
    clicks = Counter(
        record["EmailAddress"]
        for run in (first, second, third)
        for record in run.records("message_clicks")
        if record["MsgID"] == bad
    )
    events = tap.service.account.events(CLICK, bad)
    assert clicks.keys() == {str(event["EmailAddress"]) for event in events}
    assert missing(tap, first, second, third) == {}


@pytest.mark.usefixtures("state_behind_every_page")
def test_a_page_number_kept_from_other_page_sizes_loses_nothing(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, messages=1, counts={SENT: 60, OPEN: 60}, page_size=10)
    run = tap.run(**on_day(0))
    lines = run.out.splitlines()
    opens = [at for at, line in enumerate(lines) if '"stream":"message_opens","record"' in line]
    end = next(at for at in range(opens[45], len(lines)) if lines[at].startswith('{"type":"STATE"'))
    cut = Run(0, "\n".join([*lines[: end + 1], ""]), "")
    tap.service.account.page_size = 25
    tap.service.account.version += 1
    rest = tap.run(state=cut.state, **on_day(1))
    assert missing(tap, cut, rest) == {}


# What Listrak shows and what it does not.


def without_message(msg_id: int) -> Callable[[Ask], Reply | None]:
    """A rule that leaves one message out of the replies of messages, and of those alone."""

    def rule(ask: Ask) -> Reply | None:
        if ask.operation != MESSAGES:
            return None
        reply = ask.honest()
        before, row, after = reply.body.partition(b"<MsgID>%d</MsgID>" % msg_id)
        if not row:
            return None
        start, end = before.rindex(b"<WSMessageActivity>"), after.index(b"</WSMessageActivity>")
        return raw(before[:start] + after[end + len(b"</WSMessageActivity>") :])

    return rule


def test_a_debt_outlives_a_reply_that_lacks_its_message(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    bad = message_ids(tap)[1]
    refuse = answer_for(html(404), bad, operation=CLICK)
    tap.service.rules.append(refuse)
    first = tap.run(**on_day(0))
    tap.service.rules.append(without_message(bad))
    second = tap.run(state=first.state, **on_day(1))
    assert set_aside(second) == [("message_clicks", bad)]
    tap.service.rules.clear()
    third = tap.run(state=second.state, **on_day(2))
    assert missing(tap, first, second, third) == {}
    assert set_aside(third) == []


def test_events_while_a_recovered_message_is_not_shown_are_not_lost(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    bad = message_ids(tap)[1]
    tap.service.rules.append(answer_for(html(404), bad, operation=CLICK))
    runs = [tap.run(**on_day(0))]
    tap.service.rules[:] = [without_message(bad)]
    late = NOW + timedelta(days=2)
    for day in (3, 6):
        runs.append(tap.run(state=runs[-1].state, **on_day(day)))
        tap.service.account.add_event(CLICK, bad, f"{day}@example.com", late, LinkUrl="x")
        late += timedelta(days=3)
    tap.service.rules.clear()
    runs.append(tap.run(state=runs[-1].state, **on_day(9)))
    assert missing(tap, *runs) == {}


def test_a_debt_is_dropped_when_it_was_neither_shown_nor_answered_for_30_days(
    make_tap: MakeTap,
) -> None:
    tap = make_small_tap(make_tap)
    bad = message_ids(tap)[1]
    tap.service.rules.append(answer_for(html(404), bad, operation=CLICK))
    run = tap.run(**on_day(0))
    tap.service.rules.append(without_message(bad))
    for day in (1, 15, 30):
        run = tap.run(state=run.state, **on_day(day))
        assert set_aside(run) == [("message_clicks", bad)]
    run = tap.run(state=run.state, **on_day(31))
    assert run.code == 0
    assert set_aside(run) == []
    (warning,) = [line for line in run.lines("WARNING") if "given up" in line]
    assert str(bad) in warning


# Replies that are honest, though they look odd.


def test_pages_alike_at_both_ends_are_not_taken_for_repeated_ones(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, messages=1, counts={CLICK: 0}, page_size=20)
    msg_id = message_ids(tap)[0]
    robot = {"LinkUrl": "https://example.com/" + "r" * 200, "LinkDescription": ""}
    others = {25: "one@example.com", 45: "two@example.com", 70: "six@example.com"}
    for number in range(100):
        email = others.get(number, "rob@example.com")
        tap.service.account.add_event(CLICK, msg_id, email, "2026-03-01T00:00:00", **robot)
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert set_aside(run) == []
    assert len(run.records("message_clicks")) == 100


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("date", ["9999-12-31T23:59:59", "0001-01-01T00:00:01"])
def test_a_date_at_the_end_of_time_is_held_there(make_tap: MakeTap, date: str, zone: str) -> None:
    tap = make_small_tap(make_tap, config={"timezone": zone}, timezone=zone)
    tap.service.account.add_list(77, ListName="for ever", CreateDate=date)

    def rule(ask: Ask) -> Reply | None:
        if ask.operation != CONTACTS or ask.arguments["Page"] != "1":
            return None
        row = f"<ContactID>x</ContactID><AdditionDate>{date}</AdditionDate>"
        row += "<EmailAddress>x@example.com</EmailAddress>"
        row = f"<WSContactSubscriptionInfo>{row}</WSContactSubscriptionInfo>"
        start = f"<{CONTACTS}Result>".encode()
        body = ask.honest().body
        if start in body:
            return raw(body.replace(start, start + row.encode(), 1))
        return None

    tap.service.rules.append(rule)
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert set_aside(run) == []
    (row,) = [record for record in run.records("lists") if record["ListID"] == 77]
    assert row["CreateDate"][:4] == date[:4]
    contacts = [row for row in run.records("subscribed_contacts") if row["ContactID"] == "x"]
    assert {record["AdditionDate"][:4] for record in contacts} == {date[:4]}


@pytest.mark.parametrize("text", ["[Report] [timeout] x", f"{CLICK}(): [Report] [value] x"])
def test_an_unknown_code_is_a_refusal_whatever_it_is_called(make_tap: MakeTap, text: str) -> None:
    tap = make_small_tap(make_tap)
    bad = message_ids(tap)[0]
    tap.service.rules.append(answer_for(fault(text), bad, operation=CLICK))
    run = tap.run(**on_day(0))
    assert set_aside(run) == [("message_clicks", bad)]
    asked = [ask for ask in tap.service.asked if ask.operation == CLICK]
    assert len([ask for ask in asked if ask.arguments["MsgID"] == str(bad)]) == 1
    (warning,) = [line for line in run.lines("WARNING") if "Set aside" in line]
    assert "Listrak refused the request" in warning


@pytest.mark.parametrize("make", [lambda ask, text: fault(text), with_exception])
def test_brackets_within_a_text_are_no_code(make_tap: MakeTap, make: Any) -> None:
    tap = make_small_tap(make_tap)
    text = "Timeout expired [SQL01] [Reporting] deadlocked"
    failed: list[Ask] = []

    def rule(ask: Ask) -> Reply | None:
        if ask.operation != SENT or failed:
            return None
        failed.append(ask)
        reply: Reply = make(ask, text)
        return reply

    tap.service.rules.append(rule)
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert set_aside(run) == []
    assert missing(tap, run) == {}
    assert len(tap.waits) == 1


# Numbers.


@pytest.mark.parametrize("number", [0, -3, 2**31 - 1])
def test_a_list_and_a_message_with_odd_numbers_can_be_gone_on_with(
    make_tap: MakeTap, number: int
) -> None:
    account = Account(lists=0, messages=0, contacts=0, page_size=2)
    account.add_list(number, ListName="odd")
    account.add_message(number, number, "2026-02-03T00:00:00")
    for email in "abcde":
        account.add_event(OPEN, number, f"{email}@example.com", "2026-02-04T00:00:00")
        account.add_contact(number, f"{email}@example.com", "2026-02-04T00:00:00")
    tap = make_tap(account, config={"start_date": "2026-02-01"})
    first = tap.run(**on_day(0))
    assert first.code == 0
    for state in first.states:
        rest = tap.run(state=state, **on_day(1))
        assert rest.code == 0, rest.err
    tap.service.rules.append(answer_for(html(404), number))
    bad = tap.run(**on_day(0))
    again = tap.run(state=bad.state, **on_day(1))
    assert again.code in (0, 1)
    assert "In the state" not in again.err


# What is asked before the first row.


def test_the_first_record_comes_after_the_calls_that_it_needs(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap, lists=5, config={"interval_days": 1, "concurrency": 4})
    run = tap.run(**on_day(0))
    assert run.code == 0
    windows = [ask for ask in tap.service.asked if ask.operation == MESSAGES]
    first_event = next(at for at, ask in enumerate(tap.service.asked) if "MsgID" in ask.arguments)
    sent = min(str(row["SendDate"]) for row in tap.service.account.messages(345_001))
    needed = (datetime.fromisoformat(sent) - datetime(2026, 2, 1)).days + 1
    assert len(windows) > 200
    # No more is asked ahead than the bound allows: eight pages for each worker.
    assert first_event <= 1 + needed + 4 * 8


def test_a_list_that_hangs_lets_no_more_be_fetched_than_the_bound(make_tap: MakeTap) -> None:
    tap = make_small_tap(
        make_tap, lists=40, config={"interval_days": 5, "concurrency": 2, "request_timeout": 2}
    )
    hung: list[int] = []

    def rule(ask: Ask) -> Reply | None:
        if ask.operation == MESSAGES and ask.arguments["ListID"] == "345001" and not hung:
            hung.append(len(tap.service.asked))
            return Reply(hang=True)
        if hung and len(hung) == 1 and ask.arguments.get("ListID") == "345001" and ask.attempt > 1:
            hung.append(len(tap.service.asked))
        return None

    tap.service.rules.append(rule)
    run = tap.run(**on_day(0))
    assert run.code == 0
    assert hung[1] - hung[0] <= 2 * 8 + 2


# What a reading of the code found afterwards.


def test_a_start_date_behind_the_end_of_an_unfinished_range_begins_a_new_one(
    make_tap: MakeTap,
) -> None:
    tap = make_small_tap(make_tap, messages=8)
    tap.service.rules.append(answer_for(fault("[Logon] [Locked] No."), message_ids(tap)[4]))
    cut = tap.run(**on_day(0))
    assert cut.code == 3
    tap.service.rules.clear()
    before = len(tap.service.asked)
    later = {"start_date": "2026-03-25"}
    run = tap.run(config=later, state=cut.state, **on_day(10))
    assert run.code == 0
    asked = [ask.arguments for ask in tap.service.asked[before:] if "EndDate" in ask.arguments]
    assert asked
    assert all(each["StartDate"] <= each["EndDate"] for each in asked)
    back = tap.run(state=run.state, **on_day(11))
    assert missing(tap, cut, run, back) == {}


def test_a_count_that_cannot_be_read_keeps_nothing_away(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    ListID = int(str(tap.service.account.lists()[0]["ListID"]))
    tap.service.account.add_message(ListID, 5, "2026-02-03T00:00:00", OpenCount="1,234")
    tap.service.account.add_event(OPEN, 5, "a@example.com", "2026-02-04T00:00:00")
    run = tap.run(catalog=selecting(tap.discover(), "message_opens"), **on_day(0))
    assert run.code == 0
    assert 5 in {record["MsgID"] for record in run.records("message_opens")}
    assert tap.run(**on_day(0)).code == 1  # where the column is selected, its value is wanted


def test_more_than_a_thousand_debts_are_all_asked_before_they_end_a_run(make_tap: MakeTap) -> None:
    tap = make_small_tap(make_tap)
    ListID = int(str(tap.service.account.lists()[0]["ListID"]))
    real = message_ids(tap)
    # Listrak refuses the MsgIDs that it does not know.
    debts = [
        {"ListID": ListID, "MsgID": msg_id, "start": "2026-02-01", "end": "2026-03-20"}
        for msg_id in [*range(1, 1003), *real]
    ]
    entry = {"OpenDate": "2026-03-20T00:00:00Z", "set_aside": debts}
    run = tap.run(state={"bookmarks": {"message_opens": entry}}, **on_day(0))
    assert run.code != 0
    assert "More than 1,000 are set aside" in run.lines("CRITICAL")[0]
    assert {msg_id for _, msg_id in set_aside(run)} == set(range(1, 1003))
    held = keys_held(tap.service.account)["message_opens"]
    assert keys_emitted(run)["message_opens"] == held
