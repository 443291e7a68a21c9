"""What follows from a seed: numbers, texts, addresses, and rows found by their number."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from math import gcd
from types import EllipsisType
from typing import Final, Literal, NamedTuple, TypeAlias

from fake_listrak.clock import Range, Timeline, Zone, instant, write_iso, write_us
from fake_listrak.contract import ID_OF, OPERATIONS, Row, Value

Field: TypeAlias = Value | EllipsisType
"""A value for an element; `...` omits the element."""

_MASK: Final = 2**64 - 1
_DIGITS: Final = re.compile(r"\d+(?=@)", re.ASCII)
# Order in which rows of neighbouring dates are served, so that no one can rely on any.
_SHUFFLE: Final = (3, 0, 6, 1, 7, 4, 2, 5)
SALTS: Final = {
    operation: int.from_bytes(blake2b(operation.encode(), digest_size=8).digest(), "big")
    for operation in OPERATIONS
}
"""A number for each operation, so that rows of two have nothing in common."""

_FIRST_NAMES: Final = ("ana", "bo", "chidi", "dagny", "emeka", "fumiko", "george", "hana", "ines")
_LAST_NAMES: Final = ("abel", "o'brien", "costa", "duarte", "eriksen", "fischer", "garcia")
_HOSTS: Final = ("example.com", "example.org", "mail.example.net", "example.co.uk")
SUBJECTS: Final = (
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
LIST_NAMES: Final = (
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
BOUNCES: Final = (
    ("Hard Bounce", "550 5.1.1 <ana@example.com>: Recipient address rejected:\r\n\tUser unknown"),
    ("Soft Bounce", 'smtp;452 4.2.2 "over quota" & full'),
    ("Blocked", "554 Messages from é\u00a0\U0001f6ab rejected\n(see 'policy')"),
    ("Auto Reply", ""),
    ("", "421 4.4.0 timed out"),
)


def mix(*numbers: int) -> int:
    """64 well-mixed bits that depend on nothing but `numbers`."""
    bits = 0
    for number in numbers:
        bits = ((bits ^ number) + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
    return bits


def coprime(size: int, least: int) -> int:
    """The smallest number from `least` on whose multiples visit every remainder of `size`."""
    step = max(least, 2)
    while gcd(step, size) != 1:
        step += 1
    return step


def double(value: float) -> str:
    """A double as .NET Framework writes it."""
    return repr(value).removesuffix(".0").replace("e", "E")


def contact_id(email: str) -> str:
    """The ContactID of an address: the same in every list and message."""
    return blake2b(email.encode(), digest_size=8).hexdigest()


def number_of(text: str) -> int:
    """An xs:int that is not negative and follows from a text, as the ID of what it names."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def percent(part: int, whole: int) -> str:
    """A part in percent as a double, 0 of nothing."""
    return double(100 * part / whole) if whole else "0"


def orders(bits: int, conversions: int) -> tuple[str, str]:
    """What was ordered in all, and on average, as decimals."""
    digits = Decimal(1).scaleb(-2 - (bits >> 16) % 5)
    # Zeros at the end of half of them: a decimal keeps its scale.
    total = Decimal(conversions * ((bits >> 20) % 50_000 * 10 + (bits >> 40 & 1) * 7))
    total = (total / 100).quantize(digits)
    average = total / conversions if conversions else total
    return str(total), str(average.quantize(digits))


def distinct(operation: str, rows: Iterable[Row]) -> int:
    """How many keys the rows of one parent have; a date may be absent, other parts may not."""
    kind = OPERATIONS[operation]
    parent = ID_OF.get(kind.asked_by)
    keys = {tuple(row.get(name) or "" for name in kind.key) for row in rows}
    may_lack = [name in (parent, kind.date) for name in kind.key]
    return sum(all(lack or part for lack, part in zip(may_lack, key)) for key in keys)


class IDs:
    """The IDs of `size` things: `first` and multiples of `step` after it, in no order."""

    def __init__(self, size: int, first: int, step: int) -> None:
        self.size = size
        self._first, self._step = first, step
        if size:
            self._stride = coprime(size, int(size * 0.618))
            self._back = pow(self._stride, -1, size)

    def at(self, place: int) -> int:
        """The ID of the thing at a place, from 0."""
        return self._first + self._step * ((place * self._stride + 1) % self.size)

    def place(self, ID: int) -> int | None:
        """The place of an ID, None if it is none of these."""
        number, rest = divmod(ID - self._first, self._step)
        if rest or not 0 <= number < self.size:
            return None
        return (number - 1) * self._back % self.size


@dataclass(frozen=True)
class Basis:
    """What the rows of all tables of an account follow from."""

    seed: int
    start: int
    end: int
    zone: Zone
    offsets: bool
    """Whether xs:dateTime values carry an offset."""
    event_dates: Literal["iso", "us"]
    """Form of the dates that are xs:string."""
    contacts: int
    """Subscribed contacts of each list."""

    def write(self, moment: int) -> str:
        """An instant as an xs:dateTime of this account."""
        offset = self.zone.write_offset(moment) if self.offsets else ""
        return write_iso(self.zone.wall(moment), offset)

    def write_text(self, moment: int) -> str:
        """An instant as an xs:string of this account."""
        wall = self.zone.wall(moment)
        return write_us(wall) if self.event_dates == "us" else write_iso(wall)

    def text(self, date: datetime | str, wire_text: bool) -> str:
        """The wire text of a date that a caller gave; `wire_text` for an xs:string."""
        if isinstance(date, str):
            return date
        return self.write_text(instant(date)) if wire_text else self.write(instant(date))

    def email(self, person: int) -> str:
        """The address of a person, who may be in several lists."""
        bits = (person * 2_654_435_761 + self.seed >> 7) & 0xFFFFFF
        if person % 17 == 5:
            return f"zoë.müller+news{person}@exämple.com"
        if person % 11 == 3:
            return f"r&d+list{person}@example.com"
        bits, first = divmod(bits, len(_FIRST_NAMES))
        bits, last = divmod(bits, len(_LAST_NAMES))
        host = _HOSTS[bits % len(_HOSTS)]
        return f"{_FIRST_NAMES[first]}.{_LAST_NAMES[last]}{person}@{host}"

    def person(self, email: str) -> int | None:
        """The person of an address, None if nobody has it."""
        digits = _DIGITS.search(email)
        if digits is None or self.email(int(digits[0])) != email:
            return None
        return int(digits[0])

    def first_person(self, list_number: int) -> int:
        """The first subscribed contact of a list. Neighbouring lists share a quarter of theirs."""
        return list_number * (self.contacts * 3 // 4)


def changed(row: Row, fields: Mapping[str, Field]) -> Row:
    """`row` with other values; `...` takes an element out."""
    row = dict(row)
    for name, value in fields.items():
        if isinstance(value, EllipsisType):
            row.pop(name, None)
        else:
            row[name] = value
    return row


class Section(NamedTuple):
    """The requested rows of one parent: at most `size` (None: all), from `skip` on."""

    chosen: Range | None = None
    """Range of walls that the rows' date is in; None for any."""
    skip: int = 0
    size: int | None = None


EVERY: Final = Section()


@dataclass(frozen=True)
class AddedRow:
    """A row added after construction, and its date as a wall; None if it has none to read."""

    row: Row
    wall: int | None


class AddedRows:
    """Rows added after construction; they follow the generated rows of their parent."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self._rows: dict[tuple[str, int], list[AddedRow]] = {}

    def of(self, operation: str, ID: int) -> Sequence[AddedRow]:
        """The rows added for one parent."""
        return self._rows.get((operation, ID), ())

    def number(self, operation: str, ID: int) -> int:
        """What the made-up values of the next row added follow from."""
        return mix(self._basis.seed, SALTS[operation], ID, len(self.of(operation, ID)))

    def add(
        self,
        operation: str,
        ID: int,
        row: Row,
        date: datetime | str | None,
        fields: Mapping[str, Field],
    ) -> None:
        """Add `row` with this date and these values instead of its own."""
        kind = OPERATIONS[operation]
        if kind.date is not None:
            text = None if date is None else self._basis.text(date, kind.date_is_text)
            row = changed(row, {kind.date: ... if text is None else text})
        row = changed(row, fields)
        shown = row.get(kind.date or "")
        wall = self._basis.zone.read(shown) if isinstance(shown, str) else None
        self._rows.setdefault((operation, ID), []).append(AddedRow(row, wall))

    def remove(self, operation: str, ID: int, email: str) -> bool:
        """Take away the rows of an address; whether there were any."""
        rows = self._rows.get((operation, ID), [])
        kept = [added for added in rows if added.row.get("EmailAddress") != email]
        self._rows[operation, ID] = kept
        return len(kept) < len(rows)

    def select(
        self,
        operation: str,
        ID: int,
        section: Section,
        timeline: Timeline,
        make: Callable[[list[int]], list[Row]],
        without: Collection[int] = (),
    ) -> list[Row]:
        """A section of one parent's rows: those that `make` generates, then those added.

        without: ranks that are left out.
        """
        chosen, skip, size = section
        if chosen is None or OPERATIONS[operation].date is None:
            pairs = [(0, timeline.rows)]
        else:
            pairs = timeline.ranks(self._basis.zone, chosen)
        for rank in without:
            pairs = [part for pair in pairs for part in _split(pair, rank)]
        stop = None if size is None else skip + size
        rows = make(served(pairs, skip, stop))
        made = sum(high - low for low, high in pairs)
        added = [
            dict(late.row)
            for late in self.of(operation, ID)
            if chosen is None or chosen.holds(late.wall)
        ]
        return rows + added[max(0, skip - made) : None if stop is None else max(0, stop - made)]


def _split(pair: tuple[int, int], rank: int) -> list[tuple[int, int]]:
    """A [from, to) pair without one rank."""
    low, high = pair
    if not low <= rank < high:
        return [pair]
    return [part for part in ((low, rank), (rank + 1, high)) if part[0] < part[1]]


def served(pairs: list[tuple[int, int]], skip: int, stop: int | None) -> list[int]:
    """Ranks at the places from `skip` to `stop` of the given [from, to) pairs, as served.

    Ranks are shuffled within blocks of eight, so a page is found without its predecessors.
    """
    found: list[int] = []
    for low, high in pairs:
        size = high - low
        begin, finish = min(skip, size), size if stop is None else min(stop, size)
        if begin < finish:
            first, last = (low + begin) // 8, (low + finish - 1) // 8
            block = [
                rank
                for base in range(first * 8, last * 8 + 8, 8)
                for place in _SHUFFLE
                if low <= (rank := base + place) < high
            ]
            drop = low + begin - max(low, first * 8)
            found += block[drop : drop + finish - begin]
        skip = max(0, skip - size)
        stop = None if stop is None else max(0, stop - size)
    return found
