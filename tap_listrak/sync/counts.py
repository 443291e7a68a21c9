"""Remember the counts of messages in a Bloom filter, to find those that have changed. Pure.

A filter takes 10 bits per message, up to MAX_BYTES. It never reports a known count as new. It
reports a new count as known in 1 of 100 cases, or 1 of 32 if it holds MAX_MESSAGES.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

MAX_MESSAGES = 10_000
MAX_BYTES = 9_000  # 12,000 characters in base64
_BITS_PER_MESSAGE = 10
_HASHES = 5


class Count(NamedTuple):
    """The count of a message for one stream, such as its OpenCount."""

    sent: datetime
    msg_id: int
    value: int


class NewestCounts:
    """The counts of the most recently sent messages, up to MAX_MESSAGES."""

    def __init__(self) -> None:
        self._counts: list[Count] = []

    def __iter__(self) -> Iterator[Count]:
        return iter(self._counts)

    def add(self, count: Count) -> None:
        """Add the count of a message."""
        self._counts.append(count)
        if len(self._counts) > 2 * MAX_MESSAGES:
            self._trim()

    def _trim(self) -> None:
        # Keep one more than a filter holds: other messages of its date may be missing.
        self._counts = sorted(self._counts, reverse=True)[: MAX_MESSAGES + 1]

    def build_filter(self) -> tuple[datetime, bytes] | None:
        """Return a SendDate, and a filter of all messages sent since then."""
        self._trim()
        counts = self._counts
        if len(counts) > MAX_MESSAGES:
            counts = [each for each in counts if each.sent > counts[-1].sent]
        return (counts[-1].sent, filter_of(counts)) if counts else None


def filter_of(counts: Iterable[Count]) -> bytes:
    """Return a Bloom filter of these counts."""
    pairs = [(each.msg_id, each.value) for each in counts]
    bits = bytearray(min(MAX_BYTES, 1 + len(pairs) * _BITS_PER_MESSAGE // 8))
    for pair in pairs:
        for position in _positions(*pair, len(bits)):
            bits[position // 8] |= 1 << position % 8
    return bytes(bits)


def is_known(bits: bytes, msg_id: int, count: int) -> bool:
    """Return whether a filter holds a message with this count."""
    return all(bits[at // 8] >> at % 8 & 1 for at in _positions(msg_id, count, len(bits)))


def _positions(msg_id: int, count: int, size: int) -> Iterator[int]:
    """Yield the bits of a message in a filter of `size` bytes."""
    digest = blake2b(f"{msg_id} {count}".encode(), digest_size=4 * _HASHES).digest()
    for first in range(0, len(digest), 4):
        yield int.from_bytes(digest[first : first + 4], "big") % (8 * size)
