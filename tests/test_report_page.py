"""The page that examples/report makes: its numbers, its texts, and that it loads nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from tests.support.report import LIST_NAMES, MESSAGES, SUBJECTS, write_page

NONE = "\u2014"
TOTALS = ["24", "24,322", "10,542", "2,769", "36", "340,722.00"]
STAGES = [
    "24,562",
    "24,322 \xb7 99.0% of sent",
    "10,542 \xb7 43.3% of delivered",
    "2,769 \xb7 11.4% of delivered \xb7 26.3% of opened",
]


class Report:
    """A page of known tables."""

    def __init__(self, folder: Path) -> None:
        _, page = write_page(folder)
        self.html = page.read_text("utf-8")
        self.page: Any = html.fromstring(self.html)
        self.text = str(self.page.xpath("string()"))

    def rows(self, table: str) -> list[list[Any]]:
        """The cells of one of the page's tables."""
        return [list(row) for row in self.page.get_element_by_id(table).find("tbody")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return Report(tmp_path_factory.mktemp("report"))


def test_the_table_shows_the_messages_newest_first(report: Report) -> None:
    first, *others, last = [[c.text_content() for c in row] for row in report.rows("messages")]
    assert len(others) == MESSAGES - 2
    assert [first[:3], last[:3]] == [
        [NONE, LIST_NAMES[1], "2026-01-30 17:00"],
        [SUBJECTS[0], LIST_NAMES[0], NONE],
    ]
    assert first[3:] == ["991", "471", "47.5%", "119", "12.0%", "5", "3", "28,393.50"]
    assert others[-3][3:] == ["1,001", "421", "42.1%", NONE, NONE, "3", "3", "3,703.50"]


@pytest.mark.parametrize("column", range(11))
def test_a_column_sorts_by_value_and_texts_without_regard_to_case(
    column: int, report: Report
) -> None:
    cells = [row[column] for row in report.rows("messages")]
    by_order = sorted(cells, key=lambda cell: int(cell.get("data-order")))
    texts = [cell.text_content() for cell in by_order]
    known = texts[texts.count(NONE) :]
    numbers = [text.replace(",", "").removesuffix("%") for text in known]
    values = [float(each) if each.replace(".", "").isdigit() else each.lower() for each in numbers]
    assert NONE not in known
    assert values == sorted(values)


def test_the_totals_and_their_shares_are_those_of_the_tables(report: Report) -> None:
    assert [each.text for each in report.page.xpath("//dd[@data-total]")] == TOTALS
    assert [each.text for each in report.page.xpath("//*[@data-stage]")] == STAGES


def test_the_charts_are_drawn_from_the_tables(report: Report) -> None:
    data = json.loads(report.page.get_element_by_id("data").text)
    hours = data["opensByHour"]
    assert (hours[:3], len(hours), sum(hours)) == ([66, 28, 21], 72, 564)
    assert "293 came later" in report.text
    assert data["weeks"][:2] == ["2025-12-29", "2026-01-05"]
    assert data["joined"] == [12, 28, 26, 34, 22, 30, 28, 26, 34]
    assert data["unsubscribed"] == [6, 14, 16, 12, 14, 16, 12, 14, 16]
    members = [*range(103, 160, 7)]
    assert data["lists"] == [{"name": name, "members": members} for name in LIST_NAMES]


def test_the_top_links_are_counted_over_messages_and_show_no_address(report: Report) -> None:
    rows = [[cell.text_content() for cell in row] for row in report.rows("links")]
    assert rows[0] == ["https://shop.example/\u2026/off", NONE, "1", "999", "9"]
    assert rows[1] == ["https://shop.example/11", NONE, "2", "44", "34"]
    assert len(rows) == 10
    assert "ann" not in str(rows)


def test_the_page_loads_nothing(report: Report) -> None:
    (policy,) = report.page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert not report.page.xpath("//@src | //@href | //@srcset | //link | //iframe | //object")
    assert not re.search(r"@import|\burl\(|sourceMappingURL", report.html)


def test_texts_of_the_account_are_texts(report: Report) -> None:
    assert len(report.page.xpath("//script")) == 3
    assert not report.page.xpath("//img | //b")
    assert not re.search("@@[A-Z]", report.html.replace("@@ROWS@@ {0} %s", ""))
    assert {row[0].text_content() for row in report.rows("messages")} == {*SUBJECTS, NONE}
    assert "Data up to 2026-03-01 (UTC)" in report.text
    titles = report.page.xpath("//title/text() | //h1/text()")
    assert titles == [f"Email report: {', '.join(LIST_NAMES)}"] * 2
