"""What a seed makes of a history: its account, and what changes and goes wrong between runs."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.histories.account import COUNTS, EVENT_STREAMS, MESSAGE_STREAMS, STREAMS, MadeUpAccount
from tests.histories.faults import NOT_RETRIED, RETRIED, Fault, Outage, draw_blip, draw_lasting

START_DATES: Final = (datetime(2026, 1, 10), datetime(2026, 1, 20), datetime(2026, 2, 1))
FIRST_ROWS: Final = datetime(2026, 1, 4)
FIRST_RUN: Final = datetime(2026, 2, 12, 9)
LATE: Final = timedelta(hours=5)
"""How long after its date a row arrives at most."""
ZONES_APART: Final = timedelta(hours=16)
"""More than the time zones of a config."""
SEND_HOURS: Final = timedelta(hours=28)
"""How long after its SendDate a message goes out at most."""
LONG_OUTAGE: Final = 3600
"""In seconds: longer than a run waits for the service."""
MIRRORED: Final = ("lists", "messages", "subscribed_contacts")
OPTIONS: Final[Mapping[str, Any]] = {
    "timezone": "UTC",
    "list_ids": None,
    "include_test_messages": True,
    "recent_days": None,
    "older_every_days": 7,
    "mirror": [],
}


@dataclass(frozen=True)
class Scene:
    """A kind of history.

    nights: least and most runs. messages, contacts: least and most of a list at first. kills: how
    many runs in a hundred are cut off. bad_row: many messages in a row are bad for good, and only
    rows are added.
    """

    share: int
    nights: tuple[int, int] = (3, 7)
    messages: tuple[int, int] = (0, 3)
    contacts: tuple[int, int] = (0, 5)
    lists: tuple[int, int] = (1, 3)
    streams: tuple[int, int] = (1, 9)
    kills: int = 40
    turns: bool = False
    mirror: bool = False
    bad_row: bool = False


SCENES: Final[Mapping[str, Scene]] = {
    "general": Scene(70),
    "turns": Scene(15, nights=(8, 16), lists=(1, 2), streams=(1, 3), kills=20, turns=True),
    "mirror": Scene(15, contacts=(2, 10), lists=(1, 2), mirror=True),
    "bad row": Scene(4, (2, 4), (4, 90), lists=(1, 2), streams=(1, 1), kills=15, bad_row=True),
}


class World:
    """An account, a config and the faults of the night, as they follow from a seed."""

    def __init__(self, seed: int, scene: str | None = None) -> None:
        rng = self.rng = random.Random(seed)
        shares = [each.share for each in SCENES.values()]
        drawn = rng.choices([*SCENES], shares)[0]
        self.name = scene or drawn
        self.scene = SCENES[self.name]
        self.account = MadeUpAccount(
            rng,
            page_size=rng.randint(1, 4),
            bounds=rng.choice(("inclusive", "exclusive", "start")),
            event_dates=rng.choice(("iso", "us")),
        )
        if self.scene.turns:
            self.account.counts = rng.choice(COUNTS)
        self.clock = FIRST_RUN
        self.run = 0
        self.faults: list[Fault] = []
        self.outage: Outage | None = None
        self.skew = timedelta()
        self.sends_date = True
        self.selected = self._choose_streams()
        self.config = {**OPTIONS, "start_date": f"{rng.choice(START_DATES):%F}"}
        self._hidden_since: dict[int, datetime] = {}
        for _ in range(rng.randint(*self.scene.lists)):
            self._add_list()
        if self.scene.bad_row:
            messages = sorted(self.account.messages_by_id)
            first = rng.randrange(len(messages))
            bad = frozenset(messages[first : first + rng.choice((1, 12, 30, 90))])
            how = rng.choice((*RETRIED, *NOT_RETRIED))
            self.faults.append(Fault(how, self.selected[0], 99, bad))
        else:
            self._change_options()

    def __str__(self) -> str:
        clock = f"{self.clock:%m-%d %H:%M}, the clock {self.skew} ahead, Date {self.sends_date}"
        hidden = f"hidden: {[*self._hidden_since]}"
        hidden += f", {self.outage}" if self.outage else ""
        return f"Run {self.run} at {clock}, {self.config}, of {self.selected}, {hidden}"

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

    def _new_id(self, first: int, last: int) -> int:
        taken = {*self.account.list_ids, *self.account.messages_by_id}
        return next(iter(set(self.rng.sample(range(first, last), 100)) - taken))

    def _add_list(self) -> None:
        list_id = self._new_id(100, 300)
        self.account.add("lists", list_id, None, FIRST_ROWS)
        for _ in range(self.rng.randint(*self.scene.contacts)):
            self._add_contact(list_id, FIRST_ROWS)
        first, most = FIRST_ROWS, 3
        if self.scene.bad_row:
            first, most = START_DATES[-1], 1
        for _ in range(self.rng.randint(*self.scene.messages)):
            self._add_message(list_id, self._moment(first, self.clock), most)

    def _add_contact(self, list_id: int, since: datetime) -> None:
        wall = self._moment(since, self.clock)
        self.account.add("subscribed_contacts", list_id, None, wall)

    def _add_message(self, list_id: int, wall: datetime, most: int) -> None:
        msg_id = self._new_id(1000, 99999)
        if self.rng.random() < 0.15 and not self.scene.bad_row:
            self.account.tests.add(msg_id)
        if self.rng.random() < 0.04:
            self.account.undated.add(msg_id)
        self.account.add("messages", list_id, msg_id, wall)
        for stream in MESSAGE_STREAMS:
            if stream in self.selected or self.rng.random() < 0.3:
                for _ in range(self.rng.randint(0, most)):
                    self._add_event(stream, msg_id)

    def _add_event(self, stream: str, msg_id: int, since: datetime | None = None) -> None:
        message = self.account.messages_by_id[msg_id]
        wall = message.wall
        if stream != "message_sends":
            since = max(since or wall, wall)
            if self.clock - since <= timedelta(minutes=10):
                return
            wall = self._moment(since, self.clock)
        self.account.add(stream, message.list_id, msg_id, wall)

    # Between runs

    def pass_time(self) -> None:
        """Let the time to the next run pass, with what happens in it."""
        rng, account, before = self.rng, self.account, self.clock
        self.run = account.run = self.run + 1
        account.version += 1
        if self.scene.turns:
            self.clock += timedelta(hours=rng.choice((24, 24, 24, 24, 1, 48, 24 * 9)))
        else:
            minutes = rng.choice((7, 5 * 60, 24 * 60, 24 * 60, 48 * 60))
            self.clock += timedelta(minutes=minutes * rng.randint(1, 2))
        since = before - LATE + timedelta(minutes=5) if rng.random() < 0.5 else before
        for _ in range(rng.choice((0, 0, 1, 2))):
            self._add_message(rng.choice(account.list_ids), self._moment(since, self.clock), 2)
        for _ in range(rng.randint(0, 8)):
            stream = rng.choice((*self.selected, *EVENT_STREAMS))
            # A message goes out over the day after its SendDate.
            known = sorted(
                msg_id
                for msg_id, row in account.messages_by_id.items()
                if stream != "message_sends" or row.wall > before - SEND_HOURS
            )
            if stream in MESSAGE_STREAMS and known:
                self._add_event(stream, rng.choice(known), since)
        for _ in range(rng.randint(0, 2)):
            self._add_contact(rng.choice(account.list_ids), since)
        if self.scene.bad_row:
            return
        if rng.random() < 0.08:
            self._add_list()
        contacts = account.rows_of["subscribed_contacts"]
        for row in rng.sample(contacts, min(len(contacts), 2)):
            if row in account.left:
                account.come_back(row)
            elif rng.random() < 0.3:
                account.leave(row)
            elif rng.random() < 0.3:
                account.change_address(row)
        self._change_what_is_seen()
        self._change_options()

    def _change_what_is_seen(self) -> None:
        rng, account = self.rng, self.account
        for ID, since in [*self._hidden_since.items()]:
            # Not for so long that the tap may drop what it has set aside of it.
            if rng.random() < 0.5 or self.clock - since > timedelta(days=15):
                account.show(ID)
                del self._hidden_since[ID]
        lists = rng.sample(account.visible_lists, len(account.visible_lists) - 1)
        for ID in (*lists, *sorted(account.messages_by_id.keys() - account.absent)):
            if rng.random() < 0.05:
                account.hide(ID)
                self._hidden_since[ID] = self.clock
        if rng.random() < 0.2:
            account.page_size = rng.randint(1, 4)
            account.version += 1

    def _change_options(self) -> None:
        rng, config, visible = self.rng, self.config, self.account.visible_lists
        if rng.random() < 0.25:
            self.selected = self._choose_streams()
        some = rng.sample(visible, rng.randint(1, len(visible)))
        choices: dict[str, Any] = {
            "start_date": f"{rng.choice(START_DATES):%F}",
            "timezone": rng.choice(("UTC", "America/New_York", "Asia/Tokyo")),
            "list_ids": rng.choice((None, some)),
            "include_test_messages": rng.random() < 0.5,
            "interval_days": rng.choice((10, 30, 365)),
            "keep_every_event": rng.random() < 0.5,
            "concurrency": rng.choice((1, 4)),
            "lookback_days": rng.choice((1, 2, 3)),
        }
        config.update(rng.sample([*choices.items()], rng.choice((0, 0, 1, 2))))
        if self.scene.turns and rng.random() < (0.15 if self.run else 1):
            config["recent_days"] = rng.choice((None, 1, 3, 3, 5, 10))
            config["older_every_days"] = rng.choice((2, 3, 5, 7, 10))
        if self.scene.mirror:
            config["list_ids"] = None
            if not self.run or rng.random() < 0.2:
                config["mirror"] = rng.sample(MIRRORED, rng.randint(0 if self.run else 1, 3))
        if not self.lists:
            config["list_ids"] = None

    def _choose_streams(self) -> list[str]:
        least, most = self.scene.streams
        names = [*STREAMS]
        if self.scene.turns or self.scene.bad_row:
            names = [*MESSAGE_STREAMS, *["subscribed_contacts"] * self.scene.turns]
        count = min(self.rng.randint(least, most), self.rng.randint(least, most))
        chosen = {*self.rng.sample(names, min(count, len(names)))}
        if self.scene.mirror and self.rng.random() < 0.7:
            chosen.add("subscribed_contacts")
        return [each for each in STREAMS if each in chosen]

    # What a run owes depends on these

    @property
    def end(self) -> datetime:
        """When a run begins, by the clock that its ranges must end by."""
        is_limited = self.skew > timedelta(minutes=1) and self.sends_date
        end = self.clock + (timedelta() if is_limited else self.skew)
        return end.replace(tzinfo=timezone.utc)

    @property
    def end_wall(self) -> datetime:
        """The same in the zone of the config."""
        return self._wall(self.end)

    @property
    def start(self) -> datetime:
        """The start_date, in the zone of the config."""
        return self._wall(datetime.fromisoformat(f"{self.config['start_date']}T00:00:00+00:00"))

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.config["timezone"])).replace(tzinfo=None)

    @property
    def lists(self) -> set[int]:
        """The lists that are requested."""
        visible = {*self.account.visible_lists}
        return visible & {*(self.config["list_ids"] or visible)}

    @property
    def turns(self) -> tuple[int | None, str]:
        """The options that the turns of contacts depend on."""
        takes_turns = self.config["recent_days"] is not None
        return self.config["older_every_days"] if takes_turns else None, self.config["timezone"]

    @property
    def may_end_early(self) -> bool:
        """Whether something goes wrong that is no one stream's."""
        is_long = self.outage is not None and self.outage.seconds == LONG_OUTAGE
        return is_long or any(
            each.is_lasting and each.stream in (None, "lists") for each in self.faults
        )

    def bad_parts(self, stream: str) -> int:
        """Return how many parts of a stream are bad; many where none is named."""
        faults = [each for each in self.faults if each.is_lasting and each.stream == stream]
        return sum(1000 if each.ids is None else len(each.ids) for each in faults)

    # What goes wrong

    def choose_faults(self) -> None:
        """Choose what goes wrong tonight, besides what still does."""
        rng = self.rng
        self.outage, self.skew, self.sends_date = None, timedelta(), rng.random() < 0.7
        if self.scene.bad_row:
            return
        if rng.random() < 0.12:
            hours = rng.choice((-6, -2, 1, 3)) if not self.sends_date else rng.choice((-6, 3, 50))
            self.skew = timedelta(hours=hours)
        elif not self.faults and rng.random() < 0.1:
            self.outage = Outage(rng.randint(2, 30), rng.choice((60, LONG_OUTAGE)))
        elif not self.faults and rng.random() < 0.3:
            self.faults.append(draw_blip(rng))
        elif all(each.is_lasting for each in self.faults):
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
        self.run = account.run = self.run + 1
        self.clock += timedelta(hours=30)
        self.faults.clear()
        self.outage, self.skew, self.sends_date = None, timedelta(), True
        for ID in self._hidden_since:
            account.show(ID)
        kept = ("start_date", "include_test_messages") if rng.random() < 0.5 else ()
        self.config = {
            **OPTIONS,
            "start_date": f"{START_DATES[0]:%F}",
            **{key: self.config[key] for key in kept},
        }
        self.selected = [each for each in STREAMS if each in self.selected or rng.random() < 0.5]
