"""The walk over the account: what is asked, in which order, and what is emitted of it.

Lists by ListID; a list's messages by SendDate and MsgID; of each message its streams; then the
list's contacts by date windows; of all these, pages. State moves only behind what was emitted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
from singer import metrics

from tap_listrak.catalog import Selection
from tap_listrak.client import Client, Reply
from tap_listrak.config import Config
from tap_listrak.dates import UTC, parse_instant, windows
from tap_listrak.errors import ListrakError, NoAccess, OutputError, Passing, TapError, Unreadable
from tap_listrak.output import Output
from tap_listrak.parts import Part
from tap_listrak.pipeline import Ended, Page, Read, Workers, in_order
from tap_listrak.records import Oddities, Reader, Record
from tap_listrak.state import Offset, Place, Progress, SetAside, State
from tap_listrak.streams import LISTS, MESSAGES, STREAMS, SUBSCRIBED_CONTACTS, Stream

LOGGER = logging.getLogger(__name__)

MOST_SET_ASIDE = 5
SECONDS_BETWEEN_STATES = 1.0
SECONDS_BETWEEN_COUNTS = 60.0

_DAWN = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Message:
    """What the walk needs of a message, and its record as JSON."""

    MsgID: int
    SendDate: datetime | None
    counts: dict[str, Any]
    record: bytes

    @property
    def place(self) -> tuple[datetime, int]:
        """Where it stands in the order of its list."""
        return self.SendDate or _DAWN, self.MsgID


# Something to do when its turn in the order has come.
Turn = Callable[[], None]


class Sync:
    """One run: everything selected, from the state's bookmarks to the run's end."""

    def __init__(
        self,
        config: Config,
        selection: Selection,
        state: State,
        client: Client,
        output: Output,
        workers: Workers,
        now: datetime,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._selection = selection
        self._state = state
        self._client = client
        self._output = output
        self._workers = workers
        self._monotonic = monotonic
        resumed_end = state.unfinished_end(selection)
        self._end = resumed_end or now
        lookback = timedelta(days=config.lookback_days)
        self._active = {
            stream: state[stream]
            for stream in selection
            if state[stream].begin(
                config.start_date, self._end, lookback, resuming=resumed_end is not None
            )
        }
        # The walk runs ahead of what is emitted, so it looks at where the last run stood.
        self._resume = {stream: _offset(each).place for stream, each in self._active.items()}
        # Parents are read whole, as the walk needs their keys, dates and counts.
        whole = {parent: tuple(parent.schema()["properties"]) for parent in (LISTS, MESSAGES)}
        self._readers = {
            stream: Reader(stream, columns, config.timezone)
            for stream, columns in {**selection, **whole}.items()
        }
        self._windows: dict[int, list[Future[tuple[list[Message], Page]]]] = {}
        self._failed: set[tuple[Stream, int, int | None]] = set()
        self._given_up: set[tuple[Stream, int, int | None, bool]] = set()
        self._succeeded: set[Stream] = set()
        self._unknown: set[tuple[Stream, str]] = set()
        self._keyless: dict[Stream, int] = {}
        self.rows: dict[Stream, int] = dict.fromkeys(selection, 0)
        self._counted: dict[Stream, int] = dict.fromkeys(selection, 0)
        self._last_state = self._last_count = float("-inf")

    def run(self) -> None:
        """Emit everything. Raises TapError; then a last STATE stands behind what was emitted."""
        lists = self._lists()
        self._last_count = self._monotonic()
        for stream, columns in self._selection.items():
            properties = stream.schema()["properties"]
            schema = {**stream.schema(), "properties": {name: properties[name] for name in columns}}
            self._output.schema(stream, schema)
        try:
            self._walk(lists)
        except OutputError:
            raise
        except BaseException:
            self._write_state()
            raise
        finally:
            self._report()
        self._write_state()
        silent = {stream for stream, _, _ in self._failed} - self._succeeded
        if silent:
            names = ", ".join(sorted(stream.name for stream in silent))
            raise TapError(f"Not one call succeeded for {names}; see the warnings above.")

    def _lists(self) -> list[tuple[int, bytes]]:
        """Fetch the lists to walk: ListID and record as JSON, in order."""
        future = self._workers.submit(lambda: self._client.call(LISTS, {}, "of the account"))
        reply = self._workers.result(future)
        oddities = Oddities()
        records = self._read(LISTS, "of the account", reply, None, oddities)
        self._note_oddities(LISTS, oddities)
        self._lists_came = reply.came
        lists = {record["ListID"]: self._encode(LISTS, record) for record in records}
        if not lists:
            raise TapError(
                "Listrak shows this user no lists. Grant it the lists to sync under Manage, "
                "Accounts, User Manager."
            )
        wanted = self._config.list_ids
        if wanted is not None:
            unknown = wanted - lists.keys()
            if unknown:
                ids = ", ".join(map(str, sorted(unknown)))
                LOGGER.warning("Listrak does not show these of the config's list_ids: %s.", ids)
            lists = {ListID: record for ListID, record in lists.items() if ListID in wanted}
            if not lists:
                raise TapError(
                    "None of the config's `list_ids` is a list that Listrak shows this user."
                )
        return sorted(lists.items())

    def _encode(self, stream: Stream, record: Record) -> bytes:
        """Make the JSON of a parent's record, with the columns that were selected."""
        return orjson.dumps({column: record[column] for column in self._selection.get(stream, ())})

    # The order of the walk.

    def _walk(self, lists: list[tuple[int, bytes]]) -> None:
        for outcome in in_order(self._items(lists), self._ask, self._workers):
            if isinstance(outcome, Read):
                self._emit(outcome)
            elif isinstance(outcome, Ended):
                self._end_part(outcome)
            else:
                outcome()
            self._tick()
        for progress in self._active.values():
            progress.complete()

    def _items(self, lists: list[tuple[int, bytes]]) -> Iterator[Part | Turn | None]:
        """Give, in order, all that is to be asked and done; None while a reply is awaited."""
        if LISTS in self._active:
            yield partial(self._emit_lists, lists)
        yield from self._set_aside_parts({ListID for ListID, _ in lists})
        to_come = [ListID for ListID, _ in lists if self._needs_messages(ListID)]
        for ListID, _ in lists:
            messages = None
            if to_come and to_come[0] == ListID:
                messages = yield from self._messages(to_come)
                to_come.pop(0)
            yield from self._list_items(ListID, messages)

    def _set_aside_parts(self, known: set[int]) -> Iterator[Part]:
        for progress in self._active.values():
            for owed in progress.set_aside:
                if owed.ListID in known:
                    part = Part(progress.stream, owed.ListID, owed.start, owed.end, owed.MsgID)
                    yield from replace(part, page=owed.page, owed=owed).split()

    def _list_items(
        self, ListID: int, messages: tuple[list[Message], Page] | None
    ) -> Iterator[Part | Turn]:
        pending = self._pending(ListID)
        if not pending:
            return
        if messages is not None:
            yield partial(self._emit_messages, ListID, *messages)
            for message in messages[0]:
                for progress in pending:
                    if progress.stream.of_message:
                        yield from self._message_part(progress, ListID, message)
        for progress in pending:
            if progress.stream is SUBSCRIBED_CONTACTS:
                yield from self._contact_parts(progress, ListID)
        yield partial(self._walked, ListID)

    def _pending(self, ListID: int) -> list[Progress]:
        """The streams that have yet to walk a list."""
        return [
            progress
            for stream, progress in self._active.items()
            if stream is not LISTS and ListID not in _offset(progress).done
        ]

    def _message_part(self, progress: Progress, ListID: int, message: Message) -> Iterator[Part]:
        """Give the part that a stream owes of a message, unless it was emitted before."""
        stream, start = progress.stream, progress.start_of(ListID)
        place = self._resume[stream]
        page = 1
        if place and place.ListID == ListID and place.MsgID is not None:
            here = (place.since or _DAWN, place.MsgID)
            if message.place < here or (message.place == here and place.page is None):
                return
            if message.place == here:
                page = place.page or 1
        ranged = "StartDate" in stream.arguments
        if not ranged and message.SendDate and message.SendDate < start:
            return
        since_sent = not ranged or message.SendDate is None or start <= message.SendDate
        yield Part(
            stream,
            ListID,
            start,
            _offset(progress).end,
            MsgID=message.MsgID,
            SendDate=message.SendDate,
            page=page,
            # The counts are to date, so they say little about a window that starts later.
            expected=message.counts.get(stream.count or "") if since_sent else None,
        )

    def _contact_parts(self, progress: Progress, ListID: int) -> Iterator[Part]:
        start, end = progress.start_of(ListID), _offset(progress).end
        place = self._resume[progress.stream]
        page = 1
        if place and place.ListID == ListID and place.since:
            if place.page is None and place.since >= end:
                return
            start, page = place.since, place.page or 1
        yield from Part(progress.stream, ListID, start, end, page=page).split()

    # Messages: asked for a list ahead, or more where workers would be idle.

    def _needs_messages(self, ListID: int) -> bool:
        pending = self._pending(ListID)
        return any(each.stream is MESSAGES or each.stream.of_message for each in pending)

    def _messages(self, to_come: list[int]) -> Generator[None, None, tuple[list[Message], Page]]:
        """Give the messages of the first list to come, in order; None while they are awaited."""
        for ListID in to_come[:2]:
            self._ask_messages(ListID)
        under_way = self._windows[to_come[0]]
        ahead = 2
        while not all(future.done() for future in under_way):
            futures = [future for each in self._windows.values() for future in each]
            awaited = sum(not future.done() for future in futures)
            if awaited < self._workers.count and ahead < len(to_come):
                self._ask_messages(to_come[ahead])
                ahead += 1
            else:
                yield None
        found: dict[int, Message] = {}
        pages = []
        for future in self._windows.pop(to_come[0]):
            messages, page = future.result()
            pages.append(page)
            for message in messages:
                # Windows share their bounds: a message seen in two is taken once.
                found.setdefault(message.MsgID, message)
        oddities = Oddities()
        for page in pages:
            oddities.unknown |= page.oddities.unknown
            oddities.keyless += page.oddities.keyless
        ordered = sorted(found.values(), key=lambda message: message.place)
        records = _array(each.record for each in ordered)
        return ordered, replace(pages[-1], records=records, count=len(ordered), oddities=oddities)

    def _ask_messages(self, ListID: int) -> None:
        if ListID not in self._windows:
            tiles = windows(self._config.start_date, self._end, self._config.interval_days)
            self._windows[ListID] = [
                self._workers.submit(partial(self._read_messages, ListID, start, end))
                for start, end in tiles
            ]

    def _read_messages(
        self, ListID: int, start: datetime, end: datetime
    ) -> tuple[list[Message], Page]:
        part = Part(MESSAGES, ListID, start, end)
        reply = self._client.call(MESSAGES, part.arguments(self._config, 1), str(part))
        oddities = Oddities()
        messages = []
        for record in self._read(MESSAGES, str(part), reply, ListID, oddities):
            sent = record["SendDate"]
            messages.append(
                Message(
                    record["MsgID"],
                    sent and parse_instant(sent),
                    {stream.count: record[stream.count] for stream in STREAMS if stream.count},
                    self._encode(MESSAGES, record),
                )
            )
        return messages, Page(len(reply.rows), b"[]", 0, reply.came, oddities, reply.fingerprint)

    # What the workers do.

    def _ask(self, part: Part, number: int) -> Page:
        what = f"{part}, page {number}"
        reply = self._client.call(part.stream, part.arguments(self._config, number), what)
        oddities = Oddities()
        parent = part.ListID if part.MsgID is None else part.MsgID
        records = self._read(part.stream, what, reply, parent, oddities)
        return Page(
            len(reply.rows),
            orjson.dumps(records),
            len(records),
            reply.came,
            oddities,
            reply.fingerprint,
        )

    def _read(
        self, stream: Stream, what: str, reply: Reply, parent: int | None, oddities: Oddities
    ) -> list[Record]:
        try:
            return self._readers[stream].read(reply.rows, parent, oddities)
        except Unreadable as wrong:
            wrong.args = (f"{stream.name} {what}: {wrong}",)
            raise

    # What is emitted, and how far that goes.

    def _emit_lists(self, lists: list[tuple[int, bytes]]) -> None:
        done = _offset(self._state[LISTS]).done
        new = [record for ListID, record in lists if ListID not in done]
        self._write(LISTS, _array(new), len(new), self._lists_came)
        done.update(ListID for ListID, _ in lists)

    def _emit_messages(self, ListID: int, messages: list[Message], page: Page) -> None:
        self._succeeded.add(MESSAGES)
        self._note_oddities(MESSAGES, page.oddities)
        if MESSAGES in self._active:
            done = _offset(self._active[MESSAGES]).done
            if ListID not in done:
                self._write(MESSAGES, page.records, page.count, page.came)
                done.add(ListID)
        known = {message.MsgID for message in messages}
        for progress in self._active.values():
            for owed in list(progress.set_aside):
                if owed.ListID == ListID and owed.MsgID is not None and owed.MsgID not in known:
                    LOGGER.warning("Message %s, which was set aside, is gone.", owed.MsgID)
                    progress.set_aside.remove(owed)

    def _emit(self, read: Read) -> None:
        part = read.part
        if self._group(part) in self._given_up:
            return
        self._succeeded.add(part.stream)
        self._note_oddities(part.stream, read.page.oddities)
        self._write(part.stream, read.page.records, read.page.count, read.page.came)
        self._move(part, read.number)

    def _end_part(self, ended: Ended) -> None:
        part = ended.part
        if self._group(part) in self._given_up:
            return
        if ended.failure is None:
            self._succeeded.add(part.stream)
            self._note_end(part)
        elif isinstance(ended.failure, (Passing, Unreadable)) or (
            # What was set aside may have vanished since, of which the walk will tell.
            part.owed and isinstance(ended.failure, NoAccess)
        ):
            self._set_aside(part, ended.failure)
        else:
            raise ended.failure

    def _move(self, part: Part, page: int | None) -> None:
        """Move the state behind a page, or with None behind the end of a part."""
        if part.owed:
            part.owed.start, part.owed.page = part.start, page or 1
            return
        _offset(self._state[part.stream]).place = _place(part, page)

    def _note_end(self, part: Part) -> None:
        if not part.owed:
            self._move(part, None)
        elif part.end < part.owed.end:
            part.owed.start, part.owed.page = part.end, 1
        elif part.owed in self._state[part.stream].set_aside:
            self._state[part.stream].set_aside.remove(part.owed)

    @staticmethod
    def _group(part: Part) -> tuple[Stream, int, int | None, bool]:
        """What is given up together: all windows of a list, but not what was owed before."""
        return part.stream, part.ListID, part.MsgID, part.owed is not None

    def _set_aside(self, part: Part, failure: ListrakError) -> None:
        """Remember what a part, and the windows behind it, still owe; the sixth ends the run."""
        self._failed.add((part.stream, part.ListID, part.MsgID))
        if len(self._failed) > MOST_SET_ASIDE:
            raise failure
        LOGGER.warning("Set aside, to be asked for first in the next run: %s", failure)
        self._given_up.add(self._group(part))
        if part.owed:
            return
        progress = self._state[part.stream]
        offset = _offset(progress)
        # The place is within this part only if a page of it was written.
        within = offset.place and offset.place == _place(part, offset.place.page or 0)
        page = offset.place.page if offset.place and within else part.page
        progress.fail(SetAside(part.ListID, part.MsgID, part.start, offset.end, page or 1))
        offset.place = _place(replace(part, end=offset.end), None)

    def _walked(self, ListID: int) -> None:
        for progress in self._active.values():
            offset = _offset(progress)
            offset.done.add(ListID)
            offset.place = None
        self._write_state()

    def _write(self, stream: Stream, records: bytes, count: int, came: datetime) -> None:
        self._output.records(stream, records, came)
        self.rows[stream] += count

    def _note_oddities(self, stream: Stream, oddities: Oddities) -> None:
        for field in sorted(oddities.unknown):
            if (stream, field) not in self._unknown:
                self._unknown.add((stream, field))
                LOGGER.warning(
                    "%s: a field that the schema lacks is left out: %s.", stream.name, field
                )
        self._keyless[stream] = self._keyless.get(stream, 0) + oddities.keyless

    # What is written from time to time.

    def _tick(self) -> None:
        now = self._monotonic()
        if any(self.rows.values()) and now - self._last_state >= SECONDS_BETWEEN_STATES:
            self._write_state()
        if now - self._last_count >= SECONDS_BETWEEN_COUNTS:
            self._last_count = now
            self._write_counts()

    def _write_state(self) -> None:
        self._last_state = self._monotonic()
        self._output.state(self._state.as_dict())

    def _write_counts(self) -> None:
        for stream, rows in self.rows.items():
            tags = {"endpoint": stream.name}
            point = metrics.Point(
                "counter", metrics.Metric.record_count, rows - self._counted[stream], tags
            )
            metrics.log(LOGGER, point)
            self._counted[stream] = rows

    def _report(self) -> None:
        """Close the run's log: counts, what was dropped or set aside, and a table."""
        self._write_counts()
        for stream, count in self._keyless.items():
            if count:
                LOGGER.warning("%s: %d rows without their key are left out.", stream.name, count)
        LOGGER.info("%-20s %12s %8s %8s %10s", "stream", "rows", "calls", "retries", "set aside")
        for stream in STREAMS:
            calls = self._client.calls[stream]
            if calls or stream in self._selection:
                LOGGER.info(
                    "%-20s %12d %8d %8d %10d",
                    stream.name,
                    self.rows.get(stream, 0),
                    calls,
                    self._client.retries[stream],
                    len(self._state[stream].set_aside),
                )


def _array(records: Iterable[bytes]) -> bytes:
    """Make a JSON array of what is JSON already."""
    return b"[%b]" % b",".join(records)


def _offset(progress: Progress) -> Offset:
    assert progress.offset is not None  # noqa: S101 - a stream that began has one
    return progress.offset


def _place(part: Part, page: int | None) -> Place:
    """Where the walk stands behind a page of a part, or with None behind its end."""
    if part.MsgID is not None:
        return Place(part.ListID, part.SendDate, part.MsgID, page)
    return Place(part.ListID, part.end if page is None else part.start, None, page)
