"""The dbt models of examples/dbt, built and tested on DuckDB and PostgreSQL from a sync."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
import pytz

from fake_listrak import Account
from fake_listrak.contract import MESSAGE_OPERATIONS
from tests.integration.environments import environment
from tests.integration.examples import EXAMPLES
from tests.integration.pipe import pipe
from tests.integration.postgres import Postgres
from tests.integration.rows import EVERY_EVENT, START
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres
from tests.support.accounts import serving
from tests.support.report import SCRIPT

Row = dict[str, Any]
SENT, OPEN, READ, CLICK, BOUNCE, REMOVAL = MESSAGE_OPERATIONS
COUNTED = {
    SENT: "sends",
    OPEN: "unique_opens",
    READ: "unique_reads",
    CLICK: "unique_clicks",
    BOUNCE: "bounces",
    REMOVAL: "unsubscribes",
}
NEW = "new@example.com"


@dataclass(frozen=True)
class Case:
    """A database, the tap's options, and the form in which Listrak writes event dates."""

    database: str
    options: dict[str, Any]
    event_dates: Any = "iso"
    timezone: str = "UTC"


CASES = {
    "duckdb": Case("duckdb", {}),
    "postgres, US dates in New York": Case("postgres", {}, "us", "America/New_York"),
    "postgres, every event, typed": Case("postgres", EVERY_EVENT),
}


@dataclass
class Models:
    """A database of the tap's tables, and the models that are built in it."""

    target: DuckDBOfFiles | MeltanoPostgres
    timezone: str = "UTC"

    def build(self, *flags: str) -> str:
        """Build and test everything; give what dbt said. Raises CalledProcessError with that."""
        there, folder = self.target.postgres, self.target.folder
        is_duckdb = isinstance(self.target, DuckDBOfFiles)
        variables = {
            "LISTRAK_DUCKDB": str(folder / "listrak.duckdb"),
            "PGHOST": there.host,
            "PGPORT": str(there.port),
            "PGUSER": there.user,
            "PGPASSWORD": there.password,
            "PGDATABASE": there.database,
        }
        given = {
            "totals_severity": "error",
            "listrak_timezone": self.timezone,
            "listrak_schema": "main" if is_duckdb else self.target.schema,
        }
        project = str(EXAMPLES / "dbt")
        command = [
            *(str(environment("dbt") / "dbt"), "--no-use-colors", "build"),
            *("--project-dir", project, "--profiles-dir", project),
            *("--target", "duckdb" if is_duckdb else "postgres"),
            *("--target-path", str(folder / "dbt"), "--log-path", str(folder / "dbt")),
            *("--vars", json.dumps(given), *flags),
        ]
        ended = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stdout[-6000:]
        return ended.stdout

    def rows(self, model: str) -> list[Row]:
        """Give the rows of a model."""
        if isinstance(self.target, MeltanoPostgres):
            return self.target.postgres.rows(f"SELECT * FROM listrak_models.{model}")
        return rows_of(self.target.folder / "listrak.duckdb", model)


def rows_of(database: Path, model: str) -> list[Row]:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.sql(f"SELECT * FROM {model}")
        return [dict(zip(found.columns, row)) for row in found.fetchall()]


def make_account(case: Case) -> Account:
    return Account(
        lists=2,
        messages=6,
        contacts=40,
        sends=30,
        page_size=50,
        start=datetime(2025, 1, 1),
        end=datetime(2025, 12, 31),
        event_dates=case.event_dates,
        timezone=case.timezone,
    )


def grow(account: Account) -> None:
    """Add an event of each kind to an old message, and a new message."""
    ListID = min(int(str(row["ListID"])) for row in account.lists())
    moment = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    account.add_message(ListID, 1, moment)
    account.add_event(SENT, 1, NEW)
    for message in account.messages(ListID)[:2]:
        for operation in (OPEN, READ, CLICK, BOUNCE, REMOVAL):
            account.add_event(operation, int(str(message["MsgID"])), NEW, moment)


def counts_held(account: Account) -> dict[int, Row]:
    """By message, how many contacts the account holds of each kind, and Listrak's totals."""
    held: dict[int, Row] = {}
    for each in account.lists():
        for message in account.messages(int(str(each["ListID"]))):
            MsgID = int(str(message["MsgID"]))
            counts = {
                column: len({row["EmailAddress"] for row in account.events(operation, MsgID)})
                for operation, column in COUNTED.items()
            }
            totals = {
                "delivered": int(str(message["DeliverCount"])),
                "opens": int(str(message["OpenCount"])),
                "reads": int(str(message["ReadCount"])),
                "clicks": int(str(message["ClickCount"])),
                "conversions": int(str(message["ConversionCount"])),
                "revenue": float(str(message["OrderTotal"])),
            }
            held[MsgID] = counts | totals
    return held


def counts_built(models: Models) -> dict[int, Row]:
    columns = [*COUNTED.values(), "delivered", "opens", "reads", "clicks", "conversions", "revenue"]
    return {
        row["message_id"]: {column: float(row[column]) for column in columns}
        for row in models.rows("listrak__campaigns")
    }


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def kept_opens(account: Account, case: Case) -> dict[tuple[int, str], list[str]]:
    """By message and address, the opens that are in the tables."""
    opens: dict[tuple[int, str], list[str]] = defaultdict(list)
    for each in account.lists():
        for message in account.messages(int(str(each["ListID"]))):
            MsgID = int(str(message["MsgID"]))
            for row in account.events(OPEN, MsgID):
                opens[MsgID, str(row["EmailAddress"])].append(str(row["OpenDate"]))
    return opens


def test_the_models_hold_what_the_account_does_and_follow_as_it_grows(
    case: Case, tap_bin: Path, postgres: Postgres, tmp_path: Path
) -> None:
    folder = tmp_path / f"models_{list(CASES.values()).index(case)}"
    folder.mkdir()
    kind = DuckDBOfFiles if case.database == "duckdb" else MeltanoPostgres
    target = kind(folder, postgres)
    models = Models(target, case.timezone)
    account = make_account(case)
    options = {**case.options, "timezone": case.timezone}
    with serving(account, folder, start_date=START, **options) as tap:

        def sync(state: Any = None) -> Any:
            command = [str(tap_bin / "tap-listrak"), *tap.arguments(state=state)]
            piped = pipe(command, target.command(), folder, target.variables)
            if isinstance(target, DuckDBOfFiles):
                target.load()
            return piped.state

        state = sync()
        models.build()
        assert counts_built(models) == counts_held(account)
        assert_opens(models, account, case)
        grow(account)
        sync(state)
    models.build()
    assert counts_built(models) == counts_held(account)
    recipients = models.rows("listrak__campaign_recipients")
    # Where the loader says when it loaded a row, the second build was an incremental one.
    assert all(row["loaded_at"] for row in recipients) == (case.database == "postgres")
    assert sum(row["email_address"] == NEW and row["was_clicked"] for row in recipients) == 2
    (contact,) = (row for row in models.rows("listrak__contacts") if row["email_address"] == NEW)
    assert contact["why_not_subscribed"] == "unsubscribed"
    assert contact["engagement"] == "active"
    if isinstance(target, DuckDBOfFiles):
        assert_reported(folder, counts_held(account))


def assert_reported(folder: Path, held: dict[int, Row]) -> None:
    """A page is made of these tables, too, with the account's totals on it."""
    page = folder / "report.html"
    subprocess.run([sys.executable, str(SCRIPT), folder / "listrak.duckdb", page], check=True)
    text = page.read_text("utf-8")
    for total in ("delivered", "unique_opens", "unique_clicks", "unsubscribes"):
        shown = f"{sum(counts[total] for counts in held.values()):,}"
        assert f'<dd data-total="{total}">{shown}</dd>' in text


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


def instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(fraction(value))


def fraction(text: str) -> str:
    """Python 3.10 reads fractions of three or six digits alone."""
    return text.ljust(26, "0") if "." in text else text


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Models]]:
    """An empty database, and the models on it once it is closed."""
    target = DuckDBOfFiles(tmp_path, Postgres(0))
    with duckdb.connect(str(tmp_path / "listrak.duckdb")) as database:
        yield database, Models(target)


def test_the_models_are_built_and_described_where_streams_and_columns_are_left_out(
    by_hand: tuple[duckdb.DuckDBPyConnection, Models],
) -> None:
    database, models = by_hand
    database.execute("CREATE TABLE messages AS SELECT 1 AS MsgID, 7 AS ClickerCount")
    database.execute("CREATE TABLE message_reads (msgid INT, emailaddress TEXT, readdate TEXT)")
    read_at = {
        "6/30/2026 1:00:05 PM": datetime(2026, 6, 30, 13, 0, 5),
        "12/1/2026 12:00:00 AM": datetime(2026, 12, 1),
        "2026-06-30T13:00:05.12": datetime(2026, 6, 30, 13, 0, 5, 120_000),
        "2026-06-30T13:00:05-04:00": datetime(2026, 6, 30, 17, 0, 5),
        "2026-06-30T13:00:05Z": datetime(2026, 6, 30, 13, 0, 5),
        "1970-01-01T00:00:00Z": None,
        "": None,
    }
    for text in read_at:
        database.execute("INSERT INTO message_reads VALUES (1, $text, $text)", {"text": text + " "})
    database.execute("UPDATE message_reads SET readdate = trim(readdate)")
    database.close()
    models.build()
    (campaign,) = models.rows("listrak__campaigns")
    assert campaign["unique_clicks"] == 7, "without the clicks, Listrak's own count"
    assert campaign["unique_reads"] == len(read_at)
    assert campaign["unique_opens"] is None, "not known is not none"
    recipients = models.rows("listrak__campaign_recipients")
    built = {row["email_address"].strip(): row["first_read_at"] for row in recipients}
    assert built == read_at
    assert_described(models)


def assert_described(models: Models) -> None:
    """Each model, and each of its columns in their order, has a description."""
    manifest = json.loads((models.target.folder / "dbt/manifest.json").read_text("utf-8"))
    nodes = [each for each in manifest["nodes"].values() if each["resource_type"] == "model"]
    assert nodes
    with duckdb.connect(str(models.target.folder / "listrak.duckdb")) as database:
        for node in nodes:
            told = {name: facts["description"] for name, facts in node["columns"].items()}
            assert list(told) == database.table(node["name"]).columns, node["name"]
            assert all([node["description"], *told.values()]), node["name"]


def test_the_further_streams_are_used_where_they_are(
    by_hand: tuple[duckdb.DuckDBPyConnection, Models],
) -> None:
    database, models = by_hand
    database.execute("""
        CREATE TABLE lists AS SELECT 5 AS ListID, 'News' AS ListName;
        CREATE TABLE messages AS SELECT 1 AS MsgID, 5 AS ListID, TIMESTAMP '2026-01-01' AS SendDate,
            8 AS DeliverCount, 3 AS ClickerCount;
        CREATE TABLE subscribed_contacts AS SELECT * FROM (VALUES
            ('a', 5, 'left@x.org', TIMESTAMP '2026-01-01'), ('b', 5, 'back@x.org', '2026-01-09')
        ) AS rows (ContactID, ListID, EmailAddress, AdditionDate);
        CREATE TABLE list_unsubs AS SELECT * FROM (VALUES
            ('a', 5, 'left@x.org', TIMESTAMP '2026-01-02', TIMESTAMP '2026-01-05', 'Email'),
            ('b', 5, 'back@x.org', '2026-01-02', '2026-01-05', 'Email')
        ) AS rows (ContactID, ListID, EmailAddress, AdditionDate, RemovalDate, RemovalMethod);
        CREATE TABLE message_links AS SELECT * FROM (VALUES
            (1, 1, 4, 3, 'https://x.org/'), (1, 2, 2, 1, 'https://x.org/')
        ) AS rows (MsgID, LinkID, ClickCount, ClickerCount, LinkURL);
        CREATE TABLE campaigns AS SELECT 9 AS CampaignID, 5 AS ListID, 'Winter' AS Name;
        CREATE TABLE message_analytics AS SELECT 1 AS MsgID, 9 AS CampaignID;
        CREATE TABLE message_deliveries AS SELECT 1 AS MsgID, 2 AS BounceCount;
        CREATE TABLE complaints AS SELECT 1 AS MessageID, 5 AS ListID, 'left@x.org' AS EmailAddress,
            TIMESTAMP '2026-01-04' AS AbuseDate;
        CREATE TABLE conversations AS SELECT 3 AS ConversationID, 5 AS ListID, 10 AS DeliverCount,
            'Welcome' AS ConversationName;
        CREATE TABLE conversation_deliveries AS SELECT 3 AS ConversationID, 11 AS SendCount;
        CREATE TABLE conversation_opens AS SELECT 3 AS ConversationID, 4 AS MsgID,
            'back@x.org' AS EmailAddress, TIMESTAMP '2026-01-04' AS OpenDate
    """)
    database.close()
    models.build()
    (campaign,) = models.rows("listrak__campaigns")
    assert campaign["campaign_name"] == "Winter"
    assert (campaign["bounces"], campaign["complaints"]) == (2, 1)
    (link,) = models.rows("listrak__links")
    assert (link["clicks"], link["places"]) == (6, 2)
    (conversation,) = models.rows("listrak__conversations")
    assert (conversation["sends"], conversation["unique_opens"]) == (11, 1)
    assert conversation["unique_reads"] is None
    contacts = {row["email_address"]: row for row in models.rows("listrak__contacts")}
    assert contacts["left@x.org"]["why_not_subscribed"] == "complained"
    assert contacts["back@x.org"]["is_subscribed"]
    (last,) = (row for row in models.rows("listrak__days") if str(row["day"]) == "2026-01-09")
    assert last["subscribers"] == 1
