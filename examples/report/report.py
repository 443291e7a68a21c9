"""Write a report on the account, from the tables that examples/dbt builds in DuckDB.

    python report.py listrak.duckdb report.html

The page is a single file that loads no other. Its numbers are those of the tables. Chart.js draws
the charts and is part of the page: it is widely known, small (200 kB) and under the MIT licence.
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
LISTS_SHOWN = 9
NAMES_SHOWN = 3
UNKNOWN = "&mdash;"

CAMPAIGNS = """
SELECT subject, list_name, sent_at, sends, delivered, unique_opens, open_rate, unique_clicks,
    click_rate, bounces, unsubscribes, revenue
FROM listrak__campaigns
ORDER BY sent_at DESC NULLS LAST, message_id DESC
"""
TOTALS = """
SELECT count(*) AS messages, sum(sends)::BIGINT AS sends, sum(delivered)::BIGINT AS delivered,
    sum(unique_opens)::BIGINT AS unique_opens, sum(unique_clicks)::BIGINT AS unique_clicks,
    sum(unsubscribes)::BIGINT AS unsubscribes, sum(revenue) AS revenue,
    min(sent_at) AS first_sent_at, max(sent_at) AS last_sent_at,
    (SELECT max(day) FROM listrak__days) AS last_day
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
SELECT list_id, date_trunc('week', day)::DATE AS week, sum(subscribed)::BIGINT AS joined,
    sum(unsubscribed)::BIGINT AS unsubscribed, arg_max(subscribers, day) AS members
FROM listrak__days
GROUP BY list_id, week
ORDER BY week, list_id
"""
LISTS = """
SELECT list_id, any_value(list_name)
FROM stg_listrak__lists
GROUP BY list_id
ORDER BY list_id
"""
# The query and the path of a link may contain a contact's address.
LINKS = """
SELECT regexp_replace(
        regexp_replace(link_url, '[?#].*$', ''), '[^/:=]*(@|%40)[^/]*', '\u2026', 'gi'
    ) AS link,
    any_value(link_description) AS description, sum(clicks)::BIGINT AS clicks,
    sum(unique_clicks)::BIGINT AS unique_clicks, count(DISTINCT message_id) AS messages
FROM listrak__links
GROUP BY link
HAVING clicks > 0
ORDER BY clicks DESC, link
LIMIT 10
"""

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
    Column("unsubscribes", "Unsubscribed", _number),
    Column("revenue", "Revenue", _money),
)
LINK_COLUMNS = (
    Column("link", "Link", str),
    Column("description", "Description", str),
    Column("messages", "Messages", _number),
    Column("clicks", "Clicks", _number),
    Column("unique_clicks", "Contacts", _number),
)


def write_report(database: duckdb.DuckDBPyConnection, page: Path) -> None:
    """Write the page."""
    (totals,) = _rows(database, TOTALS)
    names = [_name(name) for _, name in database.sql(LISTS).fetchall()]
    weeks = _weeks(database)
    opens = {row["hour"]: row["opens"] for row in _rows(database, OPENS_BY_HOUR)}
    data = {"opensByHour": [opens.get(hour, 0) for hour in range(HOURS)], **weeks}
    hidden = len({row["list_id"] for row in _rows(database, WEEKS)}) - len(weeks["lists"])
    parts = {
        "TITLE": html.escape(_title(names)),
        "SPAN": _span(totals),
        "TILES": _tiles(totals),
        "FUNNEL": _funnel(totals),
        "LATER": _number(sum(count for hour, count in opens.items() if hour >= HOURS)),
        "HOURS": str(HOURS),
        "LARGEST": f"; {hidden} smaller lists are not shown" if hidden else "",
        "LINK_HEADINGS": _headings(LINK_COLUMNS),
        "LINK_ROWS": _table_rows(LINK_COLUMNS, _rows(database, LINKS)),
        "HEADINGS": _headings(COLUMNS, sortable=True),
        "ROWS": _table_rows(COLUMNS, _rows(database, CAMPAIGNS)),
        "DATA": _for_script(data),
        # Without its last line, which names a file beside it.
        "CHART_JS": (HERE / "chart.umd.min.js").read_text("utf-8").partition("\n//# source")[0],
    }
    text = (HERE / "page.html").read_text("utf-8")
    # In one pass, so that a subject cannot be mistaken for a placeholder.
    pieces = text.split("@@")
    pieces[1::2] = [parts[name] for name in pieces[1::2]]
    page.write_text("".join(pieces), "utf-8")


def _rows(database: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    found = database.sql(query)
    return [dict(zip(found.columns, row)) for row in found.fetchall()]


def _title(names: list[str]) -> str:
    shown, more = names[:NAMES_SHOWN], len(names) - NAMES_SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") or "no lists"


def _span(totals: Row) -> str:
    first, last, end = (totals[name] for name in ("first_sent_at", "last_sent_at", "last_day"))
    if first is None:
        return "No message has a date."
    sent = f"Messages sent {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"Data up to {end or last:%Y-%m-%d} (UTC). {sent}."


def _tiles(totals: Row) -> str:
    tiles = {
        "messages": "Messages",
        "delivered": "Delivered",
        "unique_opens": "Opened",
        "unique_clicks": "Clicked",
        "unsubscribes": "Unsubscribed",
        "revenue": "Revenue",
    }
    shown = {name: _money if name == "revenue" else _number for name in tiles}
    return "".join(
        f'<div><dt>{heading}</dt><dd data-total="{name}">'
        f"{UNKNOWN if totals[name] is None else shown[name](totals[name])}</dd></div>"
        for name, heading in tiles.items()
    )


def _funnel(totals: Row) -> str:
    """Return a bar for each stage, with its total and its share of earlier stages."""
    stages = {
        "sends": ("Sent", {}),
        "delivered": ("Delivered", {"sends": "sent"}),
        "unique_opens": ("Opened", {"delivered": "delivered"}),
        "unique_clicks": ("Clicked", {"delivered": "delivered", "unique_opens": "opened"}),
    }
    most = max(totals[stage] or 0 for stage in stages) or 1
    lines = ""
    for stage, (heading, wholes) in stages.items():
        count = totals[stage]
        texts = [UNKNOWN if count is None else _number(count)]
        texts += [
            f"{_share(count / totals[whole])} of {name}"
            for whole, name in wholes.items()
            if count is not None and totals[whole]
        ]
        width = 100 * (count or 0) / most
        lines += (
            f'<span>{heading}</span><div><div style="width: {width:.2f}%"></div>'
            f'<span data-stage="{stage}">{" &middot; ".join(texts)}</span></div>'
        )
    return lines


def _weeks(database: duckdb.DuckDBPyConnection) -> Row:
    """Return who joined and unsubscribed per week in all lists, and the members of the largest."""
    rows = _rows(database, WEEKS)
    names = dict(database.sql(LISTS).fetchall())
    weeks = sorted({row["week"] for row in rows})

    def over_all(column: str) -> list[int]:
        totals = dict.fromkeys(weeks, 0)
        for row in rows:
            totals[row["week"]] += row[column]
        return list(totals.values())

    lists: dict[int, dict[Any, int | None]] = {}
    for row in rows:
        members = lists.setdefault(row["list_id"], dict.fromkeys(weeks))
        members[row["week"]] = row["members"]
    # Each list has a row on the account's last day.
    largest = sorted(lists, key=lambda list_id: (-(lists[list_id][weeks[-1]] or 0), list_id))
    return {
        "weeks": [f"{week}" for week in weeks],
        "joined": over_all("joined"),
        "unsubscribed": over_all("unsubscribed"),
        "lists": [
            {"name": _name(names.get(list_id)), "members": list(lists[list_id].values())}
            for list_id in largest[:LISTS_SHOWN]
        ],
    }


def _headings(columns: tuple[Column, ...], *, sortable: bool = False) -> str:
    headings = ""
    for column in columns:
        text = f"<button>{column.heading}</button>" if sortable else column.heading
        headings += f'<th scope="col" data-column="{column.name}"{_kind(column)}>{text}</th>'
    return headings


def _table_rows(columns: tuple[Column, ...], rows: list[Row]) -> str:
    """Return the rows; `data-order` is the rank of a cell in its column."""
    orders = {column.name: _order([row[column.name] for row in rows]) for column in columns}
    lines = []
    for place, row in enumerate(rows):
        cells = ""
        for column in columns:
            value = row[column.name]
            shown = "" if value is None else html.escape(column.shown(value))
            order = orders[column.name][place]
            cells += f'<td data-order="{order}"{_kind(column)}>{shown or UNKNOWN}</td>'
        lines.append(f"<tr>{cells}</tr>")
    return "\n".join(lines)


def _kind(column: Column) -> str:
    return ' class="text"' if column.shown is str else ""


def _order(values: list[Any]) -> list[int]:
    """Return the rank of each value: equal ones have the same, and unknown ones come first."""
    keys = [value.casefold() if isinstance(value, str) else value for value in values]
    places = {key: place for place, key in enumerate(sorted({*keys} - {None}), 1)}
    return [places.get(key, 0) for key in keys]


def _name(text: str | None) -> str:
    return " ".join((text or "").split()) or "(no name)"


def _for_script(data: Row) -> str:
    """Return JSON that cannot end the script element."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def main() -> None:
    """Write the page named on the command line."""
    if len(sys.argv) != 3:
        sys.exit("usage: report.py DATABASE PAGE")
    with duckdb.connect(sys.argv[1], read_only=True) as database:
        write_report(database, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
