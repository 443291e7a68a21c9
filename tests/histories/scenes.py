"""What a seed makes of a history: its account, and what changes and goes wrong between runs."""

import itertools
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tests.histories.account import EVENT_STREAMS, MESSAGE_STREAMS, STREAMS, MadeUpAccount
from tests.histories.faults import NOT_RETRIED, RETRIED, Fault, Outage, draw_blip, draw_lasting
from tests.histories.oracle import LATE

START_DATES: Final = (datetime(2026, 1, 10), datetime(2026, 1, 20), datetime(2026, 2, 1))
FIRST_ROWS: Final = datetime(2026, 1, 4)
FIRST_RUN: Final = datetime(2026, 2, 12, 9)
ZONES: Final = ("UTC", "America/New_York", "Asia/Tokyo")
ZONES_APART: Final = timedelta(hours=16)
SEND_HOURS: Final = timedelta(hours=20)
DEFAULT_OLDER_EVERY_DAYS: Final = 7


@dataclass(frozen=True)
class Scene:
    """A kind of history.

    nights: least and most runs. messages, contacts: least and most of a list at first. kills: how
    many runs in a hundred are cut off. dead: a stream is dead in all nights, and nothing changes
    but rows of the others.
    """

    share: int
    nights: tuple[int, int] = (3, 7)
    messages: tuple[int, int] = (0, 3)
    contacts: tuple[int, int] = (0, 5)
    lists: tuple[int, int] = (1, 3)
    streams: tuple[int, int] = (1, 9)
    kills: int = 40
    has_turns: bool = False
    has_mirror: bool = False
    has_bad_row: bool = False
    dead: bool = False


SCENES: Final[Mapping[str, Scene]] = {
    "general": Scene(70),
    "turns": Scene(15, nights=(8, 16), lists=(1, 2), streams=(1, 3), kills=20, has_turns=True),
    "mirror": Scene(15, contacts=(2, 10), lists=(1, 2), has_mirror=True),
    "bad row": Scene(4, (2, 4), (0, 0), lists=(1, 2), streams=(1, 1), kills=15, has_bad_row=True),
    "dead": Scene(3, (10, 10), (1, 120), lists=(1, 1), streams=(1, 2), kills=0, dead=True),
}


class World:
    """An account, a config and the faults of the night, as they follow from a seed."""

    def __init__(self, seed: int, scene: str | None = None) -> None:
        rng = self.rng = random.Random(seed)
        shares = [each.share for each in SCENES.values()]
        drawn = rng.choices(list(SCENES), shares)[0]
        self.name = scene or drawn
        self.scene = SCENES[self.name]
        self.account = MadeUpAccount(
            page_size=rng.randint(1, 4),
            bounds=rng.choice(("inclusive", "exclusive", "start")),
            event_dates=rng.choice(("iso", "us")),
            empty=rng.choice(("absent", "empty", "nil", "mixed")),
        )
        if self.scene.has_turns:
            self.account.counts = rng.choice(("right", "unique", "late", "fixed", "jumping"))
        self.told: list[str] = []
        self.clock = FIRST_RUN
        self.run = 0
        self.faults: list[Fault] = []
        self.outage: Outage | None = None
        self.skew = timedelta()
        self.sends_date = True
        self.selected = self._choose_streams()
        self.config: dict[str, Any] = {
            "start_date": _text(rng.choice(START_DATES)),
            "concurrency": rng.choice((1, 1, 4)),
            "interval_days": rng.choice((10, 30, 365)),
        }
        self._numbers = itertools.count(1)
        self._hidden_since: dict[int, datetime] = {}
        for _ in range(rng.randint(*self.scene.lists)):
            self._add_list()
        if self.scene.has_bad_row:
            self._add_bad_row()
        if self.scene.dead:
            stream = self.selected[0]
            how = rng.choice((*RETRIED, *NOT_RETRIED))
            self.faults.append(Fault("dead stream", how, stream, 99))
        self._change_options()

    def tell(self, text: str) -> None:
        """Note what happens, for whoever reads how a history failed."""
        self.told.append(text)

    # Rows

    def _moment(self, since: datetime, until: datetime) -> datetime:
        """Draw a wall time, on no full minute as bounds are, and not near a start_date."""
        while True:
            minutes = int((until - since) / timedelta(minutes=1))
            moment = since.replace(second=0, microsecond=0)
            moment += timedelta(minutes=self.rng.randint(0, max(0, minutes - 1)))
            moment = moment.replace(second=self.rng.randint(1, 58))
            if all(abs(moment - each) > ZONES_APART for each in START_DATES):
                return moment

    def _add(self, stream: str, list_id: int, msg_id: int | None, wall: datetime) -> None:
        name = f"{stream.removeprefix('message_')[:4]}{next(self._numbers)}"
        self.account.add(stream, list_id, msg_id, name, wall, self.run, self.rng.random())

    def _add_list(self) -> None:
        list_id = self.rng.choice(sorted(set(range(100, 130)) - self.account.lists_by_id.keys()))
        self._add("lists", list_id, None, FIRST_ROWS)
        for _ in range(self.rng.randint(*self.scene.contacts)):
            self._add("subscribed_contacts", list_id, None, self._moment(FIRST_ROWS, self.clock))
        for _ in range(self.rng.randint(*self.scene.messages)):
            self._add_message(list_id, self._moment(FIRST_ROWS, self.clock), most=3)
        self.tell(f"  + list {list_id}")

    def _add_message(self, list_id: int, wall: datetime, most: int) -> int:
        msg_id = self.rng.randint(1000, 99999)
        while msg_id in self.account.messages_by_id:
            msg_id = self.rng.randint(1000, 99999)
        self._add("messages", list_id, msg_id, wall)
        if self.rng.random() < 0.15 and not self.scene.has_bad_row:
            self.account.tests.add(msg_id)
        if self.rng.random() < 0.04:
            self.account.undated.add(msg_id)
        for stream in MESSAGE_STREAMS:
            if stream in self.selected or self.rng.random() < 0.3:
                for _ in range(self.rng.randint(0, most)):
                    self._add_event(stream, msg_id)
        return msg_id

    def _add_event(self, stream: str, msg_id: int, since: datetime | None = None) -> None:
        message = self.account.messages_by_id[msg_id]
        wall = message.wall
        if stream != "message_sends":
            since = max(since or wall, wall)
            if self.clock - since <= timedelta(minutes=10):
                return
            wall = self._moment(since, self.clock)
        self._add(stream, message.list_id, msg_id, wall)

    def _add_bad_row(self) -> None:
        """Add messages in the order of the walk, of which many in a row are bad for ever."""
        rng = self.rng
        list_id = next(iter(self.account.lists_by_id))
        bad = rng.choice((1, 12, 12, 30, 90))
        before, after = rng.choice(((0, 4), (4, 0), (3, 3), (0, 0), (9, 1), (1, 9)))
        walls = sorted(
            self._moment(datetime(2026, 2, 3), self.clock) for _ in range(before + bad + after)
        )
        ids = sorted(self._add_message(list_id, wall, most=1) for wall in walls)
        by_walk = sorted(ids) if rng.random() < 0.5 else ids
        struck = frozenset(by_walk[before : before + bad])
        streams = [each for each in self.selected if each in MESSAGE_STREAMS]
        how = rng.choice((*RETRIED, *NOT_RETRIED))
        for stream in streams[: rng.randint(1, 2)]:
            self.faults.append(Fault(f"{bad} bad parts in a row", how, stream, 99, struck))

    # Between runs

    def pass_time(self) -> None:
        """Let the time to the next run pass, with what happens in it."""
        rng, account = self.rng, self.account
        before = self.clock
        self.run += 1
        account.run = self.run
        if self.scene.has_turns or self.scene.dead:
            hours = rng.choice((24, 24, 24, 24, 1, 48, 24 * 9 if self.scene.has_turns else 24))
            self.clock += timedelta(hours=hours)
        else:
            minutes = rng.choice((7, 5 * 60, 24 * 60, 24 * 60, 48 * 60))
            self.clock += timedelta(minutes=minutes * rng.randint(1, 2))
        since = before - LATE + timedelta(minutes=5) if rng.random() < 0.5 else before
        if not self.scene.dead:
            for _ in range(rng.choice((0, 0, 1, 2))):
                list_id = rng.choice(sorted(account.lists_by_id))
                self._add_message(list_id, self._moment(since, self.clock), most=2)
        dead = {each.stream for each in self.faults if self.scene.dead}
        for _ in range(rng.randint(0, 8)):
            stream = rng.choice((*self.selected, *EVENT_STREAMS))
            known = sorted(account.messages_by_id)
            if stream == "message_sends":  # a message goes out over the day after its SendDate
                known = [each for each in known
                         if account.messages_by_id[each].wall > before - SEND_HOURS]  # fmt: skip
            if stream in MESSAGE_STREAMS and stream not in dead and known:
                self._add_event(stream, rng.choice(known), since)
        for _ in range(rng.randint(0, 2)):
            list_id = rng.choice(sorted(account.lists_by_id))
            self._add("subscribed_contacts", list_id, None, self._moment(since, self.clock))
        if self.scene.dead or self.scene.has_bad_row:
            return
        if rng.random() < 0.08:
            self._add_list()
        self._move_contacts()
        self._change_what_is_seen()
        self._change_options()

    def _move_contacts(self) -> None:
        rng, account = self.rng, self.account
        contacts = account.rows_of["subscribed_contacts"]
        for row in rng.sample(contacts, min(len(contacts), 2)):
            if row in account.left:
                account.come_back(row, self.run)
            elif rng.random() < 0.3:
                account.leave(row)
            elif rng.random() < 0.3:
                account.change_address(row, self.run)

    def _change_what_is_seen(self) -> None:
        rng, account = self.rng, self.account
        for number, hidden, share in (
            *((each, account.revoked, 0.08) for each in sorted(account.lists_by_id)),
            *((each, account.absent, 0.04) for each in sorted(account.messages_by_id)),
        ):
            what = f"list {number}" if hidden is account.revoked else f"message {number}"
            if number in hidden:
                # Not for so long that the tap may drop what it has set aside of it.
                is_long = self.clock - self._hidden_since[number] > timedelta(days=15)
                if rng.random() < 0.5 or is_long:
                    hidden.discard(number)
                    for row in account.all_rows():
                        if number in (row.list_id, row.msg_id):
                            row.shown_since = self.run
                    self.tell(f"  {what} is seen again")
            elif rng.random() < share and (
                hidden is account.absent or len(account.visible_lists()) > 1
            ):
                hidden.add(number)
                self._hidden_since[number] = self.clock
                self.tell(f"  {what} is hidden")
        if rng.random() < 0.2:
            account.page_size = rng.randint(1, 4)
        account.changed()

    def _change_options(self) -> None:
        rng = self.rng
        if rng.random() < 0.25 and not (self.scene.dead or self.scene.has_bad_row):
            self.selected = self._choose_streams()
        choices: list[tuple[str, Any]] = [
            ("start_date", _text(rng.choice(START_DATES))),
            ("timezone", rng.choice(ZONES)),
            ("list_ids", self._choose_lists()),
            ("include_test_messages", rng.random() < 0.5),
            ("interval_days", rng.choice((10, 30, 365))),
            ("keep_every_event", rng.random() < 0.5),
            ("concurrency", rng.choice((1, 4))),
            ("lookback_days", rng.choice((1, 2, 3))),
        ]
        if not (self.scene.dead or self.scene.has_bad_row):
            self.config.update(rng.sample(choices, rng.choice((0, 0, 1, 2))))
        if self.scene.has_turns and rng.random() < (0.15 if self.run else 1):
            self.config["recent_days"] = rng.choice((None, 1, 3, 3, 5, 10))
            self.config["older_every_days"] = rng.choice((2, 3, 5, 7, 10))
        if self.scene.has_mirror:
            self.config["list_ids"] = None
            if not self.run or rng.random() < 0.2:
                names = ("lists", "messages", "subscribed_contacts")
                self.config["mirror"] = rng.sample(names, rng.randint(0 if self.run else 1, 3))
        visible = set(self.account.visible_lists())
        if not visible & set(self.config.get("list_ids") or visible):
            self.config["list_ids"] = None

    def _choose_streams(self) -> list[str]:
        least, most = self.scene.streams
        names = list(STREAMS)
        if self.scene.has_turns or self.scene.has_bad_row or self.scene.dead:
            names = [*MESSAGE_STREAMS, *["subscribed_contacts"] * self.scene.has_turns]
        count = min(self.rng.randint(least, most), self.rng.randint(least, most))
        chosen = self.rng.sample(names, min(count, len(names)))
        if self.scene.has_mirror and self.rng.random() < 0.7:
            chosen = list({*chosen, "subscribed_contacts"})
        return [each for each in STREAMS if each in chosen]

    def _choose_lists(self) -> list[int] | None:
        if self.rng.random() < 0.4:
            return None
        known = self.account.visible_lists()
        return self.rng.sample(known, self.rng.randint(1, len(known)))

    # What goes wrong

    def choose_faults(self) -> None:
        """Choose what goes wrong tonight, besides what still does."""
        rng = self.rng
        self.outage, self.skew, self.sends_date = None, timedelta(), rng.random() < 0.7
        if self.scene.dead or self.scene.has_bad_row:
            return
        if rng.random() < 0.12:
            hours = rng.choice((-6, -2, 1, 3)) if not self.sends_date else rng.choice((-6, 3, 50))
            self.skew = timedelta(hours=hours)
            return
        if not self.faults and rng.random() < 0.3:
            if rng.random() < 0.3:
                self.outage = Outage(rng.randint(2, 30), rng.choice((60.0, 3600.0)))
            else:
                self.faults.append(draw_blip(rng))
        elif not any(not each.is_lasting for each in self.faults):
            for _ in range(rng.choice((0, 0, 1, 1, 2))):
                poison = self._moment(FIRST_ROWS, self.clock)
                self.faults.append(draw_lasting(rng, self.account, self.selected, poison))

    def end_night(self) -> None:
        """Let faults pass whose nights are over."""
        for each in self.faults:
            each.nights -= 1
        self.faults = [each for each in self.faults if each.nights > 0]

    def heal(self) -> None:
        """Let everything be seen, selected and answered."""
        rng, account = self.rng, self.account
        self.run += 1
        self.clock += timedelta(hours=30)
        self.faults.clear()
        self.outage, self.skew, self.sends_date = None, timedelta(), True
        for row in account.all_rows():
            if not account.shows(row) and row not in account.left:
                row.shown_since = self.run
        account.revoked.clear()
        account.absent.clear()
        account.changed()
        kept = ("start_date", "include_test_messages") if rng.random() < 0.5 else ()
        self.config = {
            "start_date": _text(START_DATES[0]),
            **{key: self.config[key] for key in kept if key in self.config},
        }
        self.selected = [each for each in STREAMS if each in self.selected or rng.random() < 0.5]
        self.tell("All is seen, nothing fails:")

    def describe_options(self) -> str:
        """Return what differs from the defaults."""
        options = {key: value for key, value in self.config.items() if key != "start_date"}
        return f"from {self.config['start_date'][:10]}, {json.dumps(options)}"


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
