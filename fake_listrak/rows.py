"""Made-up rows of every table: what is not given follows from the contract and a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from types import EllipsisType
from typing import Any, Final, Literal, TypeAlias

from fake_listrak.clock import DAY, NEVER, SECOND, Zone, instant, write_iso, write_us
from fake_listrak.contract import OPERATIONS, PASSALONGS, Row, Value

Field: TypeAlias = Value | EllipsisType
"""A value for an element; `...` omits the element."""

_MASK: Final = 2**64 - 1
_FIRST_NAMES: Final = ("ana", "bo", "chidi", "dagny", "emeka", "fumiko", "george", "hana", "ines")
_LAST_NAMES: Final = ("abel", "o'brien", "costa", "duarte", "eriksen", "fischer", "garcia")
_HOSTS: Final = ("example.com", "example.org", "mail.example.net", "example.co.uk")
TEXTS: Final = (
    "Save 20% on <everything> & more",
    'He said "yes" \u2014 it\'s on',
    "Été à Paris : déjà -50 %",
    "夏のセール、始まります",
    "\U0001f389 Two days left \U0001f600",
    "Columns\tby tab & 'quotes'",
    "First line\r\nSecond line",
    " Padded on both sides ",
    "]]> &amp; <!-- not markup -->",
)
"""Texts that are hard to read or to write."""
LINKS: Final = (
    "https://www.example.com/shop?utm_source=listrak&utm_medium=email",
    "https://www.example.com/s?q=\"a b\"&lt=<1>&x='y'",
    "https://www.example.com/%C3%A9t%C3%A9?page=2#début",
    "https://www.example.com/日本語/",
    "https://www.example.com/a;b=c,d?e=f%20g+h",
)
VMTAS: Final[tuple[Field, ...]] = (
    {"VmtaID": "7", "Description": "Pool <A> & é"},
    {"VmtaID": "8"},
    ...,
)
"""What the Vmta of a list may be, in turn."""
_ODD_TEXTS: Final[tuple[Field, ...]] = (*TEXTS, "", None, ...)
_VALUES: Final[Mapping[str, tuple[Field, ...]]] = {
    "ListName": TEXTS,
    "GoogleTrackingDomains": (["www.example.com", "shop.example.com?a=b&c=<d>"], [], ["a.example"]),
    "LinkUrl": LINKS,
    "LinkURL": LINKS,
    "boolean": ("false", "true"),
    "double": ("0", "33.333333333333336", "1E-05", "12.5", "100", "0.1", "66.66666666666667"),
}
"""What an element may hold, by its name or type."""


def mix(*numbers: int) -> int:
    """Return 64 well-mixed bits that depend on nothing but `numbers`."""
    bits = 0
    for number in numbers:
        bits = ((bits ^ number) + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
    return bits


def number_of(text: str) -> int:
    """Return an xs:int that is not negative and follows from a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


SALTS: Final = {operation: number_of(operation) for operation in OPERATIONS}
"""A number for each operation, so that rows of two have nothing in common."""


@dataclass(frozen=True)
class RowMaker:
    """Makes rows of an account. offsets, event_dates: as in Account."""

    seed: int
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
        """Return the text on the wire of a date that a caller gave."""
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
        return f"{_FIRST_NAMES[first]}.{_LAST_NAMES[last]}{person}@{_HOSTS[bits % len(_HOSTS)]}"

    def name(self, ID: int) -> Field:
        """Return the subject or name of what has an ID: the same in all rows."""
        return _ODD_TEXTS[mix(self.seed, ID) % len(_ODD_TEXTS)]

    def row(
        self,
        operation: str,
        moment: int,
        bits: int,
        known: Mapping[str, Field],
        email: str = "",
        fields: Mapping[str, Field] | None = None,
    ) -> Row:
        """Return a row of an operation, in the contract's order.

        moment: the instant of its date. bits: what made-up values follow from. known: values by
        element; those that the row has no element for are ignored. email: whom it is about.
        fields: values that a caller chose; elements that the contract lacks come last.
        """
        kind = OPERATIONS[operation]
        prefix = "From" if operation == PASSALONGS else ""
        fields = fields or {}
        given = {f"{prefix}EmailAddress": email, **known, **fields}
        row: dict[str, Any] = {}
        for place, (name, of_type) in enumerate(kind.columns.items()):
            if name in given:
                row[name] = given[name]
            elif name == kind.date:
                row[name] = self.write(moment, of_type == "string")
            elif name == f"{prefix}ContactID":
                row[name] = _contact_id(email, of_type)
            elif of_type == "int" and name in kind.key:
                row[name] = str((bits >> place) % 2**31)
            else:
                # Of a product, so that two columns have nothing in common.
                row[name] = self._made_up(name, of_type, bits * (2 * place + 1) >> 17, moment)
        row |= {name: value for name, value in fields.items() if name not in row}
        return {name: value for name, value in row.items() if value is not ...}

    def _made_up(self, name: str, of_type: str, bits: int, moment: int) -> Field:
        if of_type == "int":
            return str(bits % 1000)
        if of_type == "decimal":
            return f"{bits % 10**9 / 10**4:.{2 + bits % 4}f}"
        if name.endswith("Date"):
            if bits % 5 == 0:
                return NEVER if of_type == "dateTime" else ("", None, ...)[bits % 3]
            away = bits % (100 * DAY) // SECOND * SECOND
            return self.write(moment + (away if name == "EndDate" else -away), of_type == "string")
        if name.endswith("EmailAddress"):
            return f"{name[:-12].lower()}+{bits % 10_000}@example.net"
        values = _VALUES.get(name) or _VALUES.get(of_type, _ODD_TEXTS)
        return values[bits % len(values)]


def _contact_id(email: str, of_type: str) -> str:
    """Return the ContactID of an address: the same in every list and message."""
    if of_type == "int":
        return str(number_of(email))
    return blake2b(email.encode(), digest_size=8).hexdigest()
