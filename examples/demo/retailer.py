"""Make the account of the demo: a made-up homeware shop, and its email of one year.

`rows` returns what Listrak would hold of it. Newsletters, a loyalty list and a store's events go to
contacts who join and leave; most of them open a message within a day, fewer read it, and few click.
Every number follows from the seed, so the account is the same in every run.
"""

from __future__ import annotations

import math
import random
import signal
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # fake_listrak is not installed

from fake_listrak import Account, ListrakService, Row  # found by the line above

Rows = dict[tuple[str, int | None], list[Row]]

START, END = datetime(2025, 1, 6), datetime(2025, 12, 29)
DAY = timedelta(days=1)
FIRST_NAMES = (
    "Ava", "Ben", "Carla", "David", "Elena", "Frank", "Grace", "Hugo", "Iris", "Jack", "Kira",
    "Liam", "Maya", "Noah", "Olive", "Priya", "Quinn", "Rosa", "Sam", "Tara", "Vera", "Will", "Zoe",
)  # fmt: skip
LAST_NAMES = (
    "Adams", "Baker", "Chen", "Diaz", "Evans", "Fischer", "Gupta", "Hansen", "Ito", "Jones", "Kim",
    "Lopez", "Meyer", "Novak", "Olsen", "Patel", "Reed", "Silva", "Turner", "Vogel", "Young",
)  # fmt: skip
PROVIDERS = ("example.com", "example.net", "example.org")
REGIONS = (
    ("United States", 1, (("New York", 33), ("California", 5), ("Texas", 44), ("Ohio", 36))),
    ("Canada", 2, (("Ontario", 61), ("Quebec", 62))),
)
BOUNCES = (
    ("Hard Bounce - Unknown User", "550 5.1.1 The email account does not exist"),
    ("Hard Bounce - Unknown Domain", "550 5.1.2 Host not found"),
    ("Soft Bounce - Mailbox Full", "452 4.2.2 The mailbox is over quota"),
    ("Soft Bounce - General", "421 4.7.0 Try again later"),
)
SHOP = "https://shop.example.com/"
# Campaign, subject and the three pages that the message links to, two weeks apart.
NEWSLETTERS = (
    ("New Year", "A calm start: 20% off linen", "linen bath candles"),
    ("New Year", "The one-hour pantry reset", "jars baskets labels"),
    ("Spring", "Table settings for two", "plates glasses candles"),
    ("Spring", "New in: stoneware by hand", "stoneware plates mugs"),
    ("Spring", "Bring the garden in", "vases planters tools"),
    ("Spring", "Spring clean, gently", "soap brushes baskets"),
    ("Spring", "Last days: 25% off rugs", "rugs runners sale"),
    ("Spring", "Breakfast in bed, solved", "trays linen mugs"),
    ("Summer", "For Mom, until midnight Thursday", "gifts vases cards"),
    ("Summer", "Outdoor dining is open", "outdoor plates glasses"),
    ("Summer", "Light linen for hot nights", "linen curtains sale"),
    ("Summer", "Picnic: pack it in ten minutes", "baskets glasses blankets"),
    ("Summer", "The summer sale starts now", "sale outdoor linen"),
    ("Summer", "Sale: further reductions", "sale rugs stoneware"),
    ("Summer", "Cold drinks, good glasses", "glasses trays outdoor"),
    ("Autumn", "Desk by the window", "lamps trays vases"),
    ("Autumn", "Soup season starts", "bowls pots linen"),
    ("Autumn", "New: lamps from Lisbon", "lamps candles new"),
    ("Autumn", "Rain outside, wool inside", "blankets rugs candles"),
    ("Autumn", "Your hallway, sorted", "hooks baskets rugs"),
    ("Holiday", "Candles for early evenings", "candles lamps blankets"),
    ("Holiday", "Set the long table", "plates glasses linen"),
    ("Holiday", "The gift guide is here", "gifts candles mugs"),
    ("Holiday", "Black Friday: 30% off everything", "sale gifts rugs"),
    ("Holiday", "Order by Tuesday for the holidays", "gifts cards candles"),
    ("Holiday", "Thank you for this year", "new sale gifts"),
)
LOYALTY = tuple(
    ("Loyalty", subject, "rewards new sale")
    for subject in (
        "Your points: what they buy in January",
        "Members first: the stoneware drop",
        "Double points until Sunday",
        "Early access: spring rugs",
        "Members' evening, 20% off",
        "Points that expire in June",
        "Early access: the summer sale",
        "A thank-you for members",
        "Members first: lamps from Lisbon",
        "Double points on blankets",
        "Early access: Black Friday",
        "Your year in points",
    )
)
EVENTS = tuple(
    ("Store events", subject, "store events directions")
    for subject in (
        "Saturday: a pottery workshop",
        "Meet the maker: Ana, ceramics",
        "Summer evening at the store",
        "Wreath binding, two dates",
    )
)
WELCOME = (
    ("Welcome to Harbor & Pine", 0, "new rugs sale"),
    ("Three things we are known for", 3, "linen stoneware lamps"),
    ("10% off your first order", 7, "sale new gifts"),
)
BASKET = (("You left something in your basket", 0, "basket"), ("Still thinking?", 2, "basket help"))


@dataclass
class Person:
    """A contact of a list, with the share of messages that they open."""

    email: str
    contact_id: str
    joined: datetime
    method: str
    keenness: float
    left: datetime | None = None
    how: str = ""

    def is_member(self, at: datetime) -> bool:
        """Return whether the contact is subscribed at a time."""
        return self.joined < at and not (self.left and self.left < at)

    def names(self) -> Row:
        """Return the columns of a row that describe its contact."""
        return {"ContactID": self.contact_id, "EmailAddress": self.email}


@dataclass
class Mail:
    """A message, or a message of a conversation, with its possible content."""

    msg_id: int
    subject: str
    links: list[str]
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def rows() -> Rows:
    """Return the rows of the account by operation and parent's ID (None: the account)."""
    return _Shop().rows


class _Shop:
    def __init__(self) -> None:
        self.rows: Rows = defaultdict(list)
        self.random = random.Random(2025)  # noqa: S311 # numbers to look at, not a secret
        self.people = 0
        self.msg_id = 48_210
        self._list(1101, "Harbor & Pine Newsletter", 300, 9.0, NEWSLETTERS, 14, (WELCOME, BASKET))
        self._list(1102, "Loyalty Club", 60, 2.2, LOYALTY, 30, ())
        self._list(1107, "Store Events Portland", 40, 1.0, EVENTS, 80, ())

    def _list(
        self,
        list_id: int,
        name: str,
        members: int,
        joining: float,
        plan: tuple[tuple[str, str, str], ...],
        days: int,
        series: tuple[tuple[tuple[str, int, str], ...], ...],
    ) -> None:
        """Make a list that starts with `members`; `joining` people join each week."""
        people = self._join(members, joining)
        campaigns = {
            each: list_id * 10 + n for n, each in enumerate(dict.fromkeys(each[0] for each in plan))
        }
        sent = dict.fromkeys(campaigns, 0)
        for number, (campaign, subject, links) in enumerate(plan):
            at = START + DAY * (2 + number * days) + timedelta(hours=15, minutes=number * 7 % 40)
            if at < END:
                self._message(list_id, campaigns[campaign], campaign, subject, links, at, people)
                sent[campaign] += 1
        for number, mails in enumerate(series):
            self._conversation(list_id, number, mails, people)
        self._leave(people)
        self._members(list_id, name, people)
        self.rows["GetCampaignCollection", list_id] = [
            {
                "CampaignID": str(campaign_id),
                "ListID": str(list_id),
                "Name": campaign,
                "MessageCount": str(sent[campaign]),
            }
            for campaign, campaign_id in campaigns.items()
        ]
        for operation, key, column, names in (
            ("GetTransactionalMessageCollection", "TransactionalMsgID", "MessageName",
             ("Order confirmation", "Shipping notice", "Your receipt")),
            ("GetSavedMessageCollection", "SavedMsgID", "SavedName",
             ("Newsletter, two columns", "Sale, one picture")),
        ):  # fmt: skip
            dates = {"CreateDate": _iso(START), "ModifiedDate": _iso(START + 40 * DAY)}
            self.rows[operation, list_id] = [
                {key: str(list_id * 10 + n), **(dates if key == "SavedMsgID" else {}), column: text}
                for n, text in enumerate(names)
            ]

    # People.

    def _join(self, members: int, joining: float) -> list[Person]:
        joined = [START + timedelta(hours=9, seconds=n) for n in range(members)]
        weeks = (END - START).days // 7
        for week in range(weeks):
            # More people join in spring and before the holidays.
            season = 1 + 0.6 * math.sin(week / weeks * 4 * math.pi - 0.5) + (week > 43)
            for _ in range(round(joining * season * self.random.uniform(0.6, 1.4))):
                joined.append(START + DAY * (7 * week) + self._daytime(DAY * 7))
        return [self._person(at, "Import" if n < members else "") for n, at in enumerate(joined)]

    def _person(self, joined: datetime, method: str) -> Person:
        self.people += 1
        first, last = self.random.choice(FIRST_NAMES), self.random.choice(LAST_NAMES)
        return Person(
            f"{first}.{last}{self.people}@{self.random.choice(PROVIDERS)}".lower(),
            f"{90_000_000 + self.people * 37}",
            joined,
            method or self.random.choice(("Checkout", "Checkout", "Website footer", "In store")),
            self.random.betavariate(1.3, 2.2),
        )

    def _leave(self, people: list[Person]) -> None:
        """Unsubscribe a few people through the preference page."""
        for person in people:
            if person.left is None and self.random.random() < 0.02:
                left = person.joined + self._daytime(DAY * 120)
                if left < END:
                    person.left, person.how = left, "Preference center"

    def _members(self, list_id: int, name: str, people: list[Person]) -> None:
        flags = "EnableRemovalLink EnableBrowserLink EnableListHygiene EnableGoogleAnalytics"
        self.rows["GetContactListCollection", None].append(
            {
                "ListID": str(list_id),
                "ListName": name,
                "CreateDate": _iso(START - 30 * DAY),
                "FromName": "Harbor & Pine",
                "FromEmail": "hello@shop.example.com",
                **dict.fromkeys(flags.split(), "true"),
                "bounceHandling": "1",
                "EnableDoubleOptin": "false",
                "Vmta": {"VmtaID": "12", "Description": "Shared pool"},
                "BounceUnsubscribeCount": "3",
                "DomainAliasLink": "links.shop.example.com",
                "DomainAliasEmail": "mail.shop.example.com",
                "GoogleTrackingDomains": ["shop.example.com"],
            }
        )
        for person in sorted(people, key=lambda each: each.joined):
            joined = _iso(person.joined)
            if person.left is None:
                self.rows["ReportRangeSubscribedContacts", list_id].append(
                    person.names() | {"AdditionDate": joined, "AdditionMethod": person.method}
                )
            else:
                self.rows["ReportRangeListContactRemoval", list_id].append(
                    person.names()
                    | {
                        "AdditionDate": joined,
                        "RemovalDate": _iso(person.left),
                        "RemovalMethod": person.how,
                    }
                )
        for person in self.random.sample(people, len(people) // 100):
            wrong = person.email.replace("@example", "@exmaple")
            self.rows["ReportRangeListContactHygiene", list_id].append(
                {
                    "ContactID": person.contact_id,
                    "OldEmailAddress": wrong,
                    "EmailAddress": person.email,
                    "AddDate": _iso(person.joined),
                    "HygieneDate": _iso(person.joined + timedelta(minutes=3)),
                }
            )

    # Messages.

    def _message(
        self,
        list_id: int,
        campaign_id: int,
        campaign: str,
        subject: str,
        links: str,
        at: datetime,
        people: list[Person],
    ) -> None:
        mail = self._mail(subject, links)
        members = [
            each for each in people if each.joined < at and not (each.left and each.left < at)
        ]
        for person in members:
            self._receive(mail, person, at)
        names = {"ListID": str(list_id), "MsgID": str(mail.msg_id)}
        dates = {"SendDate": _iso(at)}
        counts, sent = mail.counts, len(members)
        delivered = sent - counts["bounce"]
        orders = round(counts["clicker"] * self.random.uniform(0.04, 0.12))
        total = round(orders * self.random.uniform(48, 96), 2)
        self.rows["ReportListMessageActivity", list_id].append(
            {
                "ListID": str(list_id),
                "MsgID": str(mail.msg_id),
                "Subject": subject,
                **dates,
                "DeliverCount": str(delivered),
                **_rate("Remove", counts["removal"], counts["removal"], delivered),
                **_rate("Open", counts["open"], counts["opener"], delivered),
                **_rate("Read", counts["read"], counts["reader"], delivered),
                "ClickCount": str(counts["click"]),
                "ClickerCount": str(counts["clicker"]),
                "RepeatClickerCount": str(counts["clicker"] // 3),
                "NewClickerCount": str(counts["clicker"] - counts["clicker"] // 3),
                "ClickerPercent": _percent(counts["clicker"], delivered),
                "OrderTotal": f"{total:.2f}",
                "ConversionCount": str(orders),
                "AverageOrderValue": f"{total / orders if orders else 0:.2f}",
            }
        )
        self.rows["ReportListMessageDelivery", list_id].append(
            {
                **names,
                **dates,
                "DeliverCount": str(delivered),
                "DeliverPercent": _percent(delivered, sent),
                "BounceCount": str(counts["bounce"]),
                "BouncePercent": _percent(counts["bounce"], sent),
                "PassAlongCount": str(counts["passalong"]),
                "Subject": subject,
            }
        )
        tag = subject.split(":")[0].lower().replace(" ", "-")
        self.rows["GetMessageAnalyticsInformation", list_id].append(
            {
                "CampaignID": str(campaign_id),
                "CampaignName": campaign,
                "GoogleAnalyticsCampaignContent": tag,
                "GoogleAnalyticsCampaignName": campaign.lower(),
                "ListrakAnalyticsCampaignName": campaign,
                "ListrakAnalyticsVersion": "3.1",
                **names,
                **dates,
                "Subject": subject,
            }
        )
        self._details(mail, campaign_id, campaign, list_id, members, at)

    def _mail(self, subject: str, links: str) -> Mail:
        self.msg_id += 7
        return Mail(self.msg_id, subject, links.split())

    def _receive(self, mail: Mail, person: Person, at: datetime, of: int = 0) -> None:
        """Send a mail to a person, who may open, read, click or leave.

        of: the ConversationID of a conversation's mail.
        """
        parent = of or mail.msg_id
        by = person.names()
        head = {"MsgID": str(mail.msg_id)} if of else {}
        tail = {"Subject": mail.subject} if of else {}

        def add(operation: str, count: str, row: Row) -> None:
            mail.counts[count] += 1
            self.rows[operation, parent].append({**head, **row, **tail})

        if of:
            add("ReportConversationContactDelivery", "sent", {**by, "SendDate": _iso(at)})
        else:
            add("ReportMessageContactSent", "sent", {"EmailAddress": person.email})
        event = "ReportConversationContact" if of else "ReportRangeMessageContact"
        if self.random.random() < 0.011:
            reason, detail = self.random.choices(BOUNCES, (4, 1, 3, 2))[0]
            dates = {"BounceDate": _iso(at + timedelta(minutes=self.random.randint(1, 90)))}
            texts = {"BounceReason": reason, "BounceDetail": detail}
            add(event + ("Bounce" if of else "Bounces"), "bounce",
                {**by, **texts, **dates, "BounceCount": "1"})  # fmt: skip
            if reason.startswith("Hard") and person.left is None:
                person.left, person.how = at + DAY, "Bounce"
            return
        if self.random.random() > person.keenness:
            return
        opened = self._opened(at)
        mail.counts["opener"] += 1
        for again in range(1 + (self.random.random() < 0.3)):
            seen = opened + again * self._daytime(DAY * 3)
            add(event + "Open", "open", {**by, "OpenDate": _iso(seen)})
        if self.random.random() > 0.62:
            return
        read = opened + timedelta(seconds=self.random.randint(6, 40))
        mail.counts["reader"] += 1
        add(event + "Read", "read", {**by, "ReadDate": _iso(read)})
        if self.random.random() < 0.16:
            self._click(mail, person, read, parent, is_message=not of)
        elif self.random.random() < 0.012 and person.left is None:
            person.left, person.how = read + timedelta(minutes=1), "Email link"
            day = "RemoveDate" if of else "RemovalDate"
            added = {"AddDate" if of else "AdditionDate": _iso(person.joined)}
            how = {"RemoveMethod" if of else "RemovalMethod": person.how}
            add(event + "Removal", "removal", {**by, **added, day: _iso(person.left), **how})

    def _click(
        self, mail: Mail, person: Person, read: datetime, parent: int, *, is_message: bool
    ) -> None:
        mail.counts["clicker"] += 1
        places = self.random.choices(range(len(mail.links)), (6, 3, 2)[: len(mail.links)], k=2)
        for place in dict.fromkeys(places[: 1 + (self.random.random() < 0.35)]):
            mail.counts["click"] += 1
            mail.counts[f"clicks of {place}"] += 1
            read += timedelta(seconds=self.random.randint(4, 60))
            if is_message:
                self.rows["ReportRangeMessageContactClick", parent].append(
                    person.names()
                    | {
                        "LinkDescription": mail.links[place].capitalize(),
                        "LinkUrl": SHOP + mail.links[place],
                        "ClickDate": _iso(read),
                    }
                )

    def _details(
        self,
        mail: Mail,
        campaign_id: int,
        campaign: str,
        list_id: int,
        members: list[Person],
        at: datetime,
    ) -> None:
        """Add the links, locations, passalongs and complaints of a message."""
        counts, ID = mail.counts, str(mail.msg_id)
        self.rows["ReportMessageLinkClick", mail.msg_id] = [
            {
                "MsgID": ID,
                "LinkID": f"{mail.msg_id}{place}",
                "ClickCount": str(counts[f"clicks of {place}"]),
                "ClickerCount": str(counts[f"clicks of {place}"]),
                "ClickPercent": f"{counts[f'clicks of {place}'] / len(members):.4f}",
                "LinkURL": SHOP + link,
                "LinkType": "HTML",
                "LinkDescription": link.capitalize(),
            }
            for place, link in enumerate(mail.links)
        ]
        for kind in ("Open", "Read", "Click"):
            left = counts[kind.lower()]
            for country, country_id, regions in REGIONS:
                for region, region_id in regions:
                    count = left if region == "Quebec" else round(left * 0.4)
                    left -= count
                    if count:
                        self.rows[f"ReportMessageLocation{kind}", mail.msg_id].append(
                            {
                                "MsgID": ID,
                                "CountryID": str(country_id),
                                "RegionID": str(region_id),
                                "CountryName": country,
                                "RegionName": region,
                                f"{kind}Count": str(count),
                            }
                        )
        for person in members:
            luck = self.random.random()
            if luck < 0.0008:
                self.rows["ReportRangeMessageContactPassalong", mail.msg_id].append(
                    {
                        "PassAlongDate": _iso(at + self._daytime(DAY)),
                        "FromEmailAddress": person.email,
                        "FromContactID": person.contact_id,
                        "ToEmailAddress": f"friend-of-{person.email}",
                    }
                )
                counts["passalong"] += 1
            elif luck > 0.9998:
                self.rows["ReportAdminContactFeedbackLoop", None].append(
                    {
                        "ListID": str(list_id),
                        "CampaignID": str(campaign_id),
                        "MessageID": ID,
                        "AbuseDate": _iso(at + self._daytime(DAY)),
                        "CampaignName": campaign,
                        "MessageSubject": mail.subject,
                        **person.names(),
                        "ISPName": person.email.partition("@")[2],
                    }
                )

    # Conversations.

    def _conversation(
        self,
        list_id: int,
        number: int,
        mails: tuple[tuple[str, int, str], ...],
        people: list[Person],
    ) -> None:
        """Make a series that people enter as they join, or leave a basket."""
        ID, is_welcome = list_id * 10 + number, number == 0
        entered = [each for each in people if each.method != "Import"]
        if not is_welcome:
            entered = self.random.sample(people, len(people) // 4)
        series = [(self._mail(subject, links), days) for subject, days, links in mails]
        for person in entered:
            first = person.joined + (
                timedelta(minutes=5) if is_welcome else self._daytime(DAY * 90)
            )
            for mail, days in series:
                at = first + DAY * days
                if at < END and person.is_member(at):
                    self._receive(mail, person, at, ID)
        counts: dict[str, int] = defaultdict(int)
        for mail, _ in series:
            for name, count in mail.counts.items():
                counts[name] += count
        delivered = counts["sent"] - counts["bounce"]
        orders = round(counts["clicker"] * 0.15)
        head = {
            "ListID": str(list_id),
            "CampaignID": "0",
            "ConversationID": str(ID),
            "PublishedDate": _iso(START),
        }
        names = {
            "CampaignName": "",
            "ConversationName": "Welcome series" if is_welcome else "Abandoned basket",
        }
        self.rows["ReportListConversationActivity", list_id].append(
            {
                **head,
                "ContactCount": str(len(entered)),
                "WaitingCount": "3",
                "TerminatedCount": "0",
                "DeliverCount": str(delivered),
                **_rate("Remove", counts["removal"], counts["removal"], delivered, "Rate"),
                **_rate("Open", counts["open"], counts["opener"], delivered, "Rate"),
                **_rate("Read", counts["read"], counts["reader"], delivered, "Rate"),
                "ClickCount": str(counts["click"]),
                "OrderTotal": f"{orders * 64:.2f}",
                "ConversionCount": str(orders),
                "AverageOrderValue": "64.00",
                **names,
            }
        )
        self.rows["ReportListConversationDelivery", list_id].append(
            {
                **head,
                "SendCount": str(counts["sent"]),
                "DeliverCount": str(delivered),
                "DeliverRate": _percent(delivered, counts["sent"]),
                "BounceCount": str(counts["bounce"]),
                "BounceRate": _percent(counts["bounce"], counts["sent"]),
                "PassAlongCount": "0",
                **names,
            }
        )
        self.rows["ReportConversationLinkClick", ID] = [
            {
                "MsgID": str(mail.msg_id),
                "LinkID": f"{mail.msg_id}{place}",
                "ClickCount": str(mail.counts[f"clicks of {place}"]),
                "ClickPercent": _percent(mail.counts[f"clicks of {place}"], mail.counts["sent"]),
                "ClickerCount": str(mail.counts[f"clicks of {place}"]),
                "SendCount": str(mail.counts["sent"]),
                "Subject": mail.subject,
                "LinkDescription": link.capitalize(),
                "LinkURL": SHOP + link,
                "Type": "HTML",
            }
            for mail, _ in series
            for place, link in enumerate(mail.links)
        ]

    # Times.

    def _daytime(self, within: timedelta) -> timedelta:
        """Return a random part of `within`; most end in the daytime."""
        days = self.random.randrange(max(1, within // DAY))
        return DAY * days + timedelta(hours=self.random.triangular(0, 23.9, 18))

    def _opened(self, sent: datetime) -> datetime:
        """Return when a message was opened: half of them within three hours, few at night."""
        at = sent + timedelta(hours=self.random.lognormvariate(1.0, 1.5))
        # 3 to 10 o'clock in UTC is night in New York.
        if 3 <= at.hour < 10 and self.random.random() < 0.85:
            at += timedelta(hours=10 - at.hour, minutes=self.random.randint(0, 120))
        return at


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.2f}"


def _rate(name: str, events: int, people: int, delivered: int, unit: str = "Percent") -> Row:
    return {f"{name}Count": str(events), f"{name}{unit}": _percent(people, delivered)}


def account() -> Account:
    """Return the account to serve."""
    made = Account(lists=0, complaints=0, page_size=500)
    tables = rows()
    for row in tables.pop(("GetContactListCollection", None)):
        made.add_list(int(str(row.pop("ListID"))), **row)
    for operation, parent in tables:
        for row in tables[operation, parent]:
            if operation == "ReportListMessageActivity" and parent:
                made.add_message(parent, int(str(row["MsgID"])), str(row["SendDate"]))
            elif operation == "ReportListConversationActivity" and parent:
                published = str(row["PublishedDate"])
                made.add_conversation(parent, int(str(row["ConversationID"])), published)
    for (operation, parent), filling in tables.items():
        made.fill(operation, parent, filling)
    return made


def main() -> None:
    """Serve the account until SIGTERM; print the address of the WSDL."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with ListrakService(account(), record=False) as service:
        print(service.url, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
