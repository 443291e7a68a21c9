"""The Listrak that the tests run against: it keeps the contract, and its tables agree."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin

import pytest
import zeep
from lxml import etree

from fake_listrak import (
    FURTHER_OPERATIONS,
    OPERATIONS,
    PUBLISHED_OPERATIONS,
    Account,
    ListrakService,
    Operation,
    Row,
)
from fake_listrak.__main__ import main
from fake_listrak.clock import NEVER, Zone, instant
from fake_listrak.contract import CONVERSATION_OPERATIONS, ID_OF, read_wsdl
from tests.support.accounts import list_ids, small
from tests.support.published import ALL_COLUMNS, ALL_KEYS, COLUMNS

NAMESPACE = "http://webservices.listrak.com/v31/"
XS = "{http://www.w3.org/2001/XMLSchema}"
NAME = {kind.table: kind.name for kind in OPERATIONS.values()}
DATED = [
    kind.table
    for kind in OPERATIONS.values()
    if kind.name in FURTHER_OPERATIONS and "StartDate" in kind.arguments
]
MIDDLE = datetime(2026, 5, 15)
ALL_TIME = {"StartDate": datetime(1900, 1, 1), "EndDate": datetime(2100, 1, 1)}
ZEEP: Any = zeep.Client  # which has no type information
Parents = list[int | None]


def parents(account: Account, kind: Operation) -> Parents:
    """What an operation is asked by, None being the account."""
    if kind.asked_by == "account":
        return [None]
    lists = list_ids(account)
    if kind.asked_by == "list":
        return [*lists]
    if kind.asked_by == "message":
        return [int(str(row["MsgID"])) for ListID in lists for row in account.messages(ListID)]
    return [ID for ListID in lists for ID in account.conversation_ids(ListID)]


def table(account: Account, name: str) -> list[Row]:
    """All rows of a table, with the ID of what they are asked by where they lack it."""
    kind = OPERATIONS[NAME[name]]
    found: list[Row] = []
    for parent in parents(account, kind):
        for row in account.rows(kind.name, parent):
            if parent is not None:
                row = {**row, ID_OF[kind.asked_by]: str(parent)}
            found.append(row)
    return found


def of(account: Account, name: str, parent: int | None) -> list[Row]:
    return account.rows(NAME[name], parent)


def number(row: Row, name: str) -> int:
    return int(str(row[name]))


class Client:
    """Asks a service as zeep does, which holds every reply against the WSDL."""

    def __init__(self, service: ListrakService, contract: ListrakService | None = None) -> None:
        self._account = service.account
        client = ZEEP((contract or service).url)
        binding = f"{{{NAMESPACE}}}IntegrationServiceSoap"
        self._service = client.create_service(binding, service.url.partition("?")[0])
        user = client.get_element(f"{{{NAMESPACE}}}WSUser")
        self._header = user(UserName=service.username, Password=service.password)

    def call(self, operation: str, **arguments: Any) -> Any:
        if OPERATIONS[operation].takes_exception:
            arguments.setdefault("WSException", zeep.xsd.SkipValue)
        return self._service[operation](**arguments, _soapheaders=[self._header])

    def page(self, operation: str, parent: int | None, **arguments: Any) -> list[Any]:
        """The rows of one reply, asked by one parent."""
        kind = OPERATIONS[operation]
        arguments = {"IncludeTestMessages": True, "IncludeTerminated": True} | arguments
        if "MsgIDs" in kind.arguments:
            rows = self._account.messages(parent or 0)
            arguments["MsgIDs"] = {"int": [number(row, "MsgID") for row in rows]}
        elif parent is not None:
            arguments[ID_OF[kind.asked_by]] = parent
        taken = {name: value for name, value in arguments.items() if name in kind.arguments}
        reply = self.call(operation, **taken)
        if kind.takes_exception:
            # zeep reads a nil one so.
            assert not any(reply.WSException[name] for name in dir(reply.WSException))
            reply = reply[f"{operation}Result"]
            reply = reply and reply[kind.row]
        return list(reply or ())

    def rows(self, operation: str, parent: int | None, **window: datetime) -> list[Any]:
        """The rows of all pages."""
        window = window or ALL_TIME
        if "Page" not in OPERATIONS[operation].arguments:
            return self.page(operation, parent, **window)
        rows: list[Any] = []
        while page := self.page(operation, parent, Page=self._pages(rows), **window):
            rows += page
        return rows

    def _pages(self, rows: list[Any]) -> int:
        return len(rows) // self._account.page_size + 1 + bool(len(rows) % self._account.page_size)


def same(text: Any, value: Any) -> bool:
    """Whether zeep read what is on the wire."""
    if not text:
        return not value
    if isinstance(text, list):
        return list(text) == list(value)
    if isinstance(text, dict):
        return all(same(inner, value[name]) for name, inner in text.items())
    if isinstance(value, datetime):
        naive = value.replace(tzinfo=None)
        return Zone("UTC").read_iso(text) == instant(naive)
    if isinstance(value, bool):
        return bool(text == str(value).lower())
    if isinstance(value, int | float | Decimal):
        return type(value)(text) == value
    return bool(text == value)


@pytest.fixture(scope="module")
def account() -> Account:
    return small()


@pytest.fixture(scope="module")
def client(account: Account) -> Iterator[Client]:
    with ListrakService(account) as service:
        yield Client(service)


# The contract


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_reply_keeps_the_contract(account: Account, client: Client, operation: str) -> None:
    kind = OPERATIONS[operation]
    seen = 0
    for parent in parents(account, kind):
        due = account.rows(operation, parent)
        came = client.rows(operation, parent)
        assert len(came) == len(due)
        for text, row in zip(due, came):
            assert set(text) <= set(dir(row))
            assert all(same(text.get(name), row[name]) for name in dir(row))
        seen += len(due)
    assert seen


@pytest.mark.parametrize("event_dates", ["iso", "us"])
@pytest.mark.parametrize("name", DATED)
def test_a_window_selects_by_the_date(name: str, event_dates: str) -> None:
    account = small(event_dates=event_dates)
    kind = OPERATIONS[NAME[name]]
    with ListrakService(account) as service:
        client = Client(service)
        for parent in parents(account, kind):
            late = client.rows(
                kind.name, parent, StartDate=MIDDLE, EndDate=MIDDLE + timedelta(days=365)
            )
            due = [
                row
                for row in of(account, name, parent)
                if (account.zone.read(str(row[kind.date or ""])) or 0) >= instant(MIDDLE)
            ]
            assert len(late) == len(due)
            assert all(
                any(all(same(row.get(key), came[key]) for key in dir(came)) for row in due)
                for came in late
            )


def test_the_columns_are_those_of_the_contract() -> None:
    root = etree.fromstring(read_wsdl("full"))
    kinds = {"int": "integer", "double": "number", "decimal": "number", "dateTime": "date-time"}
    text_dates = {"AddDate", "HygieneDate", "PassAlongDate"}
    for name in ALL_COLUMNS.keys() - COLUMNS.keys():
        kind = OPERATIONS[NAME[name]]
        (element,) = root.iterfind(f".//{XS}complexType[@name='{kind.row}']")
        columns = {
            field.get("name"): kinds.get(str(field.get("type")).partition(":")[2], "string")
            for field in element.iter(f"{XS}element")
        }
        columns |= dict.fromkeys(columns.keys() & text_dates, "date-time")
        columns |= dict.fromkeys(columns.keys() & {"ContactID"}, "string")
        if kind.asked_by in ID_OF:
            columns[ID_OF[kind.asked_by]] = "integer"
        assert ALL_COLUMNS[name] == columns
        assert set(ALL_KEYS[name]) <= columns.keys()
    assert ALL_COLUMNS.keys() == ALL_KEYS.keys() == NAME.keys()


def test_the_arguments_are_those_of_the_contract() -> None:
    root = etree.fromstring(read_wsdl("full"))
    for kind in OPERATIONS.values():
        (element,) = root.iterfind(f".//{XS}element[@name='{kind.name}']")
        taken = {
            str(field.get("name")): str(field.get("type")).partition(":")[2]
            for field in element.iter(f"{XS}element")
            if field is not element
        }
        assert kind.takes_exception == (taken.pop("WSException", None) is not None)
        assert {**taken} == {
            name: "ArrayOfInt" if of_type == "ints" else of_type
            for name, of_type in kind.arguments.items()
        }


def test_the_contract_of_nine_operations_knows_no_others(account: Account) -> None:
    with ListrakService(account, wsdl="nine") as nine, ListrakService(account) as full:
        client = Client(nine, contract=full)
        (ListID, _) = list_ids(account)
        assert client.page(NAME["messages"], ListID, **ALL_TIME)
        for name in ALL_COLUMNS.keys() - COLUMNS.keys():
            kind = OPERATIONS[NAME[name]]
            parent = parents(account, kind)[0]
            with pytest.raises(zeep.exceptions.Fault, match="Server did not recognize"):
                client.page(kind.name, parent, Page=1, **ALL_TIME)
        operations = {name for name, _ in ZEEP(nine.url).service}
    assert operations == set(PUBLISHED_OPERATIONS)


def test_asked_and_rows_count_every_table(account: Account) -> None:
    with ListrakService(account) as service:
        Client(service).page(NAME["complaints"], None, Page=1, **ALL_TIME)
        answers = []
        for path in ("/asked", "/rows"):
            with urllib.request.urlopen(urljoin(service.url, path)) as answer:  # noqa: S310
                answers.append(json.load(answer))
    asked, rows = answers
    assert asked == {**dict.fromkeys(OPERATIONS, 0), "WSDL": 1, NAME["complaints"]: 1}
    assert rows.keys() == ALL_COLUMNS.keys()


def test_an_unknown_wsdl_is_refused_on_the_command_line() -> None:
    with pytest.raises(SystemExit):
        main(["--wsdl", "ten"])


def test_an_exception_may_be_asked_for(account: Account, client: Client) -> None:
    for kind in OPERATIONS.values():
        if kind.takes_exception:
            arguments: dict[str, Any] = {
                "ListID": 345001,
                "MsgID": 7000001,
                "ConversationID": 90001,
                "Page": 1,
            }
            arguments = {name: arguments.get(name, True) for name in kind.arguments} | ALL_TIME
            taken = {name: value for name, value in arguments.items() if name in kind.arguments}
            client.call(kind.name, **taken, WSException=zeep.xsd.Nil)


# What is refused


def test_a_conversation_that_is_not_there_is_refused() -> None:
    account = small()
    hidden, other = account.conversation_ids(list_ids(account)[0])[:2]
    account.hide_conversation(hidden)
    with ListrakService(account) as service:
        client = Client(service)
        for operation in (*CONVERSATION_OPERATIONS, NAME["conversation_links"]):
            client.page(operation, other, Page=1, **ALL_TIME)
            for ConversationID in (hidden, 1):
                with pytest.raises(zeep.exceptions.Fault, match=r"\[InvalidConversationID\]"):
                    client.page(operation, ConversationID, Page=1, **ALL_TIME)


def analytics_of(client: Client, *MsgIDs: int) -> list[int]:
    rows = client.call(NAME["message_analytics"], MsgIDs={"int": list(MsgIDs)})
    return [row.MsgID for row in rows or ()]


def test_analytics_of_a_message_that_is_not_there_refuse_the_call_or_lack_it() -> None:
    account = small()
    first, second, hidden = (
        number(row, "MsgID") for row in of(account, "message_analytics", list_ids(account)[0])[:3]
    )
    account.hide_message(hidden)
    for absent in (hidden, 1):
        account.unknown_messages = "refused"
        refused = pytest.raises(zeep.exceptions.Fault, match=r"^Get.*\(\): \[Message\] \[Inva")
        with ListrakService(account) as service, refused:
            analytics_of(Client(service), first, absent, second)
        account.unknown_messages = "missing"
        with ListrakService(account) as service:
            came = analytics_of(Client(service), first, absent, second)
        assert sorted(came) == sorted((first, second))


def test_analytics_are_of_2500_messages_at_most_and_need_none() -> None:
    account = small(messages=1400)
    MsgIDs = [number(row, "MsgID") for row in table(account, "messages")][:2501]
    with ListrakService(account) as service:
        client = Client(service)
        assert analytics_of(client) == []
        assert len(analytics_of(client, *MsgIDs[:2500])) > 2000
        with pytest.raises(zeep.exceptions.Fault, match=r"\[Message\] \[TooManyMsgIDs\]"):
            analytics_of(client, *MsgIDs)
        assert service.asked[-1].arguments == {"MsgIDs": ",".join(map(str, MsgIDs))}


# What agrees


@pytest.mark.parametrize(
    "shape", [{}, {"event_dates": "us", "seed": 7}, {"offsets": True, "timezone": "Asia/Tokyo"}]
)
def test_the_counts_are_those_of_the_rows(shape: dict[str, Any]) -> None:
    account = small(**shape)
    counts = account.row_counts()
    for name, key in ALL_KEYS.items():
        rows = table(account, name)
        keys = {tuple(row.get(column) for column in key) for row in rows}
        assert counts[name] == {"total": len(rows), "distinct": len(keys)}, name
        assert rows


@pytest.mark.parametrize("name", ALL_KEYS)
def test_accounts_of_one_seed_are_alike(name: str) -> None:
    assert table(small(seed=3), name) == table(small(seed=3), name) != table(small(seed=4), name)


def test_a_message_s_deliveries_and_links_agree_with_it(account: Account) -> None:
    messages = {row["MsgID"]: row for row in table(account, "messages")}
    assert messages.keys() == {row["MsgID"] for row in table(account, "message_deliveries")}
    for row in table(account, "message_deliveries"):
        MsgID = number(row, "MsgID")
        for column in ("ListID", "SendDate", "Subject", "DeliverCount"):
            assert row[column] == messages[row["MsgID"]][column]
        assert number(row, "BounceCount") == len(of(account, "message_bounces", MsgID))
        assert number(row, "PassAlongCount") == len(of(account, "message_passalongs", MsgID))
    for message in messages.values():
        MsgID = number(message, "MsgID")
        links = of(account, "message_links", MsgID)
        assert sum(number(row, "ClickCount") for row in links) == number(message, "ClickCount")
        clicks = Counter(row["LinkUrl"] for row in of(account, "message_clicks", MsgID))
        assert clicks == +Counter({row["LinkURL"]: number(row, "ClickCount") for row in links})


def test_a_conversation_s_counts_agree_with_its_events(account: Account) -> None:
    columns = {
        "DeliverCount": "conversation_sends",
        "OpenCount": "conversation_opens",
        "ReadCount": "conversation_reads",
        "RemoveCount": "conversation_unsubs",
    }
    deliveries = {row["ConversationID"]: row for row in table(account, "conversation_deliveries")}
    for row in table(account, "conversations"):
        ID = number(row, "ConversationID")
        for column, name in columns.items():
            assert number(row, column) == len(of(account, name, ID))
        links = of(account, "conversation_links", ID)
        assert number(row, "ClickCount") == sum(number(each, "ClickCount") for each in links)
        sends = of(account, "conversation_sends", ID)
        assert number(row, "ContactCount") == len({each["EmailAddress"] for each in sends})
        delivered = deliveries[row["ConversationID"]]
        bounces = of(account, "conversation_bounces", ID)
        assert number(delivered, "DeliverCount") == len(sends)
        assert number(delivered, "BounceCount") == len(bounces)
        assert number(delivered, "SendCount") == len(sends) + len(bounces)


def test_a_conversation_s_events_are_of_what_it_sent(account: Account) -> None:
    of_lists = {number(row, "MsgID") for row in table(account, "messages")}
    for ListID in list_ids(account):
        for ID in account.conversation_ids(ListID):
            messages = set(account.conversation_message_ids(ID))
            assert len(messages) > 1
            assert not messages & of_lists
            sent = {
                (row["MsgID"], row["EmailAddress"], row["ContactID"])
                for row in of(account, "conversation_sends", ID)
            }
            assert {number(row, "MsgID") for row in of(account, "conversation_links", ID)} <= (
                messages
            )
            for operation in CONVERSATION_OPERATIONS:
                for row in account.rows(operation, ID):
                    assert (row["MsgID"], row["EmailAddress"], row["ContactID"]) in sent
                    assert number(row, "MsgID") in messages


def test_every_campaign_named_is_one_of_its_list(account: Account) -> None:
    named = {
        (row["ListID"], row["CampaignID"]): row.get("Name") for row in table(account, "campaigns")
    }
    for name in ("conversations", "conversation_deliveries", "message_analytics", "complaints"):
        for row in table(account, name):
            assert row.get("CampaignName") == named[row["ListID"], row["CampaignID"]]
    of_messages = Counter(row["CampaignID"] for row in table(account, "message_analytics"))
    lacking = len(table(account, "messages")) - of_messages.total()
    counts = {row["CampaignID"]: number(row, "MessageCount") for row in table(account, "campaigns")}
    assert sum(counts.values()) == of_messages.total() + lacking
    assert all(counts[CampaignID] >= there for CampaignID, there in of_messages.items())


def test_complaints_are_of_messages_sent_before_also_of_hidden_lists() -> None:
    account = small(complaints=60)
    sent = {row["MsgID"]: row for row in table(account, "messages")}
    complaints = table(account, "complaints")
    for row in complaints:
        assert sent[row["MessageID"]]["ListID"] == row["ListID"]
        assert sent[row["MessageID"]]["Subject"] == row["MessageSubject"]
    account.hide_list(number(complaints[0], "ListID"))
    assert table(account, "complaints") == complaints


# What is odd


@pytest.mark.parametrize("account", [small(), Account()], ids=["small", "default"])
def test_the_oddities_are_there(account: Account) -> None:
    assert "0" in {row["MessageCount"] for row in table(account, "campaigns")}
    for ListID in list_ids(account):
        conversations = account.conversation_ids(ListID)
        every = {
            len([row for each in CONVERSATION_OPERATIONS for row in account.rows(each, ID)])
            for ID in conversations
        }
        assert 0 in every
        assert max(every) > 3 * account.page_size

        analysed = {row["MsgID"] for row in of(account, "message_analytics", ListID)}
        lacking = {
            number(row, "MsgID") for row in account.messages(ListID) if row["MsgID"] not in analysed
        }
        assert lacking
        assert not any(map(account.has_analytics, lacking))

        removals = of(account, "list_unsubs", ListID)
        [(again, times)] = Counter(row["ContactID"] for row in removals).most_common(1)
        first, *_, last = sorted(
            (row for row in removals if row["ContactID"] == again),
            key=lambda row: str(row["RemovalDate"]),
        )
        assert times > 1
        assert str(first["RemovalDate"]) < str(last["AdditionDate"]) < str(last["RemovalDate"])
        joined = {row["ContactID"]: str(row["AdditionDate"]) for row in account.contacts(ListID)}
        back = [row for row in removals if row["ContactID"] in joined]
        assert back
        assert all(str(row["RemovalDate"]) < joined[row["ContactID"]] for row in back)

    twice = Counter(
        (row["MsgID"], row["EmailAddress"]) for row in table(account, "conversation_sends")
    )
    assert twice.most_common(1)[0][1] == 2
    assert all(int(str(row["ContactID"])) >= 0 for row in table(account, "conversation_opens"))
    assert NEVER in {row["PublishedDate"] for row in table(account, "conversations")}
    assert NEVER in {row["EndDate"] for row in table(account, "imports")}


def test_a_terminated_conversation_is_left_out_unless_asked_for(client: Client) -> None:
    (ListID, _) = list_ids(small())
    for name in ("conversations", "conversation_deliveries"):
        every = client.page(NAME[name], ListID)
        going = client.page(NAME[name], ListID, IncludeTerminated=False)
        assert 0 < len(going) < len(every)
        assert [row for row in every if row in going] == going


def test_elements_are_absent_nil_and_empty_and_texts_are_hard(account: Account) -> None:
    texts, forms = "", set()
    for name in ALL_COLUMNS.keys() - COLUMNS.keys():
        for row in table(account, name):
            forms |= {"absent"} if ALL_COLUMNS[name].keys() - row.keys() else set()
            forms |= {"nil"} if None in row.values() else set()
            forms |= {"empty"} if "" in row.values() else set()
            texts += "".join(map(str, row.values()))
    assert forms == {"absent", "nil", "empty"}
    assert all(hard in texts for hard in ("&", "<", ">", '"', "'", "\r\n", "\t", "é", "\U0001f389"))


@pytest.mark.parametrize(("event_dates", "form"), [("iso", "T"), ("us", "/")])
def test_dates_that_are_text_have_the_form_of_the_account(event_dates: str, form: str) -> None:
    account = small(event_dates=event_dates)
    for name, column in [
        ("list_hygiene", "HygieneDate"),
        ("list_hygiene", "AddDate"),
        ("message_passalongs", "PassAlongDate"),
    ]:
        dates = [str(row[column]) for row in table(account, name) if row.get(column)]
        assert dates
        assert all(form in date for date in dates)


def test_exact_counts_are_kept() -> None:
    counts = dict.fromkeys((*CONVERSATION_OPERATIONS, NAME["message_passalongs"]), 23)
    account = small(counts=counts)
    for operation in counts:
        for parent in parents(account, OPERATIONS[operation]):
            assert len(account.rows(operation, parent)) == 23
    with pytest.raises(ValueError, match="ReportListImportHistory"):
        small(counts={NAME["imports"]: 1})


def test_a_page_in_the_middle_of_millions_is_the_one_between_its_neighbours() -> None:
    operation = NAME["conversation_sends"]
    account = small(conversations=1, counts={operation: 3_000_000}, page_size=5)
    (ID, *_) = account.conversation_ids(list_ids(account)[0])
    pages = [account.page(operation, ID, None, 400_000 + page) for page in range(3)]
    account.page_size = 15
    assert account.page(operation, ID, None, 133_334) == [row for page in pages for row in page]


# What changes between runs


ADDABLE = [
    name
    for name in ALL_COLUMNS
    if name not in COLUMNS
    and name
    not in (
        "conversations",
        "conversation_deliveries",
        "message_deliveries",
        "message_analytics",
    )
]


@pytest.mark.parametrize("name", ADDABLE)
def test_a_row_is_added_behind_the_others(name: str) -> None:
    account = small()
    kind = OPERATIONS[NAME[name]]
    parent = parents(account, kind)[0]
    before, total = of(account, name, parent), account.row_counts()[name]["total"]
    fields: dict[str, Any] = {"Unheard": "of"}
    if kind.asked_by == "account":
        fields |= {"ListID": str(list_ids(account)[0]), "MessageID": "7000001"}
    account.add_row(kind.name, parent, datetime(2026, 6, 28, 1, 2, 3), **fields)
    *others, added = of(account, name, parent)
    assert others == before
    assert added["Unheard"] == "of"
    assert account.row_counts()[name] == {"total": total + 1, "distinct": total + 1}
    columns = [column for column in added if column != "Unheard"]
    assert set(columns) <= ALL_COLUMNS[name].keys()
    if kind.date is not None:
        assert added[kind.date] == "2026-06-28T01:02:03"
        account.add_row(kind.name, parent, None, **fields)
        assert kind.date not in of(account, name, parent)[-1]


def test_rows_are_added_only_where_they_follow_from_nothing() -> None:
    account = small()
    with pytest.raises(ValueError, match="ReportListMessageDelivery"):
        account.add_row(NAME["message_deliveries"], list_ids(account)[0])
    with pytest.raises(ValueError, match="asked by list"):
        account.add_row(NAME["list_unsubs"], None)
    for name in ("list_unsubs", "message_links", "conversation_opens"):
        with pytest.raises(KeyError, match="no "):
            account.add_row(NAME[name], 1)


def test_added_events_are_counted_in_their_conversation_and_message() -> None:
    account = small()
    ListID = list_ids(account)[0]
    account.add_conversation(ListID, 5, datetime(2026, 6, 1), ConversationName="New", Unheard="of")
    for operation in CONVERSATION_OPERATIONS:
        account.add_row(operation, 5, datetime(2026, 6, 2), EmailAddress="new@example.com")
    assert account.conversation_ids(ListID)[-1] == 5
    row = of(account, "conversations", ListID)[-1]
    assert row["ConversationName"] == "New"
    assert row["Unheard"] == "of"
    assert row["PublishedDate"] == "2026-06-01T00:00:00"
    assert row["DeliverCount"] == row["OpenCount"] == row["ContactCount"] == "1"
    (sent,) = of(account, "conversation_sends", 5)
    assert number(sent, "MsgID") in account.conversation_message_ids(5)
    assert of(account, "conversation_deliveries", ListID)[-1]["SendCount"] == "2"

    account.add_message(ListID, 6, datetime(2026, 6, 1))
    for url in ("https://a", "https://a", "https://b"):
        account.add_event(NAME["message_clicks"], 6, "a@b", datetime(2026, 6, 2), LinkUrl=url)
    account.add_row(NAME["message_passalongs"], 6, datetime(2026, 6, 2))
    links = {row["LinkURL"]: row["ClickCount"] for row in of(account, "message_links", 6)}
    assert links == {"https://a": "2", "https://b": "1"}
    assert of(account, "message_deliveries", ListID)[-1]["PassAlongCount"] == "1"
    assert "6" in {row["MsgID"] for row in of(account, "message_analytics", ListID)}


def test_a_hidden_conversation_comes_back() -> None:
    account = small()
    ListID = list_ids(account)[0]
    before = account.row_counts()
    ID = account.conversation_ids(ListID)[0]
    account.hide_conversation(ID)
    assert ID not in account.conversation_ids(ListID)
    assert not account.has_conversation(ID)
    assert account.row_counts()["conversations"]["total"] == before["conversations"]["total"] - 1
    account.add_conversation(ListID, ID, datetime(2026, 6, 1))
    assert account.row_counts() == before


def test_a_hidden_contact_is_subscribed_no_more() -> None:
    account = small(contacts=30)
    ListID, other = list_ids(account)
    account.add_contact(ListID, "added@example.com", datetime(2026, 6, 1))
    before = account.contacts(ListID)
    for gone in (before[0], before[12], before[-1]):
        account.hide_contact(ListID, str(gone["EmailAddress"]))
        before.remove(gone)
        after = account.contacts(ListID)
        assert sorted(map(str, after)) == sorted(map(str, before))
        pages = [account.page(NAME["subscribed_contacts"], ListID, None, n) for n in range(1, 7)]
        assert [row for page in pages for row in page] == after
    assert account.row_counts()["subscribed_contacts"] == {"total": 58, "distinct": 58}
    assert len(account.contacts(other)) == 30
    for email in ("added@example.com", "nobody@example.com"):
        with pytest.raises(KeyError, match="no contact"):
            account.hide_contact(ListID, email)
    account.add_contact(ListID, "added@example.com", datetime(2026, 6, 2))
    assert account.contacts(ListID)[-1]["EmailAddress"] == "added@example.com"


def test_a_change_is_seen_at_once() -> None:
    account = small()
    ListID = list_ids(account)[0]
    with ListrakService(account) as service:
        client = Client(service)
        before = client.rows(NAME["list_unsubs"], ListID)
        account.add_row(NAME["list_unsubs"], ListID, datetime(2026, 6, 28))
        after = client.rows(NAME["list_unsubs"], ListID)
    assert len(after) == len(before) + 1
