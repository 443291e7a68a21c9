"""The dbt models of examples/dbt, built and tested on DuckDB and PostgreSQL from a sync."""

import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytz

from fake_listrak import Account
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.addresses import hash_address
from tests.integration.environments import environment
from tests.integration.models import Models, Row, fraction, instant
from tests.integration.postgres import Postgres
from tests.integration.rows import EVERY_EVENT, START, account_of_2025
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres
from tests.support.accounts import list_ids, serving
from tests.support.report import SCRIPT

SENT, OPEN, READ, CLICK, BOUNCE, REMOVAL = MESSAGE_OPERATIONS
COUNTED = {
    SENT: "sends",
    OPEN: "unique_opens",
    READ: "unique_reads",
    CLICK: "unique_clicks",
    BOUNCE: "bounces",
    REMOVAL: "unsubscribes",
}
TOTALS = {
    "delivered": "DeliverCount",
    "opens": "OpenCount",
    "reads": "ReadCount",
    "clicks": "ClickCount",
    "conversions": "ConversionCount",
    "revenue": "OrderTotal",
}
NEW = "new@example.com"
KEY = "the key of the hashes"
TRANSLATE = """
import pathlib, sqlglot, sys
paths = sorted(pathlib.Path(sys.argv[1]).glob("compiled/listrak/models/*/*.sql"))
assert paths
for path in paths:
    for dialect in ("snowflake", "bigquery"):
        given = {"read": "postgres", "write": dialect}
        level = sqlglot.ErrorLevel.RAISE
        (sql,) = sqlglot.transpile(path.read_text(), **given, unsupported_level=level)
        sqlglot.parse_one(sql, read=dialect)
"""


@dataclass(frozen=True)
class Case:
    """A database, the tap's options, and the form in which Listrak writes event dates."""

    database: str
    options: dict[str, Any]
    event_dates: Any = "iso"
    timezone: str = "UTC"

    def shown(self, address: str) -> str:
        """What the tables hold of an address."""
        return hash_address(KEY)(address) if "email_hash_key" in self.options else address


CASES = {
    "duckdb, hashed addresses": Case("duckdb", {"email_hash_key": KEY}),
    "postgres, US dates in New York": Case("postgres", {}, "us", "America/New_York"),
    "postgres, every event, typed": Case("postgres", EVERY_EVENT),
}


def grow(account: Account) -> None:
    """Add an event of each kind to an old message, and a new message."""
    ListID, *_ = list_ids(account)
    moment = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    account.add_message(ListID, 1, moment)
    account.add_event(SENT, 1, NEW)
    for message in account.messages(ListID)[:2]:
        for operation in (OPEN, READ, CLICK, BOUNCE, REMOVAL):
            account.add_event(operation, int(str(message["MsgID"])), NEW, moment)


def counts_held(account: Account) -> dict[int, Row]:
    """By message, how many contacts the account holds of each kind, and Listrak's totals."""
    held: dict[int, Row] = {}
    for ListID in list_ids(account):
        for message in account.messages(ListID):
            MsgID = int(str(message["MsgID"]))
            held[MsgID] = {
                **{
                    column: len({row["EmailAddress"] for row in account.rows(operation, MsgID)})
                    for operation, column in COUNTED.items()
                },
                **{column: float(str(message[name])) for column, name in TOTALS.items()},
            }
    return held


def counts_built(models: Models) -> dict[int, Row]:
    return {
        row["message_id"]: {column: float(row[column]) for column in (*COUNTED.values(), *TOTALS)}
        for row in models.rows("listrak__campaigns")
    }


def kept_opens(account: Account, case: Case) -> dict[tuple[int, str], list[str]]:
    """By message and address, the opens that are in the tables."""
    opens: dict[tuple[int, str], list[str]] = defaultdict(list)
    for ListID in list_ids(account):
        for message in account.messages(ListID):
            MsgID = int(str(message["MsgID"]))
            for row in account.rows(OPEN, MsgID):
                address = case.shown(str(row["EmailAddress"]))
                opens[MsgID, address].append(str(row["OpenDate"]))
    return opens


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_models_hold_what_the_account_does_and_follow_as_it_grows(
    case: Case, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models")
    kind = DuckDBOfFiles if case.database == "duckdb" else MeltanoPostgres
    target = kind(folder, postgres)
    models = Models(target, case.timezone)
    account = account_of_2025(
        lists=2,
        messages=6,
        contacts=40,
        sends=30,
        page_size=50,
        event_dates=case.event_dates,
        timezone=case.timezone,
    )
    options = {**case.options, "timezone": case.timezone}
    with serving(account, folder, start_date=START, **options) as tap:
        state = target.sync(tap).state
        models.build()
        assert counts_built(models) == counts_held(account)
        assert_opens(models, account, case)
        grow(account)
        target.sync(tap, state=state)
    models.build()
    assert counts_built(models) == counts_held(account)
    new = case.shown(NEW)
    recipients = models.rows("listrak__campaign_recipients")
    assert sum(row["email_address"] == new and row["was_clicked"] for row in recipients) == 2
    (contact,) = (row for row in models.rows("listrak__contacts") if row["email_address"] == new)
    assert contact["why_not_subscribed"] == "unsubscribed"
    assert contact["engagement"] == "active"
    if isinstance(target, DuckDBOfFiles):
        assert_reported(folder, counts_held(account))
    else:
        assert_translates(folder / "dbt")


def assert_reported(folder: Path, held: dict[int, Row]) -> None:
    """A page is made of these tables, too, with the account's totals on it."""
    page = folder / "report.html"
    subprocess.run([sys.executable, str(SCRIPT), folder / "listrak.duckdb", page], check=True)
    text = page.read_text("utf-8")
    for total in ("delivered", "unique_opens", "unique_clicks", "unsubscribes"):
        shown = f"{sum(counts[total] for counts in held.values()):,.0f}"
        assert f'<dd data-total="{total}">{shown}</dd>' in text


def assert_translates(compiled: Path) -> None:
    """Snowflake's and BigQuery's SQL can say all that the models do."""
    subprocess.run([environment("sqlglot") / "python", "-c", TRANSLATE, compiled], check=True)


def assert_opens(models: Models, account: Account, case: Case) -> None:
    """Each contact's first open is the instant that the account holds, in UTC."""
    kept = kept_opens(account, case)
    built = {
        (row["message_id"], row["email_address"]): instant(row["first_opened_at"])
        for row in models.rows("listrak__campaign_recipients")
        if row["was_opened"]
    }
    assert built.keys() == kept.keys()
    for key, opens in kept.items():
        instants = [wall_clock(text, case) for text in opens]
        first = min(instants) if "keep_every_event" in case.options else None
        assert built[key] == first or (first is None and built[key] in instants)


def wall_clock(text: str, case: Case) -> datetime:
    """The instant that a date on the wire means."""
    if "/" in text:
        moment = datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p")
    else:
        moment = datetime.fromisoformat(fraction(text))
    aware = pytz.timezone(case.timezone).localize(moment, is_dst=False)
    return aware.astimezone(timezone.utc).replace(tzinfo=None)
