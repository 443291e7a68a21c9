"""The page that examples/report makes: its numbers, its texts, and that it loads nothing."""

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

    def rows(self, table: str) -> Any:
        """The rows of one of the page's tables."""
        return self.page.get_element_by_id(table).find("tbody")

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
    table = report.page.get_element_by_id("messages")
    assert [each.get("data-column") for each in table.iter("th")] == list(COLUMNS)
    shown = [[cell.text_content() for cell in row.iter("td")] for row in report.rows("messages")]
    cells = ", ".join(f"coalesce({cell}, '\u2014')" for cell in COLUMNS.values())
    assert shown == [
        list(row) for row in report.ask(f"SELECT {cells} FROM listrak__campaigns {NEWEST_FIRST}")
    ]
    assert len(shown) == MESSAGES


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_sorts_as_the_database_sorts_it(column: str, report: Report) -> None:
    place = list(COLUMNS).index(column)
    orders = [int(row[place].get("data-order")) for row in report.rows("messages")]
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


def test_the_title_names_the_lists_and_the_date_of_the_data(report: Report) -> None:
    ((title,), (heading,)) = (report.page.xpath(f"//{tag}/text()") for tag in ("title", "h1"))
    assert title == heading == f"Email report: {', '.join(LIST_NAMES)}"
    ((day,),) = report.ask("SELECT max(day) FROM listrak__days")
    assert f"Data up to {day} (UTC)" in report.page.text_content()


def test_the_funnel_has_the_totals_and_their_shares(report: Report) -> None:
    shown = {each.get("data-stage"): each.text for each in report.page.xpath("//*[@data-stage]")}
    ((sent, delivered, opened, clicked),) = report.ask(
        "SELECT sum(sends), sum(delivered), sum(unique_opens), sum(unique_clicks)"
        " FROM listrak__campaigns"
    )
    assert shown == {
        "sends": f"{sent:,}",
        "delivered": f"{delivered:,} \xb7 {delivered / sent:.1%} of sent",
        "unique_opens": f"{opened:,} \xb7 {opened / delivered:.1%} of delivered",
        "unique_clicks": f"{clicked:,} \xb7 {clicked / delivered:.1%} of delivered"
        f" \xb7 {clicked / opened:.1%} of opened",
    }


def test_the_opens_are_those_of_the_database(report: Report) -> None:
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


def test_members_and_who_joined_and_unsubscribed_are_those_of_the_database(report: Report) -> None:
    data = report.data
    totals = report.ask("SELECT sum(subscribed), sum(unsubscribed) FROM listrak__days")
    assert totals == [(sum(data["joined"]), sum(data["unsubscribed"]))]
    assert len(data["weeks"]) == len(data["joined"]) == len(data["unsubscribed"])
    for each in data["lists"]:
        assert len(each["members"]) == len(data["weeks"])
        assert each["members"][-1] == 159
    assert [each["name"] for each in data["lists"]] == list(LIST_NAMES)


def test_the_top_links_are_counted_over_messages_and_show_no_address(report: Report) -> None:
    (first, second, *_) = rows = [
        [cell.text_content() for cell in row.iter("td")] for row in report.rows("links")
    ]
    assert first == ["https://shop.example/\u2026/off", "\u2014", "1", "999", "9"]
    assert second == ["https://shop.example/11", "\u2014", "2", "44", "34"]
    assert len(rows) == 10
    assert "ann" not in str(rows)


def test_the_page_loads_nothing(report: Report) -> None:
    (policy,) = report.page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert not report.page.xpath("//@src | //@href | //@srcset | //link | //iframe | //object")
    assert not re.search(r"@import|\burl\(|sourceMappingURL", report.text)


def test_texts_of_the_account_are_texts(report: Report) -> None:
    assert len(report.page.xpath("//script")) == 3
    assert not report.page.xpath("//img | //b")
    assert not re.search("@@[A-Z]", report.text.replace("@@ROWS@@ {0} %s", ""))
    names = {row[0].text_content() for row in report.rows("messages")}
    assert names == {*SUBJECTS, "\u2014"}
