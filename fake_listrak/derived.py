"""Rows that follow from others, so that their counts agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fake_listrak.contract import (
    CONVERSATION_OPERATIONS,
    OPERATIONS,
    PASSALONGS,
    Row,
)
from fake_listrak.generator import (
    BOUNCE,
    CLICK,
    MESSAGES_OF_CONVERSATION,
    OPEN,
    READ,
    REMOVAL,
    SENT,
    SERIES_SENT,
    Conversation,
    Message,
)
from fake_listrak.rows import (
    ANALYTICS,
    LINKS,
    Field,
    changed,
    mix,
    one_of,
    orders,
    percent,
)
from fake_listrak.tables import NAME, Tables


class Derived(Tables):
    """The rows of messages, deliveries, links, campaigns and conversations. See Account."""

    def _table(self, operation: str, ID: int) -> Sequence[Row]:
        """Return all rows of an operation for a parent."""
        made = {
            "campaigns": self._campaigns,
            "message_links": self._message_links,
            "conversation_links": self._series_links,
        }.get(OPERATIONS[operation].table)
        changed_rows = self._tables.get((operation, ID))
        if made is not None and (operation, ID) not in self._filled:
            return [*made(ID), *(changed_rows or ())]
        return self._generated(operation, ID) if changed_rows is None else changed_rows

    def _activity(self, message: Message) -> Row:
        """Return a row of ReportListMessageActivity, whose counts agree with the event rows."""
        ID, bits = message.ID, mix(self._maker.seed, 2, message.ID)
        sent, opens, reads, clicks, removals = (
            self._count(each, ID) for each in (SENT, OPEN, READ, CLICK, REMOVAL)
        )
        clickers = self._emails(CLICK, ID)
        repeaters = min(clicks - clickers, clickers)
        row: Row = {
            "ListID": str(message.ListID),
            "MsgID": str(ID),
            "Subject": self._maker.subject(ID),
            "SendDate": message.send_date,
            "DeliverCount": str(sent),
            "RemoveCount": str(removals),
            "RemovePercent": percent(removals, sent) if bits >> 48 & 7 else "1E-05",
            "OpenCount": str(opens),
            "OpenPercent": percent(self._emails(OPEN, ID), sent),
            "ReadCount": str(reads),
            "ReadPercent": percent(self._emails(READ, ID), sent),
            "ClickCount": str(clicks),
            "ClickerCount": str(clickers),
            "RepeatClickerCount": str(repeaters),
            "NewClickerCount": str(clickers - repeaters),
            "ClickerPercent": percent(clickers, sent),
            **orders(bits, clickers * (bits >> 8 & 3) // 4),
        }
        return changed(row, message.fields)

    def _delivery(self, message: Message) -> Row:
        row = self._activity(message)
        sent, bounced = self._count(SENT, message.ID), self._count(BOUNCE, message.ID)
        head: dict[str, Field] = {
            name: row[name] for name in ("ListID", "MsgID", "SendDate") if name in row
        }
        counts: dict[str, Field] = {
            "DeliverCount": str(sent),
            "DeliverPercent": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BouncePercent": percent(bounced, sent + bounced),
            "PassAlongCount": str(self._count(PASSALONGS, message.ID)),
            "Subject": row.get("Subject", ...),
        }
        return changed(head, counts)

    def _analytics(self, message: Message) -> Row:
        row = self._activity(message)
        campaign = self._generator.campaign_of(message.ListID, message.ID)
        bits = mix(self._maker.seed, 3, message.ID)
        return changed(
            {
                "CampaignID": str(campaign),
                "CampaignName": self._maker.campaign_name(campaign),
                "GoogleAnalyticsCampaignContent": one_of(ANALYTICS, bits, message.ID),
                "GoogleAnalyticsCampaignName": one_of(ANALYTICS, bits >> 8, message.ID),
                "ListrakAnalyticsCampaignName": one_of(ANALYTICS, bits >> 16, message.ID),
                "ListrakAnalyticsModuleName": one_of(ANALYTICS, bits >> 24, message.ID),
                "ListrakAnalyticsVersion": one_of(("3.1", ..., ""), bits >> 32),
                "ListID": str(message.ListID),
                "MsgID": str(message.ID),
                "SendDate": row.get("SendDate", ...),
                "Subject": row.get("Subject", ...),
            }
        )

    def _message_links(self, MsgID: int) -> list[Row]:
        """Return the links of a message: all that were clicked, and some others."""
        clicks: Counter[str] = Counter()
        clickers: dict[str, set[str]] = {}
        for row in self._table(CLICK, MsgID):
            if url := row.get("LinkUrl"):
                clicks[str(url)] += 1
                clickers.setdefault(str(url), set()).add(str(row.get("EmailAddress")))
        bits = mix(self._maker.seed, 4, MsgID)
        urls = list(clicks)
        if self._messages[MsgID].is_generated and (clicks or bits % 3):
            more = (f"https://www.example.com/footer?n={n}&<x>" for n in range(bits % 8))
            urls = list(dict.fromkeys([*(url for _, url in LINKS), *more, *urls]))
        sent, link = self._count(SENT, MsgID), self._maker.message_link
        return [
            changed(link(MsgID, url, mix(bits, n), (clicks[url], len(clickers.get(url, ())), sent)))
            for n, url in enumerate(urls)
        ]

    def _campaigns(self, ListID: int) -> list[Row]:
        of = Counter(
            self._generator.campaign_of(ListID, each.ID) for each in self._messages_of(ListID)
        )
        return [
            changed(
                {
                    "CampaignID": str(ID),
                    "ListID": str(ListID),
                    "Name": self._maker.campaign_name(ID),
                    "MessageCount": str(of[ID]),
                }
            )
            for ID in reversed(self._generator.campaign_ids(ListID))
        ]

    def _conversation(self, conversation: Conversation) -> Row:
        """Return a row whose counts agree with the conversation's event and link rows."""
        ID, bits = conversation.ID, mix(self._maker.seed, 6, conversation.ID)
        sent, opens, reads, _, removals = (
            self._count(each, ID) for each in CONVERSATION_OPERATIONS
        )
        contacts = conversation.contacts
        if (SERIES_SENT, ID) in self._tables:
            contacts = len({str(row.get("EmailAddress")) for row in self._table(SERIES_SENT, ID)})
        waiting = 0 if conversation.terminated else bits % (contacts + 1)
        terminated = (bits >> 32) % (contacts - waiting + 1)
        clicks = sum(int(str(r["ClickCount"])) for r in self._table(NAME["conversation_links"], ID))
        row: dict[str, Field] = self._head(conversation) | {
            "ContactCount": str(contacts),
            "WaitingCount": str(waiting),
            "TerminatedCount": str(contacts if conversation.terminated else terminated),
            "DeliverCount": str(sent),
            "RemoveCount": str(removals),
            "RemoveRate": percent(removals, sent),
            "OpenCount": str(opens),
            "OpenRate": percent(opens, sent),
            "ReadCount": str(reads),
            "ReadRate": percent(reads, sent),
            "ClickCount": str(clicks),
            **orders(bits, clicks // 3),
        }
        return changed(row | self._names(conversation), conversation.fields)

    def _series_delivery(self, conversation: Conversation) -> Row:
        ID = conversation.ID
        sent, _, _, bounced, _ = (self._count(each, ID) for each in CONVERSATION_OPERATIONS)
        row: dict[str, Field] = self._head(conversation) | {
            "SendCount": str(sent + bounced),
            "DeliverCount": str(sent),
            "DeliverRate": percent(sent, sent + bounced),
            "BounceCount": str(bounced),
            "BounceRate": percent(bounced, sent + bounced),
            "PassAlongCount": str(ID % 4 if sent else 0),
        }
        row |= self._names(conversation)
        return changed(row, {k: v for k, v in conversation.fields.items() if k in row})

    def _head(self, conversation: Conversation) -> dict[str, Field]:
        return {
            "ListID": str(conversation.ListID),
            "CampaignID": str(self._generator.campaign_of(conversation.ListID, conversation.ID)),
            "ConversationID": str(conversation.ID),
            "PublishedDate": conversation.published,
        }

    def _names(self, conversation: Conversation) -> dict[str, Field]:
        campaign = self._generator.campaign_of(conversation.ListID, conversation.ID)
        return {
            "CampaignName": self._maker.campaign_name(campaign),
            "ConversationName": self._maker.conversation_name(conversation.ID),
        }

    def _series_links(self, ConversationID: int) -> list[Row]:
        """Return the links of a conversation's messages, each clicked by half of them at most."""
        conversation = self._conversations[ConversationID]
        added = self._tables.get((SERIES_SENT, ConversationID))
        of = Counter(str(row.get("MsgID")) for row in added or ())
        rows: list[Row] = []
        for place, MsgID in enumerate(conversation.messages if conversation.sends else ()):
            sent = -(-(conversation.sends - place) // MESSAGES_OF_CONVERSATION)
            total = sent if added is None else of[str(MsgID)]
            for text, url in LINKS[: 2 + mix(self._maker.seed, 10, MsgID) % 4]:
                bits = mix(self._maker.seed, MsgID, len(rows))
                clickers = bits % (sent // 2 + 1)
                counts = (clickers + (bits >> 32) % (clickers + 1), clickers, total)
                rows.append(self._maker.conversation_link(MsgID, text, url, bits, counts))
        return rows
