"""The dbt models of examples/dbt on DuckDB and PostgreSQL: of a sync, and of tables by hand."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fake_listrak import Account
from fake_listrak.contract import MESSAGE_OPERATIONS
from tap_listrak.addresses import hash_address
from tests.integration.account import EVERY_EVENT, NEW, START, account_of_2025, grow
from tests.integration.environments import EXAMPLES, environment
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres, Postgres, Row, instant
from tests.support.accounts import list_ids, serving
from tests.support.report import SCRIPT

Models = DuckDBOfFiles | MeltanoPostgres
COUNTS = ("sends", "unique_opens", "unique_reads", "unique_clicks", "bounces", "unsubscribes")
TOTALS = {
    "delivered": "DeliverCount",
    "opens": "OpenCount",
    "reads": "ReadCount",
    "clicks": "ClickCount",
    "conversions": "ConversionCount",
    "revenue": "OrderTotal",
}
KEY = "the key of the hashes"
HASHED = {**EVERY_EVENT, "email_hash_key": KEY}
NEW_YORK = {"timezone": "America/New_York"}
CASES: dict[str, tuple[type[Models], dict[str, Any], dict[str, Any]]] = {
    "DuckDB, every event typed, addresses hashed": (DuckDBOfFiles, HASHED, {}),
    "PostgreSQL, US dates": (MeltanoPostgres, NEW_YORK, {**NEW_YORK, "event_dates": "us"}),
}
"""By name, the target, the tap's options, and how the account's rows are written."""


def build(target: Models, **given: str) -> None:
    """Build and test all models with these vars. Raises AssertionError with what dbt said."""
    folder = target.folder
    variables = {f"PG{name.upper()}": str(value) for name, value in asdict(target.postgres).items()}
    given = {"totals_severity": "error", "listrak_schema": target.schema, **given}
    command = [
        *(environment("dbt") / "dbt", "--no-use-colors", "build"),
        *("--project-dir", EXAMPLES / "dbt", "--profiles-dir", EXAMPLES / "dbt"),
        *("--target", "duckdb" if isinstance(target, DuckDBOfFiles) else "postgres"),
        *("--target-path", folder / "dbt", "--log-path", folder / "dbt"),
        *("--vars", json.dumps(given)),
    ]
    env = {**os.environ, **variables, "LISTRAK_DUCKDB": str(folder / "listrak.duckdb")}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout[-6000:]


def rows(target: Models, model: str) -> list[Row]:
    """Return the rows of a model, or those of a model and a condition."""
    schema = "main" if isinstance(target, DuckDBOfFiles) else "listrak_models"
    return target.ask(f"SELECT * FROM {schema}.listrak__{model}")


def counts_held(account: Account) -> dict[int, Row]:
    """Return of each message how many contacts the account holds of each kind, and its totals."""
    held: dict[int, Row] = {}
    for message in (row for ListID in list_ids(account) for row in account.messages(ListID)):
        MsgID = int(str(message["MsgID"]))
        held[MsgID] = {column: float(str(message[name])) for column, name in TOTALS.items()}
        for column, operation in zip(COUNTS, MESSAGE_OPERATIONS, strict=True):
            contacts = {row["EmailAddress"] for row in account.rows(operation, MsgID)}
            held[MsgID][column] = len(contacts)
    return held


@pytest.mark.parametrize(("kind", "options", "form"), CASES.values(), ids=CASES)
def test_the_models_hold_what_the_account_does_and_follow_as_it_grows(
    kind: type[Models], options: dict[str, Any], form: Any, postgres: Postgres, folder: Path
) -> None:
    target, zone = kind(folder, postgres), options.get("timezone", "UTC")
    account = account_of_2025(lists=2, messages=6, contacts=40, sends=30, page_size=50, **form)

    def shown(address: Any) -> str:
        return hash_address(KEY)(address) if "email_hash_key" in options else str(address)

    def build_and_count() -> None:
        build(target, listrak_timezone=zone)
        assert counts_held(account) == {
            row["message_id"]: {name: float(row[name]) for name in (*TOTALS, *COUNTS)}
            for row in rows(target, "campaigns")
        }

    with serving(account, folder, start_date=START, **options) as tap:
        target.sync(tap)
        build_and_count()
        grow(account)
        target.sync(tap)
    build_and_count()
    assert not rows(target, "campaign_recipients WHERE was_opened AND first_opened_at IS NULL")
    (contact,) = rows(target, f"contacts WHERE email_address = '{shown(NEW)}'")
    assert contact["why_not_subscribed"] == "unsubscribed"
    assert contact["engagement"] == "active"
    if isinstance(target, DuckDBOfFiles):
        page = folder / "report.html"
        subprocess.run([sys.executable, str(SCRIPT), target.file, page], check=True)
        total = sum(row["unsubscribes"] for row in counts_held(account).values())
        assert f'<dd data-total="unsubscribes">{total}</dd>' in page.read_text("utf-8")


# Tables made by hand, with what accounts rarely hold.

IN_UTC = {
    "6/30/2025 1:00:05 PM": "2025-06-30T17:00:05",
    "12/1/2025 12:00:00 AM": "2025-12-01T05:00:00",
    "2/29/2024 12:00:00 PM": "2024-02-29T17:00:00",
    "2024-02-29": "2024-02-29T05:00:00",
    "2025-06-30T13:00:05.12": "2025-06-30T17:00:05.12",
    "2025-06-30T13:00:05-05:00": "2025-06-30T18:00:05",
    "2025-06-30T13:00:05Z": "2025-06-30T13:00:05",
}
"""Dates of New York as Listrak writes them, and the instants that they are."""
NO_DATES = (
    *("", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "1/1/0001 12:00:00 AM"),
    *("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999", "2200-01-01T00:00:00Z"),
    *("30/06/2025 1:00:00 PM", "2025-02-30T00:00:00", "2025-02-30T00:00:00Z", "2025-02-29"),
    *("2025-13-01T00:00:00", "2025-00-10T00:00:00", "0000-01-01T00:00:00", "2025-06-31T00:00:00"),
    *("2025-06-30T25:00:00", "2025-06-30T10:61:00", "2025-06-30T10:00:00+99:99"),
    *("2/30/2025 1:00:00 PM", "6/31/2025 1:00:00 AM", "6/30/2025 13:00:00 PM"),
    *("6/30/2025 0:00:00 AM", "0/1/2025 1:00:00 AM", "6/30/2025 1:99:00 AM", "not a date"),
    *("infinity", "-infinity", "epoch", "now", "290000-01-01T00:00:00"),
)
TEXTS = (*IN_UTC, *NO_DATES)
READS = [f"(1, '{number}', '{text}')" for number, text in enumerate(TEXTS)]
TABLES = f"""
    CREATE TABLE lists AS SELECT 5 AS ListID;
    CREATE TABLE messages AS SELECT 1 AS MsgID, 5 AS ListID, 7 AS ClickerCount, 2 AS RemoveCount,
        '0001-01-01T00:00:00' AS SendDate;
    CREATE TABLE message_sends AS SELECT 1 AS MsgID, 'Ann@X.org' AS EmailAddress;
    CREATE TABLE message_opens AS SELECT * FROM (VALUES
        (1, 'ann@x.org', '2026-01-01T10:00:00'), (1, 'ANN@x.org ', '2026-01-02T10:00:00')
    ) AS rows (MsgID, EmailAddress, OpenDate);
    CREATE TABLE message_reads (msgid INT, emailaddress TEXT, readdate TEXT);
    INSERT INTO message_reads VALUES {", ".join(READS)};
    CREATE TABLE message_unsubs AS SELECT * FROM (VALUES
        (1, 'ANN@X.ORG', '2026-01-03T10:00:00'), (1, 'Ann@x.org', '2026-01-04T10:00:00'),
        (1, 'left@x.org', '2026-01-04T10:00:00')
    ) AS rows (MsgID, EmailAddress, RemovalDate);
    CREATE TABLE subscribed_contacts AS SELECT * FROM (VALUES
        ('a', 5, 'Ann@x.org', TIMESTAMP '2025-12-01', CAST(NULL AS TIMESTAMP)),
        ('l', 5, 'left@x.org', '2026-01-01', NULL), ('b', 5, 'back@x.org', '2026-01-09', NULL),
        ('g', 5, 'gone@x.org', '2026-01-01', '2026-01-09')
    ) AS rows (ContactID, ListID, EmailAddress, AdditionDate, _sdc_deleted_at);
    CREATE TABLE list_unsubs AS SELECT * FROM (VALUES
        ('l', 5, 'left@x.org', TIMESTAMP '2026-01-02', TIMESTAMP '2026-01-05', 'Email'),
        ('b', 5, 'back@x.org', '2026-01-02', '2026-01-05', 'Email')
    ) AS rows (ContactID, ListID, EmailAddress, AdditionDate, RemovalDate, RemovalMethod);
    CREATE TABLE complaints AS SELECT * FROM (VALUES
        (5, 1, 'ann@X.org', '2026-01-03T09:00:00'), (5, 1, 'Ann@X.org', '2026-01-03T09:00:00')
    ) AS rows (ListID, MessageID, EmailAddress, AbuseDate);
    CREATE TABLE message_links AS SELECT * FROM (VALUES
        (1, 1, 4, 3, 'https://x.org/'), (1, 2, 2, 1, 'https://x.org/')
    ) AS rows (MsgID, LinkID, ClickCount, ClickerCount, LinkURL);
    CREATE TABLE campaigns AS SELECT 9 AS CampaignID, 5 AS ListID, 'Winter' AS Name;
    CREATE TABLE message_analytics AS SELECT 1 AS MsgID, 9 AS CampaignID;
    CREATE TABLE message_deliveries AS SELECT 1 AS MsgID, 2 AS BounceCount;
    CREATE TABLE conversations AS SELECT 3 AS ConversationID, 5 AS ListID, 10 AS DeliverCount;
    CREATE TABLE conversation_deliveries AS SELECT 3 AS ConversationID, 11 AS SendCount;
    CREATE TABLE conversation_opens AS SELECT * FROM (VALUES
        (3, 4, 'Ann@x.org', '2026-01-01T10:00:00'), (3, 4, 'ann@x.org', '2026-01-02T10:00:00')
    ) AS rows (ConversationID, MsgID, EmailAddress, OpenDate)
"""


@pytest.fixture(scope="module", params=["DuckDB", "PostgreSQL"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The models, built on these tables."""
    folder = tmp_path_factory.mktemp("by_hand")
    target: Models
    if request.param == "DuckDB":
        target = DuckDBOfFiles(folder, Postgres(0))
        with duckdb.connect(str(target.file)) as database:
            database.execute(TABLES)
    else:
        target = MeltanoPostgres(folder, request.getfixturevalue("postgres"))
        schema = target.schema
        target.postgres.run(f"CREATE SCHEMA {schema}; SET search_path TO {schema}; {TABLES}")
    build(target, listrak_timezone="America/New_York")
    return target


def test_dates_are_read_in_both_forms_and_others_are_null(models: Models) -> None:
    reads = rows(models, "campaign_recipients WHERE was_read")
    found = {TEXTS[int(row["email_address"])]: row["first_read_at"] for row in reads}
    assert found.keys() == set(TEXTS)
    due = {text: instant(moment) for text, moment in IN_UTC.items()}
    assert {text: instant(moment) for text, moment in found.items() if moment} == due
    assert sum(row["reads"] for row in rows(models, "days")) == len(IN_UTC)


def test_a_contact_is_one_in_whatever_case_its_address_is_written(models: Models) -> None:
    (ann,) = rows(models, "campaign_recipients WHERE was_sent")
    assert (ann["email_address"], ann["opens"]) == ("ann@x.org", 2)
    (member,) = rows(models, "list_members WHERE email_address = 'ann@x.org'")
    assert not member["is_subscribed"]
    assert instant(member["unsubscribed_at"]) == instant("2026-01-04T15:00:00Z")
    (campaign,) = rows(models, "campaigns")
    assert (campaign["unsubscribes"], campaign["complaints"]) == (2, 1)
    (conversation,) = rows(models, "conversations")
    assert conversation["unique_opens"] == 1


def test_the_further_streams_are_used_where_they_are(models: Models) -> None:
    (campaign,) = rows(models, "campaigns")
    assert (campaign["campaign_name"], campaign["bounces"]) == ("Winter", 2)
    assert campaign["unique_clicks"] == 7, "without the clicks, Listrak's own count"
    (link,) = rows(models, "links")
    assert (link["clicks"], link["places"]) == (6, 2)
    (conversation,) = rows(models, "conversations")
    assert (conversation["sends"], conversation["unique_reads"]) == (11, None), "not known"
    contacts = {row["email_address"]: row["why_not_subscribed"] for row in rows(models, "contacts")}
    assert contacts["ann@x.org"] == "complained"
    assert contacts["left@x.org"] == "unsubscribed"
    assert contacts["back@x.org"] is None
    assert "gone@x.org" not in contacts
    last = max(rows(models, "days"), key=lambda row: str(row["day"]))
    assert (str(last["day"]), last["subscribers"]) == ("2026-01-09", 1)
