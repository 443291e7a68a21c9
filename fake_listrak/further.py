"""Further tables of lists, messages and the account: generated and added rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from fake_listrak.clock import DAY, NEVER, SECOND, Range, Timeline
from fake_listrak.contract import OPERATIONS, Row, Value
from fake_listrak.published import BOUNCE, CLICK, CONTACTS, SENT, Message, PublishedTables
from fake_listrak.seeded import (
    EVERY,
    LINKS,
    SALTS,
    AddedRows,
    Field,
    Section,
    changed,
    contact_id,
    distinct,
    mix,
    number_of,
    percent,
)

UNSUBS: Final = "ReportRangeListContactRemoval"
HYGIENE: Final = "ReportRangeListContactHygiene"
IMPORTS: Final = "ReportListImportHistory"
CAMPAIGNS: Final = "GetCampaignCollection"
TRANSACTIONAL: Final = "GetTransactionalMessageCollection"
DELIVERIES: Final = "ReportListMessageDelivery"
ANALYTICS: Final = "GetMessageAnalyticsInformation"
MESSAGE_LINKS: Final = "ReportMessageLinkClick"
PASSALONGS: Final = "ReportRangeMessageContactPassalong"
LOCATIONS: Final = {
    "ReportMessageLocationOpen": "OpenCount",
    "ReportMessageLocationRead": "ReadCount",
    "ReportMessageLocationClick": "ClickCount",
}
"""By operation, the column of its totals."""
SAVED: Final = "GetSavedMessageCollection"
COLLECTIONS: Final = (CAMPAIGNS, TRANSACTIONAL, SAVED)
"""What a list has, all at once."""
COMPLAINTS: Final = "ReportAdminContactFeedbackLoop"

ACCOUNT: Final = 0
"""The ID of the account as a parent."""

_FIRST_CAMPAIGN: Final = 50_001
_FIRST_TRANSACTIONAL: Final = 30_001
_FIRST_SAVED: Final = 20_001
_FIRST_IMPORT: Final = 600_001
_PASSALONGS: Final = 0.1  # of one recipient, about
_FORMER: Final = 10**9
"""The first person who is in no list."""
_CLICKS_AT_ONCE: Final = 10_000

_CAMPAIGN_NAMES: Final = (
    "Welcome & <Series> {}",
    "Été {} \U0001f31e",
    'The "rest"\r\nof {}',
    "",
)
_TRANSACTIONAL_NAMES: Final[tuple[Field, ...]] = (
    "Receipt & <invoice>",
    "Mot de passe oublié \U0001f511",
    None,
    "",
    ...,
)
_METHODS: Final[tuple[Field, ...]] = ("Email Link", "Complaint & <abuse>", "", None, ...)
_FILES: Final[tuple[Field, ...]] = (
    "contacts & <leads>.csv",
    "\U0001f4e7 été 2025.txt",
    "two\r\nlines.csv",
    None,
    "",
    ...,
)
_SOURCES: Final[tuple[Field, ...]] = ("FTP", "API & 'web'", ..., None, "")
_NAMES: Final[tuple[Field, ...]] = (
    "Zoë <Friend>",
    "O'Brien & co",
    "太郎 \U0001f600",
    "",
    None,
    ...,
)
_LINK_TYPES: Final[tuple[Field, ...]] = ("Text", "Image & <alt>", None, "", ...)
_PROVIDERS: Final[tuple[Field, ...]] = ("AOL", 'Yahoo! "Mail" & <more>', None, "", ...)
_ANALYTICS: Final[tuple[Field, ...]] = (
    "été & <promo> {}",
    "plain-{}",
    "",
    None,
    ...,
    "\U0001f389 {}",
)


def one_of(values: tuple[Field, ...], bits: int, number: int = 0) -> Field:
    """One of the values, formatted with `number`."""
    value = values[bits % len(values)]
    return value.format(number) if isinstance(value, str) else value


class Campaigns:
    """The campaigns of each list. The last one has no messages and no conversations."""

    def __init__(self, published: PublishedTables, campaigns: int) -> None:
        self._published = published
        self._size = campaigns

    def ids(self, ListID: int) -> list[int]:
        """The CampaignIDs of a list."""
        first = self._published.list_number(ListID) * self._size
        return [_FIRST_CAMPAIGN + 7 * (first + rank) for rank in range(self._size)]

    def of(self, ListID: int, bits: int) -> int:
        """The campaign of a message or conversation of a list; 0 in an account without any."""
        used = self.ids(ListID)[: max(1, self._size - 1)]
        return used[bits % len(used)] if used else 0

    def of_message(self, ListID: int, MsgID: int) -> int:
        """The campaign of a message."""
        return self.of(ListID, mix(self._published.basis.seed, 5, MsgID))

    def name(self, CampaignID: int) -> Field:
        """The name of a campaign, or its placeholder."""
        number = CampaignID // 7
        if CampaignID == 0 or number % 6 == 5:
            return (None, ...)[CampaignID & 1]
        return _CAMPAIGN_NAMES[number % len(_CAMPAIGN_NAMES)].format(number)

    def rows(self, ListID: int) -> list[Row]:
        """The rows of a list, the last first."""
        messages = [self.of_message(ListID, MsgID) for MsgID in self._published.message_ids(ListID)]
        return [
            changed(
                {"CampaignID": str(CampaignID), "ListID": str(ListID)},
                {
                    "Name": self.name(CampaignID),
                    "MessageCount": str(messages.count(CampaignID)),
                },
            )
            for CampaignID in reversed(self.ids(ListID))
        ]


class FurtherTables:
    """Further rows of lists and messages, and the complaints of the account.

    removals, hygiene, imports, transactional: rows of each list that the account was made with.
    complaints: rows of the account. counts: as in Account.
    """

    def __init__(
        self,
        published: PublishedTables,
        campaigns: Campaigns,
        removals: int,
        hygiene: int,
        imports: int,
        transactional: int,
        complaints: int,
        counts: Mapping[str, int],
    ) -> None:
        self._published = published
        self._basis = published.basis
        self._campaigns = campaigns
        self._of_list = {UNSUBS: removals, HYGIENE: hygiene, IMPORTS: imports}
        self._transactional = transactional
        self._complaints = complaints
        self._counts = counts
        self._added = AddedRows(published.basis)
        self._clicks = lru_cache(256)(self._count_clicks)

    # Paged

    def select(self, operation: str, ID: int, section: Section = EVERY) -> list[Row]:
        """A section of the rows of a list, a message, or the account."""
        timeline = self._timeline(operation, ID)

        def make(ranks: list[int]) -> list[Row]:
            if operation == MESSAGE_LINKS:
                return self._links(ID, ranks)
            if operation in LOCATIONS:
                return [self._location_row(operation, ID, rank) for rank in ranks]
            return [self._made(operation, ID, timeline, rank) for rank in ranks]

        return self._added.select(operation, ID, section, timeline, make)

    def count(self, operation: str, ID: int) -> tuple[int, int]:
        """(rows, distinct keys) of one list or message, or of the account."""
        if operation in COLLECTIONS:
            rows = self.whole(operation, ID)
            return len(rows), distinct(operation, rows)
        total = self._timeline(operation, ID).rows
        added = self._added.of(operation, ID)
        if not added:
            return total, total
        return total + len(added), distinct(operation, self.select(operation, ID))

    def _timeline(self, operation: str, ID: int) -> Timeline:
        """Dates of the generated rows of one list or message, or of the account."""
        salt = mix(self._basis.seed, SALTS[operation], ID)
        first, last, early = self._basis.start, self._basis.end, False
        rows = 0
        message = None
        if operation in self._of_list:
            rows = 0 if self._published.lists.place(ID) is None else self._of_list[operation]
        elif operation == COMPLAINTS:
            there = self._published.lists.size and self._published.messages_per_list
            rows = self._complaints if there else 0
        elif operation == MESSAGE_LINKS:
            rows = len(self._urls(ID))
        elif operation in LOCATIONS:
            rows = 0 if self._published.message(ID) is None else 5 + salt % 3
        else:
            message = self._published.message(ID)
        if message is not None:
            rows = self._passalongs(message, salt)
            last = min(last, message.send + 21 * DAY)
            first, early = min(message.send + 60 * SECOND, last), True
        whole = OPERATIONS[operation].date_is_text and self._basis.event_dates == "us"
        return Timeline(rows, first, last, salt, early, whole)

    def _passalongs(self, message: Message, salt: int) -> int:
        if PASSALONGS in self._counts:
            return self._counts[PASSALONGS]
        bits = mix(salt, 3)
        if bits % 7 == 0:
            return 0
        return round(message.sends * _PASSALONGS * (0.5 + (bits >> 32) / 2**32))

    def _made(self, operation: str, ID: int, timeline: Timeline, rank: int) -> Row:
        """A generated row by its rank."""
        moment, bits = timeline.at(rank), mix(timeline.salt + rank)
        if operation == UNSUBS:
            return self._unsub(ID, timeline, rank)
        if operation == HYGIENE:
            number = rank % self._basis.contacts if self._basis.contacts else _FORMER + rank
            email = self._basis.email(
                self._basis.first_person(self._published.list_number(ID)) + number
            )
            return self._hygiene_row(email, moment, bits)
        if operation == IMPORTS:
            FileID = _FIRST_IMPORT + self._published.list_number(ID) * 100_000 + rank
            return self._import_row(FileID, moment, bits, still_running=rank % 5 == 4)
        if operation == COMPLAINTS:
            return self._complaint(moment, bits)
        message = self._published.message(ID)
        assert message is not None  # noqa: S101 # no others have generated rows
        sender = self._published.recipient(message, rank * 7 % max(1, message.sends))
        return self._passalong_row(sender, f"friend+{rank}@example.net", moment, bits)

    # List unsubscribes

    def _unsub(self, ListID: int, timeline: Timeline, rank: int) -> Row:
        """One in six rows is of a contact who left before, two are of contacts who came back."""
        turn, kind = divmod(rank, 6)
        moment, bits = timeline.at(rank), mix(timeline.salt + rank)
        former = _FORMER + self._published.list_number(ListID) * 1_000_000 + 3 * turn
        joined = None
        person = former + (0, 1, 0, 2, 1, 0)[kind]
        if kind == 4:
            joined = (timeline.at(rank - 3) + moment) // 2
        elif kind in (2, 5):
            subscribed = self._subscribed_after(ListID, moment, bits)
            person = former + 500_000 + kind if subscribed is None else subscribed
        elif bits % 5:
            joined = moment - bits % max(1, moment - self._basis.start)
        return self._unsub_row(self._basis.email(person), joined, moment, bits)

    def _subscribed_after(self, ListID: int, moment: int, bits: int) -> int | None:
        """A contact whose subscription is later than `moment`, None if there is none."""
        additions = self._published.timeline(CONTACTS, ListID)
        first = bisect_right(range(additions.rows), moment, key=additions.at)
        if first == additions.rows:
            return None
        number = first + bits % (additions.rows - first)
        return self._basis.first_person(self._published.list_number(ListID)) + number

    def _unsub_row(self, email: str, joined: int | None, moment: int, bits: int) -> Row:
        return changed(
            {
                "ContactID": contact_id(email),
                "EmailAddress": email,
                "AdditionDate": (
                    NEVER if joined is None else self._basis.write(joined - joined % 1000)
                ),
                "RemovalDate": self._basis.write(moment),
            },
            {"RemovalMethod": one_of(_METHODS, bits >> 8)},
        )

    # Hygiene and imports

    def _hygiene_row(self, email: str, moment: int, bits: int) -> Row:
        old = email.replace("@", "@old.", 1)
        added = self._basis.start + bits % max(1, moment - self._basis.start)
        return changed(
            {"ContactID": contact_id(email)},
            {
                "OldEmailAddress": (old, old, "", None, ...)[bits % 5],
                "EmailAddress": email,
                "AddDate": (self._basis.write_text(added), ..., "", None)[(bits >> 8) % 4],
                "HygieneDate": self._basis.write_text(moment),
            },
        )

    def _import_row(self, FileID: int, moment: int, bits: int, still_running: bool = False) -> Row:
        counts = {
            name: bits >> shift & 15
            for shift, name in enumerate(
                (
                    "InvalidEmailCount",
                    "SubscribedCount",
                    "UnSubscribedCount",
                    "AlreadySubscribedCount",
                    "AlreadyUnsubscribedCount",
                    "PreviouslyUnsubscribedCount",
                    "SuppressedCount",
                    "BannedCount",
                    "SkippedCount",
                )
            )
        }
        end = moment + bits % (3600 * SECOND)
        row: Row = {
            "ImportFileID": str(FileID),
            "FileSize": str(bits >> 33),
            "StartDate": self._basis.write(moment),
            "EndDate": NEVER if still_running else self._basis.write(end - end % 1000),
            "ProcessedCount": str(sum(counts.values())),
            **{name: str(number) for name, number in counts.items()},
        }
        return changed(
            row,
            {
                "ImportSource": one_of(_SOURCES, bits >> 3),
                "ImportType": one_of(("Add", None, "Add & <update>"), bits >> 5),
                "ProfileImportType": one_of((..., "Overwrite", ""), bits >> 7),
                "FileName": one_of(_FILES, bits >> 9),
            },
        )

    # Passalongs and complaints

    def _passalong_row(self, sender: str, friend: str, moment: int, bits: int) -> Row:
        return changed(
            {"PassAlongDate": self._basis.write_text(moment)},
            {
                "FromName": one_of(_NAMES, bits),
                "FromEmailAddress": sender,
                "FromContactID": contact_id(sender),
                "ToName": one_of(_NAMES, bits >> 8),
                "ToEmailAddress": friend,
                "ToContactID": (contact_id(friend), None, "", ...)[(bits >> 16) % 4],
            },
        )

    def _complaint(self, moment: int, bits: int) -> Row:
        """A complaint about a message sent before it, of any list."""
        place = bits % self._published.lists.size
        size = self._published.messages_per_list
        sent = bisect_right(range(size), moment, key=self._published.sending(place).at)
        MsgID = self._published.message_at(place, (bits >> 16) % max(1, sent))
        message = self._published.message(MsgID)
        assert message is not None  # noqa: S101 # it was generated
        email = self._published.recipient(message, (bits >> 32) % max(1, message.sends))
        return self._complaint_row(self._published.lists.at(place), MsgID, email, moment, bits)

    def _complaint_row(
        self, ListID: int, MessageID: int, email: str, moment: int, bits: int
    ) -> Row:
        CampaignID = self._campaigns.of_message(ListID, MessageID)
        subject: Value = ""
        if self._published.list_of(MessageID) is not None:
            subject = self._published.activity_row(MessageID).get("Subject")
        row: Row = {
            "ListID": str(ListID),
            "CampaignID": str(CampaignID),
            "MessageID": str(MessageID),
            "AbuseDate": self._basis.write(moment),
            "ListName": self._published.list_row(ListID).get("ListName"),
        }
        return changed(
            row,
            {
                "CampaignName": self._campaigns.name(CampaignID),
                "MessageSubject": subject,
                "ContactID": contact_id(email),
                "EmailAddress": email,
                "ISPName": one_of(_PROVIDERS, bits >> 40),
            },
        )

    # Links of a message

    def _urls(self, MsgID: int) -> list[str]:
        """The links of a message: all clicked ones, and some others."""
        urls = []
        message = self._published.message(MsgID)
        if message is not None:
            bits = mix(self._basis.seed, SALTS[MESSAGE_LINKS], MsgID)
            if self._published.size(CLICK, message) or bits % 3:
                urls = [url for _, url in LINKS]
                urls += (f"https://www.example.com/footer?n={n}&<x>" for n in range(bits % 8))
        for late in self._published.added.of(CLICK, MsgID):
            url = late.row.get("LinkUrl")
            if isinstance(url, str) and url and url not in urls:
                urls.append(url)
        return urls

    def _links(self, MsgID: int, ranks: list[int]) -> list[Row]:
        urls = self._urls(MsgID)
        descriptions: dict[str, Field] = {url: text for text, url in LINKS}
        sent = self._published.count(SENT, MsgID)[0]
        clicks = self._clicks(MsgID, len(self._published.added.of(CLICK, MsgID))) if ranks else {}
        rows = []
        for rank in ranks:
            url = urls[rank]
            bits = mix(self._basis.seed, SALTS[MESSAGE_LINKS], MsgID, rank)
            total, clickers = clicks.get(url, (0, 0))
            rows.append(
                changed(
                    {
                        "MsgID": str(MsgID),
                        "LinkID": str(number_of(f"{MsgID} {url}")),
                        "ClickCount": str(total),
                        "ClickerCount": str(clickers),
                        "ClickPercent": percent(clickers, sent),
                        "LinkURL": url,
                    },
                    {
                        "LinkType": one_of(_LINK_TYPES, bits),
                        "LinkDescription": descriptions.get(url, (None, "", ...)[bits % 3]),
                    },
                )
            )
        return rows

    def _count_clicks(self, MsgID: int, added: int) -> dict[str, tuple[int, int]]:
        """(clicks, clickers) by URL, for this number of added clicks of a message."""
        clicks: dict[str, int] = {}
        clickers: dict[str, set[Value]] = {}
        skip = 0
        while rows := self._published.select(CLICK, MsgID, Section(None, skip, _CLICKS_AT_ONCE)):
            skip += len(rows)
            for row in rows:
                url = row.get("LinkUrl")
                if isinstance(url, str) and url:
                    clicks[url] = clicks.get(url, 0) + 1
                    clickers.setdefault(url, set()).add(str(row.get("EmailAddress")))
        return {url: (number, len(clickers[url])) for url, number in clicks.items()}

    # Locations

    def _location_row(self, operation: str, MsgID: int, rank: int) -> Row:
        """Two regions a country, of which the first is unknown."""
        bits = mix(self._basis.seed, SALTS[operation], MsgID, rank)
        country, region = divmod(rank, 2)
        column = LOCATIONS[operation]
        count: dict[str, Field] = {column: str(bits % 1000)}
        names: dict[str, Field] = {
            "CountryName": one_of(("Côte d'Ivoire & <more>", None, "", ...), country),
            "RegionName": one_of(("", "Zürich", None, ...), region + country),
        }
        return changed(
            {"MsgID": str(MsgID), "CountryID": str(country), "RegionID": str(region)},
            {**names, **count} if column == "ClickCount" else {**count, **names},
        )

    # Not paged

    def whole(
        self,
        operation: str,
        ListID: int,
        chosen: Range | None = None,
        with_tests: bool = True,
    ) -> list[Row]:
        """All that a list has of a kind, or the deliveries of a range."""
        if operation == CAMPAIGNS:
            rows = self._campaigns.rows(ListID)
        elif operation == TRANSACTIONAL:
            rows = self._transactional_rows(ListID)
        elif operation == SAVED:
            rows = [self._saved_row(ListID, number) for number in range(2)]
        else:
            rows = [
                self._delivery(MsgID)
                for MsgID in self._published.message_ids(ListID, chosen)
                if with_tests or not self._published.is_test(MsgID)
            ]
        return rows + [dict(late.row) for late in self._added.of(operation, ListID)]

    def _transactional_rows(self, ListID: int) -> list[Row]:
        place = self._published.lists.place(ListID)
        if place is None:
            return []
        first = place * self._transactional
        return [
            changed(
                {"TransactionalMsgID": str(_FIRST_TRANSACTIONAL + 11 * number)},
                {"MessageName": one_of(_TRANSACTIONAL_NAMES, mix(self._basis.seed, 11, number))},
            )
            for number in reversed(range(first, first + self._transactional))
        ]

    def _saved_row(self, ListID: int, number: int) -> Row:
        bits = mix(self._basis.seed, SALTS[SAVED], ListID, number)
        saved = self._basis.start + bits % DAY
        return changed(
            {
                "SavedMsgID": str(_FIRST_SAVED + number),
                "CreateDate": self._basis.write(saved - saved % 1000),
                "ModifiedDate": (NEVER, self._basis.write(saved + DAY))[number % 2],
            },
            {"SavedName": one_of(_TRANSACTIONAL_NAMES, bits)},
        )

    def _delivery(self, MsgID: int) -> Row:
        """A row whose counts agree with the message's, and with its bounces and passalongs."""
        message = self._published.activity_row(MsgID)
        sent = self._published.count(SENT, MsgID)[0]
        bounced = self._published.count(BOUNCE, MsgID)[0]
        row: dict[str, Field] = {
            "ListID": message.get("ListID", ...),
            "MsgID": message.get("MsgID", ...),
            "SendDate": message.get("SendDate", ...),
            "DeliverCount": str(sent),
            "DeliverPercent": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BouncePercent": percent(bounced, sent + bounced),
            "PassAlongCount": str(self.count(PASSALONGS, MsgID)[0]),
            "Subject": message.get("Subject", ...),
        }
        return changed({}, row)

    def has_analytics(self, MsgID: int) -> bool:
        """Whether a message is in the reply about it."""
        message = self._published.message(MsgID)
        return message is None or message.rank % 8 != 2

    def analytics(self, MsgIDs: Iterable[int]) -> list[Row]:
        """The analytics of visible messages that have some, unordered."""
        asked = sorted(
            set(filter(self._published.has_message, MsgIDs)),
            key=lambda MsgID: mix(self._basis.seed, MsgID),
        )
        return [self._analytics_row(MsgID) for MsgID in asked if self.has_analytics(MsgID)]

    def _analytics_row(self, MsgID: int) -> Row:
        message = self._published.activity_row(MsgID)
        ListID = self._published.list_of(MsgID) or 0
        CampaignID = self._campaigns.of_message(ListID, MsgID)
        bits = mix(self._basis.seed, SALTS[ANALYTICS], MsgID)
        return changed(
            {"CampaignID": str(CampaignID)},
            {
                "CampaignName": self._campaigns.name(CampaignID),
                "GoogleAnalyticsCampaignContent": one_of(_ANALYTICS, bits, MsgID),
                "GoogleAnalyticsCampaignName": one_of(_ANALYTICS, bits >> 8, MsgID),
                "ListrakAnalyticsCampaignName": one_of(_ANALYTICS, bits >> 16, MsgID),
                "ListrakAnalyticsModuleName": one_of(_ANALYTICS, bits >> 24, MsgID),
                "ListrakAnalyticsVersion": one_of(("3.1", ..., ""), bits >> 32),
                "ListID": str(ListID),
                "MsgID": str(MsgID),
                "SendDate": message.get("SendDate", ...),
                "Subject": message.get("Subject", ...),
            },
        )

    # Changes

    def add(
        self, operation: str, ID: int, date: datetime | str | None, fields: Mapping[str, Field]
    ) -> None:
        """Add a row of any table here, except deliveries and analytics, which are derived."""
        bits = self._added.number(operation, ID)
        start = self._basis.start
        name = "FromEmailAddress" if operation == PASSALONGS else "EmailAddress"
        email = str(fields.get(name) or f"added+{bits % 10_000}@example.com")
        ID_text = str(bits >> 33)  # for tables whose rows have a number of their own
        if operation == UNSUBS:
            row = self._unsub_row(email, None, start, bits)
        elif operation == HYGIENE:
            row = self._hygiene_row(email, start, bits)
        elif operation == IMPORTS:
            row = self._import_row(int(ID_text), start, bits)
        elif operation == PASSALONGS:
            friend = fields.get("ToEmailAddress") or f"friend+{bits % 10_000}@example.org"
            row = self._passalong_row(email, str(friend), start, bits)
        elif operation == COMPLAINTS:
            ListID, MsgID = int(str(fields["ListID"])), int(str(fields["MessageID"]))
            row = self._complaint_row(ListID, MsgID, email, start, bits)
        elif operation == CAMPAIGNS:
            row = {"CampaignID": ID_text, "ListID": str(ID), "Name": "Added", "MessageCount": "0"}
        elif operation == TRANSACTIONAL:
            row = {"TransactionalMsgID": ID_text, "MessageName": "Added"}
        elif operation == SAVED:
            row = self._saved_row(ID, int(ID_text))
        elif operation in LOCATIONS:
            row = self._location_row(operation, ID, int(ID_text))
        else:
            row = {
                "MsgID": str(ID),
                "LinkID": ID_text,
                "ClickCount": "0",
                "ClickerCount": "0",
                "ClickPercent": "0",
                "LinkURL": "https://www.example.com/added",
            }
        self._added.add(operation, ID, row, date, fields)
