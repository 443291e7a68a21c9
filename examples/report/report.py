"""Write one page, a picture of the account, from the tables that examples/dbt builds in DuckDB.

    python report.py listrak.duckdb report.html

The page is a single file that loads nothing. Its numbers are those of the tables. Chart.js draws
the charts and stands in the page: it is widely known, small (200 kB) and under the MIT licence.
chart.umd.min.js is that of chart.js 4.6.1 on npm. Needs the package duckdb.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

HERE = Path(__file__).parent
HOURS = 72
NEWEST = 10
UNKNOWN = "&mdash;"

CAMPAIGNS = """
SELECT subject, list_name, sent_at, sends, delivered, unique_opens, unique_reads, unique_clicks,
    bounces, unsubscribes, open_rate, click_rate, revenue
FROM listrak__campaigns
ORDER BY sent_at DESC NULLS LAST, message_id DESC
"""
TOTALS = """
SELECT count(*) AS messages, sum(sends)::BIGINT AS sends, sum(delivered)::BIGINT AS delivered,
    sum(unique_opens)::BIGINT AS unique_opens, sum(unique_reads)::BIGINT AS unique_reads,
    sum(unique_clicks)::BIGINT AS unique_clicks, sum(unsubscribes)::BIGINT AS unsubscribes,
    sum(revenue) AS revenue, min(sent_at) AS first_sent_at, max(sent_at) AS last_sent_at
FROM listrak__campaigns
"""
OPENS_BY_HOUR = """
SELECT floor(minutes_to_open / 60)::INTEGER AS hour, count(*) AS opens
FROM listrak__campaign_recipients
WHERE minutes_to_open >= 0
GROUP BY hour
ORDER BY hour
"""
WEEKS = """
SELECT list_id, date_trunc('week', day)::DATE AS week, sum(subscribed)::BIGINT AS subscribed,
    sum(unsubscribed)::BIGINT AS unsubscribed, arg_max(subscribers, day) AS subscribers
FROM listrak__days
GROUP BY list_id, week
ORDER BY week, list_id
"""
LISTS = "SELECT list_id, any_value(list_name) FROM stg_listrak__lists GROUP BY list_id"

Row = dict[str, Any]


class Column(NamedTuple):
    """A column of the page's table."""

    name: str
    heading: str
    shown: Callable[[Any], str]


def _number(value: Any) -> str:
    return f"{value:,}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _time(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M}"


COLUMNS = (
    Column("subject", "Subject", str),
    Column("list_name", "List", str),
    Column("sent_at", "Sent (UTC)", _time),
    Column("delivered", "Delivered", _number),
    Column("unique_opens", "Opened", _number),
    Column("open_rate", "Open rate", _share),
    Column("unique_clicks", "Clicked", _number),
    Column("click_rate", "Click rate", _share),
    Column("bounces", "Bounced", _number),
    Column("unsubscribes", "Left", _number),
    Column("revenue", "Revenue", _money),
)


def write_report(database: duckdb.DuckDBPyConnection, page: Path) -> None:
    """Write the page."""
    campaigns = _rows(database, CAMPAIGNS)
    (totals,) = _rows(database, TOTALS)
    data = {
        "campaigns": [_funnel(row) for row in campaigns[:NEWEST]],
        "opensByHour": _opens_by_hour(database),
        "weeks": _weeks(database),
    }
    parts = {
        "SPAN": _span(totals),
        "TILES": _tiles(totals),
        "LATER": f"{_later(database):,}",
        "HOURS": str(HOURS),
        "NEWEST": str(min(NEWEST, len(campaigns))),
        "HEADINGS": _headings(),
        "ROWS": _table_rows(campaigns),
        "DATA": _for_script(data),
        # Without its last line, which names a file beside it.
        "CHART_JS": (HERE / "chart.umd.min.js").read_text("utf-8").partition("\n//# source")[0],
    }
    text = (HERE / "page.html").read_text("utf-8")
    # One pass: what stands in a subject is never taken for the name of a part.
    pieces = text.split("@@")
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    page.write_text("".join(pieces), "utf-8")


def _rows(database: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    found = database.sql(query)
    return [dict(zip(found.columns, row)) for row in found.fetchall()]


def _funnel(campaign: Row) -> Row:
    stages = ("sends", "delivered", "unique_opens", "unique_reads", "unique_clicks")
    return {
        "label": _name(campaign["subject"]),
        "sent": _time(campaign["sent_at"]) if campaign["sent_at"] else "",
        "stages": [campaign[stage] for stage in stages],
    }


def _opens_by_hour(database: duckdb.DuckDBPyConnection) -> list[int]:
    opens = {row["hour"]: row["opens"] for row in _rows(database, OPENS_BY_HOUR)}
    return [opens.get(hour, 0) for hour in range(HOURS)]


def _later(database: duckdb.DuckDBPyConnection) -> int:
    return sum(row["opens"] for row in _rows(database, OPENS_BY_HOUR) if row["hour"] >= HOURS)


def _weeks(database: duckdb.DuckDBPyConnection) -> Row:
    """Give who came and left by week, over all lists, and each list's members at its end."""
    rows = _rows(database, WEEKS)
    names = dict(database.sql(LISTS).fetchall())
    weeks = sorted({row["week"] for row in rows})

    def over_all(column: str) -> list[int]:
        return [sum(row[column] for row in rows if row["week"] == week) for week in weeks]

    lists: dict[int, dict[Any, int | None]] = {}
    for row in rows:
        members = lists.setdefault(row["list_id"], dict.fromkeys(weeks))
        members[row["week"]] = row["subscribers"]
    return {
        "weeks": [f"{week}" for week in weeks],
        "subscribed": over_all("subscribed"),
        "unsubscribed": over_all("unsubscribed"),
        "lists": [
            {"name": _name(names.get(list_id)), "subscribers": list(members.values())}
            for list_id, members in sorted(lists.items())
        ],
    }


def _span(totals: Row) -> str:
    first, last = totals["first_sent_at"], totals["last_sent_at"]
    if first is None:
        return "No message has a date."
    return f"Messages sent from {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _tiles(totals: Row) -> str:
    tiles = {
        "messages": "Messages",
        "delivered": "Delivered",
        "unique_opens": "Opened",
        "unique_clicks": "Clicked",
        "unsubscribes": "Left",
        "revenue": "Revenue",
    }
    shown = {name: _money if name == "revenue" else _number for name in tiles}
    return "".join(
        f'<div><dt>{heading}</dt><dd data-total="{name}">'
        f"{UNKNOWN if totals[name] is None else shown[name](totals[name])}</dd></div>"
        for name, heading in tiles.items()
    )


def _headings() -> str:
    return "".join(
        f'<th scope="col" data-column="{column.name}"><button>{column.heading}</button></th>'
        for column in COLUMNS
    )


def _table_rows(campaigns: list[Row]) -> str:
    """Give the rows; each cell says by a number where it stands when its column is sorted."""
    orders = {column.name: _order([row[column.name] for row in campaigns]) for column in COLUMNS}
    lines = []
    for place, row in enumerate(campaigns):
        cells = ""
        for column in COLUMNS:
            value = row[column.name]
            shown = "" if value is None else html.escape(column.shown(value))
            cells += f'<td data-order="{orders[column.name][place]}">{shown or UNKNOWN}</td>'
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join(lines)


def _order(values: list[Any]) -> list[int]:
    """Give each value's place among them, equal ones the same; what is not known comes first."""
    keys = [value.casefold() if isinstance(value, str) else value for value in values]
    places = {key: place for place, key in enumerate(sorted({*keys} - {None}), 1)}
    return [places.get(key, 0) for key in keys]


def _name(text: str | None) -> str:
    return " ".join((text or "").split()) or "(no name)"


def _for_script(data: Row) -> str:
    """Give JSON that ends no script, whatever stands in it."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def main() -> None:
    """Write the page that the command line names."""
    if len(sys.argv) != 3:
        sys.exit("usage: report.py DATABASE PAGE")
    with duckdb.connect(sys.argv[1], read_only=True) as database:
        write_report(database, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
