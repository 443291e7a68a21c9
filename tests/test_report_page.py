"""The page that examples/report makes: its numbers, its texts, and that it loads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from lxml import html

from tests.support.report import LIST_NAMES, MESSAGES, SUBJECTS, write_page

COLUMNS = {
    "subject": "subject",
    "list_name": "list_name",
    "sent_at": "strftime(sent_at, '%Y-%m-%d %H:%M')",
    "delivered": "format('{:,}', delivered)",
    "unique_opens": "format('{:,}', unique_opens)",
    "open_rate": "format('{:.1f}%', 100 * open_rate)",
    "unique_clicks": "format('{:,}', unique_clicks)",
    "click_rate": "format('{:.1f}%', 100 * click_rate)",
    "bounces": "format('{:,}', bounces)",
    "unsubscribes": "format('{:,}', unsubscribes)",
    "revenue": "format('{:,.2f}', revenue::DOUBLE)",
}
"""What the cells of a column are to show."""
NEWEST_FIRST = "ORDER BY sent_at DESC NULLS LAST, message_id DESC"


class Report:
    """A page, and the database that it was made of."""

    def __init__(self, folder: Path) -> None:
        path, page = write_page(folder)
        self.text = page.read_text("utf-8")
        self.page: Any = html.fromstring(self.text)
        self.database = duckdb.connect(str(path), read_only=True)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.database.sql(query).fetchall()

    @property
    def data(self) -> Any:
        """What the charts are drawn from."""
        return json.loads(self.page.get_element_by_id("data").text)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    report = Report(tmp_path_factory.mktemp("report"))
    yield report
    report.database.close()


def test_the_table_shows_what_the_database_holds(report: Report) -> None:
    headings = [each.get("data-column") for each in report.page.iter("th")]
    assert headings == list(COLUMNS)
    shown = [
        [cell.text_content() for cell in row.iter("td")] for row in report.page.find(".//tbody")
    ]
    cells = ", ".join(f"coalesce({cell}, '\u2014')" for cell in COLUMNS.values())
    assert shown == [
        list(row) for row in report.ask(f"SELECT {cells} FROM listrak__campaigns {NEWEST_FIRST}")
    ]
    assert len(shown) == MESSAGES


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_sorts_as_the_database_sorts_it(column: str, report: Report) -> None:
    place = list(COLUMNS).index(column)
    orders = [int(row[place].get("data-order")) for row in report.page.find(".//tbody")]
    sorted_by = f"lower({column})" if column in ("subject", "list_name") else column
    ranks = report.ask(
        f"SELECT dense_rank() OVER (ORDER BY {sorted_by}) FROM listrak__campaigns"
        f" WHERE {column} IS NOT NULL {NEWEST_FIRST}"
    )
    assert [order for order in orders if order] == [rank for (rank,) in ranks]


def test_the_totals_are_those_of_the_database(report: Report) -> None:
    shown = {each.get("data-total"): each.text for each in report.page.iter("dd")}
    ((messages, delivered, opens, clicks, left, revenue),) = report.ask(
        "SELECT count(*), sum(delivered), sum(unique_opens), sum(unique_clicks),"
        " sum(unsubscribes), sum(revenue) FROM listrak__campaigns"
    )
    assert shown == {
        "messages": f"{messages}",
        "delivered": f"{delivered:,}",
        "unique_opens": f"{opens:,}",
        "unique_clicks": f"{clicks:,}",
        "unsubscribes": f"{left}",
        "revenue": f"{revenue:,.2f}",
    }


def test_the_charts_are_drawn_from_what_the_database_holds(report: Report) -> None:
    stages = "sends, delivered, unique_opens, unique_reads, unique_clicks"
    newest = report.ask(f"SELECT {stages} FROM listrak__campaigns {NEWEST_FIRST} LIMIT 10")
    assert [each["stages"] for each in report.data["campaigns"]] == [list(row) for row in newest]

    opens = "FROM listrak__campaign_recipients WHERE minutes_to_open"
    by_hour = report.data["opensByHour"]
    for hour, count in enumerate(by_hour):
        ((held,),) = report.ask(
            f"SELECT count(*) {opens} >= {hour * 60} AND minutes_to_open < {hour * 60 + 60}"
        )
        assert count == held
    ((later,),) = report.ask(f"SELECT count(*) {opens} >= {len(by_hour) * 60}")
    assert later
    assert f"{later:,} came later" in report.page.text_content()

    weeks = report.data["weeks"]
    ((subscribed, left),) = report.ask(
        "SELECT sum(subscribed), sum(unsubscribed) FROM listrak__days"
    )
    assert (sum(weeks["subscribed"]), sum(weeks["unsubscribed"])) == (subscribed, left)
    for each in weeks["lists"]:
        assert len(each["subscribers"]) == len(weeks["weeks"])
        assert each["subscribers"][-1] == 159
    assert [each["name"] for each in weeks["lists"]] == list(LIST_NAMES)


def test_the_page_loads_nothing(report: Report) -> None:
    (policy,) = report.page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert not report.page.xpath("//@src | //@href | //@srcset | //link | //iframe | //object")
    assert not re.search(r"@import|\burl\(|sourceMappingURL", report.text)


def test_texts_of_the_account_are_texts(report: Report) -> None:
    assert len(report.page.xpath("//script")) == 3
    assert not report.page.xpath("//img | //b")
    assert not re.search("@@[A-Z]", report.text.replace("@@ROWS@@ {0} %s", ""))
    labels = {each["label"] for each in report.data["campaigns"]}
    assert labels == {" ".join(subject.split()) for subject in SUBJECTS} | {"(no name)"}
