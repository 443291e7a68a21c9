"""Made-up values: numbers, texts and addresses that follow from a seed, and rows of every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from math import gcd
from types import EllipsisType
from typing import Final, Literal, TypeAlias

from fake_listrak.clock import DAY, NEVER, SECOND, Zone, instant, write_iso, write_us
from fake_listrak.contract import ID_OF, OPERATIONS, Row, Value

Field: TypeAlias = Value | EllipsisType
"""A value for an element; `...` omits the element."""

_MASK: Final = 2**64 - 1
_FIRST_NAMES: Final = ("ana", "bo", "chidi", "dagny", "emeka", "fumiko", "george", "hana", "ines")
_LAST_NAMES: Final = ("abel", "o'brien", "costa", "duarte", "eriksen", "fischer", "garcia")
_HOSTS: Final = ("example.com", "example.org", "mail.example.net", "example.co.uk")
_SUBJECTS: Final = (
    "Save 20% on <everything> & more ({})",
    'He said "yes" \u2014 it\'s on {}',
    "Été à Paris : déjà -50 % ({})",
    "夏のセール、始まります {}",
    "\U0001f389 Two days left {} \U0001f600",
    "Columns\tby tab & 'quotes' {}",
    "First line\r\nSecond line {}",
    " Padded on both sides {} ",
    "]]> &amp; <!-- not markup {} -->",
    "",
)
_LIST_NAMES: Final = (
    "Newsletter & Offers {}",
    'Clients "privilégiés" <or> {}',
    "顧客リスト {} \U0001f4e7",
    "Tab\there, and\r\na second line {}",
    "VIP's {} ",
)
LINKS: Final = (
    ("Shop now", "https://www.example.com/shop?utm_source=listrak&utm_medium=email"),
    ('The "big" <sale>', "https://www.example.com/s?q=\"a b\"&lt=<1>&x='y'"),
    ("Lire l'été\r\n(suite)", "https://www.example.com/%C3%A9t%C3%A9?page=2#début"),
    ("今すぐ見る \U0001f449", "https://www.example.com/日本語/"),
    ("Tab\tand line\nend", "https://www.example.com/a;b=c,d?e=f%20g+h"),
)
_BOUNCES: Final = (
    ("Hard Bounce", "550 5.1.1 <ana@example.com>: Recipient address rejected:\r\n\tUser unknown"),
    ("Soft Bounce", 'smtp;452 4.2.2 "over quota" & full'),
    ("Blocked", "554 Messages from é\u00a0\U0001f6ab rejected\n(see 'policy')"),
    ("Auto Reply", ""),
    ("", "421 4.4.0 timed out"),
)
_CAMPAIGNS: Final = ("Welcome & <Series> {}", "Été {} \U0001f31e", 'The "rest"\r\nof {}', "", None)
_CONVERSATIONS: Final[tuple[Field, ...]] = (
    'Abandoned "cart" & <more> {}',
    "Anniversaire \U0001f382 {}",
    "Two\r\nlines {}",
    None,
    ...,
)
TEXTS: Final[tuple[Field, ...]] = (
    "Receipt & <invoice>",
    "Mot de passe oublié \U0001f511",
    None,
    "",
    ...,
)
"""Names that are hard to read: also nil, empty or absent."""
ANALYTICS: Final[tuple[Field, ...]] = ("été & <promo> {}", "plain-{}", "", None, ..., "\U0001f389")
_IMPORT_COUNTS: Final = (
    *("InvalidEmailCount", "SubscribedCount", "UnSubscribedCount", "AlreadySubscribedCount"),
    *("AlreadyUnsubscribedCount", "PreviouslyUnsubscribedCount", "SuppressedCount"),
    *("BannedCount", "SkippedCount"),
)
_FLAGS: Final = (
    *("EnableRemovalLink", "EnableBrowserLink", "EnableDoubleOptin", "EnableListHygiene"),
    *("ShowEmailList", "ShowAdvancedPersonalization", "EnableRSS", "EnableGoogleAnalytics"),
    *("EnableInternationalization", "EnableDynamicContent", "EnableListRemoveHeader"),
)


def mix(*numbers: int) -> int:
    """Return 64 well-mixed bits that depend on nothing but `numbers`."""
    bits = 0
    for number in numbers:
        bits = ((bits ^ number) + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
    return bits


def coprime(size: int, least: int) -> int:
    """Return the smallest number from `least` on whose multiples visit all remainders of `size`."""
    step = max(least, 2)
    while gcd(step, size) != 1:
        step += 1
    return step


def contact_id(email: str) -> str:
    """Return the ContactID of an address: the same in every list and message."""
    return blake2b(email.encode(), digest_size=8).hexdigest()


def number_of(text: str) -> int:
    """Return an xs:int that is not negative and follows from a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


SALTS: Final = {operation: number_of(operation) for operation in OPERATIONS}
"""A number for each operation, so that rows of two have nothing in common."""


def percent(part: int, whole: int) -> str:
    """Return a part in percent as .NET Framework writes a double, 0 of nothing."""
    return repr(100 * part / whole).removesuffix(".0").replace("e", "E") if whole else "0"


def orders(bits: int, conversions: int) -> Row:
    """Return the columns of orders: decimals, of which half end in zeros."""
    digits = Decimal(1).scaleb(-2 - (bits >> 16) % 5)
    total = Decimal(conversions * ((bits >> 20) % 50_000 * 10 + (bits >> 40 & 1) * 7))
    total = (total / 100).quantize(digits)
    average = total / conversions if conversions else total
    return {
        "OrderTotal": str(total),
        "ConversionCount": str(conversions),
        "AverageOrderValue": str(average.quantize(digits)),
    }


def changed(row: Mapping[str, Field], fields: Mapping[str, Field] | None = None) -> Row:
    """Return a row with other values; `...` omits an element."""
    merged = {**row, **(fields or {})}
    return {key: value for key, value in merged.items() if not isinstance(value, EllipsisType)}


def one_of(values: tuple[Field, ...], bits: int, number: int = 0) -> Field:
    """Return one of the values, formatted with `number`."""
    value = values[bits % len(values)]
    return value.format(number) if isinstance(value, str) else value


def distinct(operation: str, rows: Iterable[Row]) -> int:
    """Count the keys of the rows of one parent; a date may be absent, other parts may not."""
    kind = OPERATIONS[operation]
    parent = ID_OF.get(kind.asked_by)
    keys = {tuple(row.get(name) or "" for name in kind.key) for row in rows}
    may_lack = [name in (parent, kind.date) for name in kind.key]
    return sum(all(lack or part for lack, part in zip(may_lack, key)) for key in keys)


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of an account.

    start: the earliest date, as an instant. offsets, event_dates: as in Account.
    """

    seed: int
    start: int
    zone: Zone
    offsets: bool
    event_dates: Literal["iso", "us"]

    def write(self, moment: int, is_text: bool = False) -> str:
        """Return an instant as an xs:dateTime, or xs:string, of the account."""
        wall = self.zone.wall(moment)
        if is_text:
            return write_us(wall) if self.event_dates == "us" else write_iso(wall)
        return write_iso(wall, self.zone.write_offset(moment) if self.offsets else "")

    def text(self, date: datetime | str, is_text: bool = False) -> str:
        """Return the wire text of a date that a caller gave."""
        return date if isinstance(date, str) else self.write(instant(date), is_text)

    def email(self, person: int) -> str:
        """Return the address of a person, who may be in several lists."""
        bits = (person * 2_654_435_761 + self.seed >> 7) & 0xFFFFFF
        if person % 17 == 5:
            return f"zoë.müller+news{person}@exämple.com"
        if person % 11 == 3:
            return f"r&d+list{person}@example.com"
        bits, first = divmod(bits, len(_FIRST_NAMES))
        bits, last = divmod(bits, len(_LAST_NAMES))
        host = _HOSTS[bits % len(_HOSTS)]
        return f"{_FIRST_NAMES[first]}.{_LAST_NAMES[last]}{person}@{host}"

    def subject(self, MsgID: int) -> str:
        """Return the subject of a message."""
        return _SUBJECTS[MsgID // 3 % len(_SUBJECTS)].format(MsgID % 1000)

    def campaign_name(self, CampaignID: int) -> Field:
        """Return the name of a campaign, or its placeholder."""
        number = CampaignID // 7
        return one_of(_CAMPAIGNS, number, number) if CampaignID else None

    def conversation_name(self, ConversationID: int) -> Field:
        """Return the name of a conversation."""
        return one_of(_CONVERSATIONS, ConversationID // 4, ConversationID)

    def list_row(self, ListID: int, number: int) -> Row:
        """Return a row of GetContactListCollection."""
        bits = mix(self.seed, ListID)
        created = self.start + bits % DAY
        flag = {name: ("false", "true")[bits >> n & 1] for n, name in enumerate(_FLAGS)}
        row: dict[str, Field] = {
            "ListID": str(ListID),
            "ListName": _LIST_NAMES[number % len(_LIST_NAMES)].format(number),
            "CreateDate": self.write(created - created % 1000),
            "FromName": ("Zoë & Söhne", "", None, "The 'Shop'")[number % 4],
            "FromEmail": f"news{number}@example.com",
            "EnableRemovalLink": flag["EnableRemovalLink"],
            "EnableBrowserLink": flag["EnableBrowserLink"],
            "bounceHandling": str(bits >> 20 & 3),
            "EnableDoubleOptin": flag["EnableDoubleOptin"],
            "EnableListHygiene": flag["EnableListHygiene"],
            "Vmta": (
                {"VmtaID": str(bits >> 24 & 255), "Description": "Pool <A> & é"},
                {"VmtaID": str(bits >> 24 & 255)},
                ...,
            )[number % 3],
            "ShowEmailList": flag["ShowEmailList"],
            "ShowAdvancedPersonalization": flag["ShowAdvancedPersonalization"],
            "BounceUnsubscribeCount": str(bits >> 32 & 7),
            "DomainAliasLink": ("links.example.com", ..., "", None)[number % 4],
            "DomainAliasEmail": (..., "mail.example.com", None, "")[number % 4],
            "EnableRSS": flag["EnableRSS"],
            "EnableGoogleAnalytics": flag["EnableGoogleAnalytics"],
            "GoogleTrackingDomains": (
                ["www.example.com", "shop.example.com?a=b&c=<d>"],
                [],
                ["www.example.org"],
            )[number % 3],
            **{name: flag[name] for name in _FLAGS[-3:]},
        }
        return changed(row)

    def row(self, operation: str, parent: int, email: str, moment: int, bits: int) -> Row:
        """Return a row in the contract's order, except those derived from others.

        parent: the ID of what it belongs to; of a conversation's events and links, their MsgID.
        moment: the instant of its date. bits: what its other values follow from.
        """
        kind = OPERATIONS[operation]
        if kind.table == "message_sends":
            return {"EmailAddress": email}
        when = self.write(moment, kind.date_is_text)
        if kind.table.startswith("conversation_"):
            return self._conversation_event(kind.table, parent, email, when, moment, bits)
        if kind.asked_by == "message" and kind.date and kind.table != "message_passalongs":
            return self._message_event(kind.table, email, when, moment, bits)
        return changed(self._list_row(kind.table, parent, email, when, moment, bits))

    def _before(self, moment: int, bits: int) -> str:
        """Return a date before another one, one in five never set."""
        if bits % 5 == 0:
            return NEVER
        earlier = moment - bits % max(1, moment - self.start)
        return self.write(earlier - earlier % 1000)

    def _message_event(self, table: str, email: str, when: str, moment: int, bits: int) -> Row:
        row: dict[str, Field] = {"ContactID": contact_id(email), "EmailAddress": email}
        if table == "message_opens":
            return changed(row, {"OpenDate": when})
        if table == "message_reads":
            return changed(row, {"ReadDate": when})
        if table == "message_clicks":
            text, url = LINKS[bits % len(LINKS)]
            row["LinkDescription"] = (*(text,) * 6, None, "", ...)[(bits >> 8) % 9]
            return changed(row, {"LinkUrl": url, "ClickDate": when})
        if table == "message_bounces":
            row["BounceReason"], row["BounceDetail"] = _BOUNCES[bits % len(_BOUNCES)]
            return changed(row, {"BounceDate": when, "BounceCount": str(1 + bits % 4)})
        row |= {"AdditionDate": self._before(moment, bits), "RemovalDate": when}
        method = ("Email Link", "Complaint & abuse", "", ...)[(bits >> 8) % 4]
        return changed(row, {"RemovalMethod": method})

    def _conversation_event(
        self, table: str, MsgID: int, email: str, when: str, moment: int, bits: int
    ) -> Row:
        shown = mix(self.seed, MsgID) % 6
        subject: Field = self.subject(MsgID) if shown > 1 else (None, ...)[shown]
        if table == "conversation_links":
            text, url = LINKS[bits % len(LINKS)]
            return self.conversation_link(MsgID, text, url, bits, (0, 0, 0))
        column = {
            "conversation_sends": "SendDate",
            "conversation_opens": "OpenDate",
            "conversation_reads": "ReadDate",
            "conversation_bounces": "BounceDate",
            "conversation_unsubs": "RemoveDate",
        }[table]
        row: dict[str, Field] = {"MsgID": str(MsgID), "ContactID": str(number_of(email))}
        if table == "conversation_unsubs":
            row["AddDate"] = self._before(moment, bits)
        row[column] = when
        if table == "conversation_bounces":
            row["BounceCount"] = str(1 + bits % 4)
        row |= {"Subject": subject, "EmailAddress": email}
        if table == "conversation_bounces":
            row["BounceReason"], row["BounceDetail"] = _BOUNCES[bits % len(_BOUNCES)]
        elif table == "conversation_unsubs":
            row["RemoveMethod"] = one_of(TEXTS, bits >> 8)
        return changed(row)

    def conversation_link(
        self, MsgID: int, text: str, url: str, bits: int, counts: tuple[int, int, int]
    ) -> Row:
        """Return a link; counts: its clicks, its clickers, and the sends of its message."""
        clicks, clickers, sent = counts
        row: dict[str, Field] = {
            "MsgID": str(MsgID),
            "LinkID": str(number_of(f"{MsgID} {url}")),
            "ClickCount": str(clicks),
            "ClickPercent": percent(clickers, sent),
            "ClickerCount": str(clickers),
            "SendCount": str(sent),
            "Subject": self.subject(MsgID),
            "LinkDescription": (text, text, None, "", ...)[bits % 5],
            "LinkURL": url,
            "Type": one_of(TEXTS, bits >> 8),
        }
        return changed(row)

    def _list_row(
        self, table: str, parent: int, email: str, when: str, moment: int, bits: int
    ) -> dict[str, Field]:
        number = str(bits >> 33)
        contact: dict[str, Field] = {"ContactID": contact_id(email), "EmailAddress": email}
        if table == "subscribed_contacts":
            method = one_of(("Import", "Sign-up <form>", "", None, ...), bits)
            return {**contact, "AdditionDate": when, "AdditionMethod": method}
        if table == "list_unsubs":
            dates = {"AdditionDate": self._before(moment, bits), "RemovalDate": when}
            return {**contact, **dates, "RemovalMethod": one_of(TEXTS, bits >> 8)}
        if table == "list_hygiene":
            old = email.replace("@", "@old.", 1)
            return {
                "ContactID": contact_id(email),
                "OldEmailAddress": (old, old, "", None, ...)[bits % 5],
                "EmailAddress": email,
                "AddDate": (self.write(self.start, True), ..., "", None)[(bits >> 8) % 4],
                "HygieneDate": when,
            }
        if table == "imports":
            return self._import(number, when, moment, bits)
        if table == "campaigns":
            return {"CampaignID": number, "ListID": str(parent), "Name": "A", "MessageCount": "0"}
        if table == "transactional_messages":
            return {"TransactionalMsgID": number, "MessageName": one_of(TEXTS, bits)}
        if table == "saved_messages":
            saved = {
                "CreateDate": self.write(self.start),
                "ModifiedDate": self._before(moment, bits),
            }
            return {"SavedMsgID": number, **saved, "SavedName": one_of(TEXTS, bits)}
        if table == "message_passalongs":
            return self._passalong(email, when, bits)
        if table == "message_links":
            return self.message_link(parent, "https://www.example.com/added", bits, (0, 0, 0))
        if table == "complaints":
            return {
                "AbuseDate": when,
                **contact,
                "ISPName": one_of(("AOL", 'Yahoo! "Mail" & <more>', None, "", ...), bits >> 40),
            }
        return self.location(table, parent, bits >> 33, bits)

    def _import(self, number: str, when: str, moment: int, bits: int) -> dict[str, Field]:
        counts = {name: str(bits >> shift & 15) for shift, name in enumerate(_IMPORT_COUNTS)}
        end = moment + bits % (3600 * SECOND)
        return {
            "ImportFileID": number,
            "FileSize": str(bits >> 33),
            "StartDate": when,
            "EndDate": self.write(end - end % 1000) if bits >> 40 & 3 else NEVER,
            "ProcessedCount": str(sum(map(int, counts.values()))),
            **counts,
            "ImportSource": one_of(("FTP", "API & 'web'", ..., None, ""), bits >> 3),
            "ImportType": one_of(("Add", None, "Add & <update>"), bits >> 5),
            "ProfileImportType": one_of((..., "Overwrite", ""), bits >> 7),
            "FileName": one_of(
                ("contacts & <leads>.csv", "two\r\nlines.csv", None, ...), bits >> 9
            ),
        }

    def _passalong(self, email: str, when: str, bits: int) -> dict[str, Field]:
        friend = f"friend+{bits % 10_000}@example.net"
        return {
            "PassAlongDate": when,
            "FromName": one_of(TEXTS, bits),
            "FromEmailAddress": email,
            "FromContactID": contact_id(email),
            "ToName": one_of(TEXTS, bits >> 8),
            "ToEmailAddress": friend,
            "ToContactID": (contact_id(friend), None, "", ...)[(bits >> 16) % 4],
        }

    def message_link(
        self, MsgID: int, url: str, bits: int, counts: tuple[int, int, int]
    ) -> dict[str, Field]:
        """Return a link; counts: its clicks, its clickers, and the sends of its message."""
        clicks, clickers, sent = counts
        texts = {address: text for text, address in LINKS}
        return {
            "MsgID": str(MsgID),
            "LinkID": str(number_of(f"{MsgID} {url}")),
            "ClickCount": str(clicks),
            "ClickerCount": str(clickers),
            "ClickPercent": percent(clickers, sent),
            "LinkURL": url,
            "LinkType": one_of(TEXTS, bits),
            "LinkDescription": texts.get(url, (None, "", ...)[bits % 3]),
        }

    def location(self, table: str, MsgID: int, rank: int, bits: int) -> dict[str, Field]:
        """Return a location: two regions a country, of which the first is unknown."""
        country, region = divmod(rank, 2)
        ids: dict[str, Field] = {
            "MsgID": str(MsgID),
            "CountryID": str(country),
            "RegionID": str(region),
        }
        kind = table.removeprefix("message_location_").removesuffix("s").title()
        count: dict[str, Field] = {f"{kind}Count": str(bits % 1000)}
        names: dict[str, Field] = {
            "CountryName": one_of(("Côte d'Ivoire & <more>", None, "", ...), country),
            "RegionName": one_of(("", "Zürich", None, ...), region + country),
        }
        return {**ids, **names, **count} if kind == "Click" else {**ids, **count, **names}
