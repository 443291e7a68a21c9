"""The dbt models of examples/dbt on tables made by hand, with what accounts rarely hold."""

import json
from datetime import datetime

import duckdb
import pytest
import pytz

from tests.integration.environments import EXAMPLES
from tests.integration.models import Models, Row, instant
from tests.integration.postgres import Postgres
from tests.integration.targets import DuckDBOfFiles, MeltanoPostgres

MARTS = sorted(path.stem for path in (EXAMPLES / "dbt/models/marts").glob("*.sql"))
READ_AT = {
    "6/30/2025 1:00:05 PM": datetime(2025, 6, 30, 13, 0, 5),
    "12/1/2025 12:00:00 AM": datetime(2025, 12, 1),
    "2/29/2024 12:00:00 PM": datetime(2024, 2, 29, 12),
    "2024-02-29": datetime(2024, 2, 29),
    "2025-06-30T13:00:05.12": datetime(2025, 6, 30, 13, 0, 5, 120_000),
    "2025-06-30T13:00:05-04:00": datetime(2025, 6, 30, 17, 0, 5),
    "2025-06-30T13:00:05Z": datetime(2025, 6, 30, 13, 0, 5),
}
NO_DATES = (
    *("", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "1/1/0001 12:00:00 AM"),
    *("1753-01-01T00:00:00", "1900-01-01T00:00:00", "1970-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59", "9999-12-31T23:59:59.9999999", "2200-01-01T00:00:00Z"),
)
IMPOSSIBLE_DATES = (
    *("30/06/2025 1:00:00 PM", "2025-02-30T00:00:00", "2025-02-30T00:00:00Z", "2025-02-29"),
    *("2025-13-01T00:00:00", "2025-00-10T00:00:00", "0000-01-01T00:00:00", "2025-06-31T00:00:00"),
    *("2025-06-30T25:00:00", "2025-06-30T10:61:00", "2025-06-30T10:00:00+99:99"),
    *("2/30/2025 1:00:00 PM", "6/31/2025 1:00:00 AM", "6/30/2025 13:00:00 PM"),
    *("6/30/2025 0:00:00 AM", "0/1/2025 1:00:00 AM", "6/30/2025 1:99:00 AM", "not a date"),
    *("infinity", "-infinity", "epoch", "now", "290000-01-01T00:00:00"),
)


@pytest.fixture(params=["duckdb", "postgres"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The models on an empty database."""
    folder = tmp_path_factory.mktemp("by_hand")
    if request.param == "duckdb":
        return Models(DuckDBOfFiles(folder, Postgres(0)))
    return Models(MeltanoPostgres(folder, request.getfixturevalue("postgres")))


def assert_described(target: DuckDBOfFiles) -> None:
    """Each model, and each of its columns in their order, has a description."""
    manifest = json.loads((target.folder / "dbt/manifest.json").read_text("utf-8"))
    nodes = [each for each in manifest["nodes"].values() if each["resource_type"] == "model"]
    assert nodes
    with duckdb.connect(str(target.file)) as database:
        for node in nodes:
            told = {name: facts["description"] for name, facts in node["columns"].items()}
            assert list(told) == database.table(node["name"]).columns, node["name"]
            assert all([node["description"], *told.values()]), node["name"]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_dates_are_read_in_both_forms_and_others_are_null(models: Models, zone: str) -> None:
    models.timezone = zone
    texts = (*READ_AT, *NO_DATES, *IMPOSSIBLE_DATES)
    rows = ", ".join(f"(1, '{n}@x.org', '{text}')" for n, text in enumerate(texts))
    models.execute(f"""
        CREATE TABLE messages AS SELECT 1 AS MsgID, 5 AS ListID, 7 AS ClickerCount,
            '0001-01-01T00:00:00' AS SendDate;
        CREATE TABLE message_reads (msgid INT, emailaddress TEXT, readdate TEXT);
        INSERT INTO message_reads VALUES {rows}
    """)
    models.build()
    (campaign,) = models.rows("listrak__campaigns")
    assert campaign["unique_clicks"] == 7, "without the clicks, Listrak's own count"
    assert campaign["unique_reads"] == len(texts)
    assert campaign["unique_opens"] is None, "not known is not none"
    built = {row["email_address"]: row for row in models.rows("listrak__campaign_recipients")}
    for n, text in enumerate(texts):
        due = READ_AT.get(text)
        if due and zone != "UTC" and not text.endswith(("Z", "-04:00")):
            due = pytz.timezone(zone).localize(due).astimezone(pytz.utc).replace(tzinfo=None)
        assert instant(built[f"{n}@x.org"]["first_read_at"]) == due, text
    days = models.rows("listrak__days")
    assert sum(row["reads"] for row in days) == len(READ_AT)
    # From the first read to the last, and no further.
    assert len(days) == (datetime(2025, 12, 1) - datetime(2024, 2, 29)).days + 1
    if isinstance(models.target, DuckDBOfFiles):
        assert_described(models.target)


def test_a_contact_is_one_in_whatever_case_its_address_is_written(models: Models) -> None:
    models.totals_severity = "warn"
    models.execute("""
        CREATE TABLE lists AS SELECT 5 AS ListID, 'News' AS ListName;
        CREATE TABLE messages AS SELECT 1 AS MsgID, 5 AS ListID, '2025-01-01T00:00:00' AS SendDate,
            9 AS DeliverCount;
        CREATE TABLE message_sends AS SELECT 1 AS MsgID, 'Ann@X.org' AS EmailAddress;
        CREATE TABLE message_opens AS SELECT * FROM (VALUES
            (1, 'ann@x.org', 'a', '2025-01-01T10:00:00'),
            (1, 'ANN@x.org ', 'a', '2025-01-02T10:00:00')
        ) AS rows (MsgID, EmailAddress, ContactID, OpenDate);
        CREATE TABLE message_clicks AS SELECT 1 AS MsgID, 'ann@x.ORG' AS EmailAddress,
            '2025-01-02T10:01:00' AS ClickDate, 'https://x.org/' AS LinkUrl;
        CREATE TABLE message_unsubs AS SELECT * FROM (VALUES
            (1, 'ANN@X.ORG', '2025-01-03T10:00:00'), (1, 'Ann@x.org', '2025-01-04T10:00:00')
        ) AS rows (MsgID, EmailAddress, RemovalDate);
        CREATE TABLE subscribed_contacts AS SELECT 5 AS ListID, 'a' AS ContactID,
            'Ann@x.org' AS EmailAddress, '2024-12-01T00:00:00' AS AdditionDate;
        CREATE TABLE complaints AS SELECT * FROM (VALUES
            (5, 1, 'ann@X.org', '2025-01-03T09:00:00'), (5, 1, 'Ann@X.org', '2025-01-03T09:00:00')
        ) AS rows (ListID, MessageID, EmailAddress, AbuseDate);
        CREATE TABLE conversations AS SELECT 3 AS ConversationID, 5 AS ListID;
        CREATE TABLE conversation_opens AS SELECT * FROM (VALUES
            (3, 4, 'Ann@x.org', '2025-01-01T10:00:00'), (3, 4, 'ann@x.org', '2025-01-02T10:00:00')
        ) AS rows (ConversationID, MsgID, EmailAddress, OpenDate)
    """)
    models.build()
    (recipient,) = models.rows("listrak__campaign_recipients")
    assert recipient["email_address"] == "ann@x.org"
    assert (recipient["was_sent"], recipient["opens"], recipient["clicks"]) == (True, 2, 1)
    (contact,) = models.rows("listrak__contacts")
    assert contact["why_not_subscribed"] == "complained"
    (member,) = models.rows("listrak__list_members")
    assert not member["is_subscribed"]
    assert instant(member["unsubscribed_at"]) == datetime(2025, 1, 4, 10)
    (campaign,) = models.rows("listrak__campaigns")
    assert (campaign["unsubscribes"], campaign["complaints"]) == (1, 1)
    (conversation,) = models.rows("listrak__conversations")
    assert conversation["unique_opens"] == 1


LATER = {
    "messages that are loaded after their opens": """
        INSERT INTO messages VALUES (2, 5, '2025-02-01T00:00:00', '2025-06-03')
    """,
    "a SendDate that changes": """
        UPDATE messages SET SendDate = '2025-01-01T06:00:00', _sdc_batched_at = '2025-09-01'
    """,
    "a row that is gone": "DELETE FROM message_opens WHERE EmailAddress = 'bob@x.org'",
    "a message whose rows are gone": "DELETE FROM message_opens WHERE MsgID = 1",
    "a row that was loaded long ago, as from another loader": """
        INSERT INTO message_opens VALUES (1, 'old@x.org', '2025-01-02T11:00:00', '2024-01-01')
    """,
}


@pytest.mark.parametrize("later", LATER)
def test_a_second_build_gives_what_a_full_refresh_does(models: Models, later: str) -> None:
    models.totals_severity = "warn"
    models.execute("""
        CREATE TABLE messages (MsgID INT, ListID INT, SendDate TEXT, _sdc_batched_at TIMESTAMP);
        CREATE TABLE message_opens (
            MsgID INT, EmailAddress TEXT, OpenDate TEXT, _sdc_batched_at TIMESTAMP
        );
        INSERT INTO messages VALUES (1, 5, '2025-01-01T00:00:00', '2025-02-02');
        INSERT INTO message_opens VALUES
            (1, 'ann@x.org', '2025-01-02T10:00:00', '2025-06-01'),
            (1, 'bob@x.org', '2025-01-02T11:00:00', '2025-02-02'),
            (2, 'ann@x.org', '2025-02-01T10:00:00', '2025-02-02')
    """)
    models.build()

    def everything() -> list[list[Row]]:
        return [sorted(models.rows(name), key=str) for name in MARTS]

    before = everything()
    models.execute(LATER[later])
    models.build()
    second = everything()
    models.build("--full-refresh")
    assert second == everything() != before


def test_the_further_streams_are_used_where_they_are(models: Models) -> None:
    models.execute("""
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
