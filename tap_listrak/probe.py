"""Run `--test`: log what each stream returned, and facts about the service.

Log no contact data, only formats of dates, the newest date, and counts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytz
from lxml import etree

from tap_listrak.catalog import Selection, Tables
from tap_listrak.config import Config
from tap_listrak.dates import datetime_converter, form_of, format_instant, parse_instant
from tap_listrak.errors import TapError
from tap_listrak.listrak.client import ListrakClient
from tap_listrak.listrak.faults import MissingOperationError, PermissionDeniedError
from tap_listrak.listrak.pages import Page, Reader
from tap_listrak.listrak.response import parse_rows
from tap_listrak.listrak.transport import HttpReply, parse_date
from tap_listrak.logs import plural
from tap_listrak.metrics import CallMetrics
from tap_listrak.readers import build_readers
from tap_listrak.sampling import Answer, request_each_stream
from tap_listrak.streams import LISTS, STREAMS, Stream, Table
from tap_listrak.sync.plan import choose_lists

LOGGER = logging.getLogger(__name__)

# Request messages up to a day ahead, because Listrak's zone is not known yet.
BEYOND_NOW = timedelta(days=1)
# The service's clock is read in whole seconds, and replies take time.
CLOCK_TOLERANCE = timedelta(minutes=1)
ZONES = ("UTC", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")

_as_utc = datetime_converter(pytz.utc)


@dataclass
class Observed:
    """Facts about a reply that its records do not contain.

    `forms` are date formats by column, `contacts` is the number of different addresses, `newest` is
    the latest wall-clock time of an event, and `clock` is the reply's Date header.
    """

    forms: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unknown_fields: set[str] = field(default_factory=set)
    contacts: int = 0
    newest: datetime | None = None
    clock: datetime | None = None


class ObservingReader:
    """Wrap a reader, and keep facts about its last page."""

    def __init__(self, reader: Reader, table: Table) -> None:
        self._reader = reader
        self._table = table
        self.observed = Observed()

    def read(self, reply: HttpReply, parent_id: int | None, received_at: datetime) -> Page:
        """Return the page of a reply. Raises ListrakError."""
        stream = self._table.stream
        rows = parse_rows(reply, stream.operation, stream.row)
        self.observed = _observe(rows, self._table, reply.date)
        return self._reader.read(reply, parent_id, received_at)


def observing_readers(
    tables: Tables, selection: Selection, config: Config
) -> dict[Stream, ObservingReader]:
    """Return a reader for each selected stream and its parents."""
    readers = build_readers(tables, selection, config)
    return {stream: ObservingReader(reader, tables[stream]) for stream, reader in readers.items()}


def _observe(rows: etree._Element, table: Table, date: str) -> Observed:
    stream, properties = table.stream, table.schema["properties"]
    happened = stream.replication_key or "SendDate"
    addresses = {row.findtext("{*}EmailAddress") for row in rows}
    observed = Observed(clock=parse_date(date), contacts=len(addresses))
    for cell in (cell for row in rows for cell in row):
        column, text = etree.QName(cell.tag).localname, cell.text or ""
        if column not in properties:
            observed.unknown_fields.add(column)
        elif text and _is_date(column, table):
            observed.forms[column].add(form_of(text))
            wall = _read_wall_clock(text) if column == happened else None
            if wall and (observed.newest is None or wall > observed.newest):
                observed.newest = wall
    return observed


def _is_date(column: str, table: Table) -> bool:
    is_typed = table.schema["properties"][column].get("format") == "date-time"
    return is_typed or column in table.stream.event_dates


def _read_wall_clock(text: str) -> datetime | None:
    """Read a time without an offset; return None for other times and for placeholders."""
    if form_of(text).endswith(("Z", "±hh:mm")):
        return None
    try:
        moment = _as_utc(text)
    except ValueError:
        return None
    wall = parse_instant(moment).replace(tzinfo=None, microsecond=0) if moment else None
    return wall if wall and 1900 < wall.year < 9000 else None


def _is_missing(answer: Answer) -> bool:
    return isinstance(answer.error, MissingOperationError)


class Probe:
    """Request each stream once, and log the results."""

    def __init__(
        self,
        config: Config,
        client: ListrakClient,
        readers: Mapping[Stream, ObservingReader],
        calls: CallMetrics,
        *,
        skips_missing: bool,
    ) -> None:
        """If `skips_missing`, a missing operation of an unpublished stream is only a warning."""
        self._config = config
        self._skips_missing = skips_missing
        self._client = client
        self._readers = readers
        self._calls = calls
        self._answers: list[Answer] = []

    def run(self, selection: Selection, now: datetime) -> None:
        """Request and log. Raises TapError at the end if a stream was refused or failed."""
        end = now + BEYOND_NOW
        for answer in request_each_stream(selection, self._config, self._client, end):
            stream = answer.stream
            if self._skips_missing and not stream.is_published and _is_missing(answer):
                LOGGER.warning("%s is omitted from the catalog. %s", stream.name, answer.error)
                continue
            self._answers.append(answer)
            self._log_answer(answer)
            if answer.stream is LISTS and answer.page and answer.page.parents:
                shown = frozenset(row.record.ListID for row in answer.page.parents)
                choose_lists(shown, self._config.list_ids)
        self._log_operations()
        self._log_seconds()
        self._log_page_size()
        self._log_zones()
        self._conclude()

    def _log_answer(self, answer: Answer) -> None:
        stream, part, page, error = answer
        if isinstance(error, PermissionDeniedError):
            LOGGER.warning("%s was refused. %s", stream.name, error)
        elif error:
            LOGGER.warning("%s failed. %s", stream.name, error)
        elif page:
            rows = plural(page.row_count, "row") if page.row_count else "no rows"
            LOGGER.info("%s: %s %s, in %.2f s.", stream.name, rows, part, self._seconds(stream))
            if page.issues.rows_without_key:
                lost = plural(page.issues.rows_without_key, "row")
                LOGGER.warning("%s: skipped %s without a key.", stream.name, lost)
        else:
            parent = stream.parent
            LOGGER.info("%s: skipped, because %s returned no rows.", stream.name, parent)
        observed = self._observed(stream)
        if page and part and part.expected_rows is not None:
            more = "; more may follow" if page.row_count < part.expected_rows else ""
            LOGGER.info(
                "%s is %d; the page has %s, %s%s.",
                stream.count_column,
                part.expected_rows,
                plural(page.row_count, "row"),
                plural(observed.contacts, "contact"),
                more,
            )
        for name in sorted(observed.unknown_fields):
            LOGGER.warning("%s: ignored unknown field %s.", stream.name, name)
        for column, forms in observed.forms.items():
            LOGGER.info(
                "%s.%s: dates have the format %s.", stream.name, column, " or ".join(sorted(forms))
            )

    def _observed(self, stream: Stream) -> Observed:
        return self._readers[stream].observed if stream in self._readers else Observed()

    def _seconds(self, stream: Stream) -> float:
        """Return the mean duration of a stream's calls."""
        return self._calls.seconds[stream] / self._calls.calls[stream]

    def _log_operations(self) -> None:
        lacking = {stream.operation for stream in STREAMS} - self._client.load_operations()
        if lacking:
            LOGGER.warning("Operations missing from the WSDL: %s.", ", ".join(sorted(lacking)))
        else:
            LOGGER.info("The WSDL has the operations of all %d streams.", len(STREAMS))

    def _log_seconds(self) -> None:
        # An operation that the WSDL lacks was not called.
        streams = [each.stream for each in self._answers if self._calls.calls[each.stream]]
        seconds = [self._seconds(stream) for stream in streams]
        if seconds:
            mean, most = sum(seconds) / len(seconds), max(seconds)
            LOGGER.info("A call took %.2f to %.2f s, mean %.2f s.", min(seconds), most, mean)

    def _log_page_size(self) -> None:
        """Log the rows of the largest page, and whether its message has more rows."""
        pages = [
            (page.row_count, part.expected_rows or 0, stream.name)
            for stream, part, page, _ in self._answers
            if part and page and page.row_count and stream.paged
        ]
        if not pages:
            return
        rows, expected, name = max(pages)
        size = plural(rows, "row")
        if expected > rows:
            LOGGER.info("A full page has %s (%s, about %d in total).", size, name, expected)
        else:
            LOGGER.info("No page is known to be full; the largest has %s (%s).", size, name)

    def _log_zones(self) -> None:
        """Log the zones in which the newest date is not in the future."""
        seen: list[tuple[datetime, str, datetime]] = []
        for answer in self._answers:
            observed = self._observed(answer.stream)
            if observed.newest and observed.clock:
                seen.append((observed.newest, answer.stream.name, observed.clock))
        if not seen:
            LOGGER.info(
                "Cannot check the time zone: no reply had both a Date header and a date without an "
                "offset."
            )
            return
        newest, name, clock = max(seen)
        LOGGER.info(
            "The newest date without an offset is %s, in %s; the service's clock shows %s.",
            newest.isoformat(),
            name,
            format_instant(clock),
        )
        own = str(self._config.timezone)
        ages = {
            zone: clock - pytz.timezone(zone).localize(newest, is_dst=False)
            for zone in dict.fromkeys((own, *ZONES))
        }
        fitting = [
            f"{zone} ({max(age, timedelta())} ago)"
            for zone, age in ages.items()
            if age >= -CLOCK_TOLERANCE
        ]
        LOGGER.info("Possible time zones: %s.", ", ".join(fitting) or "none of the common ones")
        if ages[own] < -CLOCK_TOLERANCE:
            LOGGER.warning("The config's timezone, %s, puts that date in the future.", own)

    def _conclude(self) -> None:
        failed = {answer.stream.name: answer.error for answer in self._answers if answer.error}
        if not failed:
            LOGGER.info("All %s succeeded.", plural(len(self._answers), "stream"))
            return
        error = TapError(
            f"Refused or failed streams (see the warnings): {len(failed)} of {len(self._answers)}: "
            f"{', '.join(failed)}."
        )
        error.exit_code = max(each.exit_code for each in failed.values())
        raise error
