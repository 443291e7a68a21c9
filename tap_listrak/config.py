"""Config files and variables, read into a frozen Config or refused with the key's name."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytz
from pytz import BaseTzInfo

from tap_listrak import __version__
from tap_listrak.dates import parse_instant
from tap_listrak.errors import UsageError

LOGGER = logging.getLogger(__name__)

# The streams that `mirror` may name: those that Listrak gives as they are now.
MIRRORABLE = ("lists", "messages", "subscribed_contacts")
LISTRAK_WSDL = "https://webservices.listrak.com/v31/IntegrationService.asmx?wsdl"

# In place of a file's name: the environment.
ENVIRONMENT = "ENV"
_PREFIX = "TAP_LISTRAK_"
# Of the same prefix, but no keys of the config; see logs.py.
LEVEL_VARIABLE = f"{_PREFIX}LOGLEVEL"
FORMAT_VARIABLE = f"{_PREFIX}LOG_FORMAT"


@dataclass(frozen=True)
class Config:
    """What the user asked for; each field is the key of that name in the config file."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    start_date: datetime
    wsdl_url: str
    interval_days: int
    request_timeout: int
    concurrency: int
    timezone: BaseTzInfo
    lookback_days: int
    list_ids: frozenset[int] | None
    include_test_messages: bool
    activity_window_days: int | None
    recent_days: int | None
    older_every_days: int
    mirror: frozenset[str]
    keep_every_event: bool
    typed_event_dates: bool
    user_agent: str

    @property
    def service_url(self) -> str:
        """The address to call: that of the WSDL, without its query."""
        return urlunsplit(urlsplit(self.wsdl_url)._replace(query="", fragment=""))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _header(value: Any) -> str:
    if not (_text(value).isascii() and value.isprintable()):
        raise ValueError
    return str(value)


def _secret(value: Any) -> str:
    # XML 1.0 has no way to write control characters, so they could not be sent.
    if not _text(value).isprintable():
        raise ValueError
    return str(value)


def _instant(value: Any) -> datetime:
    return parse_instant(_text(value).strip())


def _zone(value: Any) -> BaseTzInfo:
    try:
        zone: BaseTzInfo = pytz.timezone(_text(value).strip())
    except pytz.UnknownTimeZoneError as unknown:
        raise ValueError from unknown
    return zone


def _boolean(value: Any) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, float) or word not in words:
        raise ValueError
    return words[word]


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError
    if isinstance(value, str) and not (value.isascii() and value.strip().isdecimal()):
        raise ValueError
    return int(value)


def _between(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _integer(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _parts(value: Any) -> list[Any]:
    """Return the items of an array, or of a text that separates them by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.strip(" []").split(",") if part.strip()]
    if not isinstance(value, list):
        raise ValueError
    return value


def _identifiers(value: Any) -> frozenset[int]:
    parts = [value] if isinstance(value, int) else _parts(value)
    if not parts:
        raise ValueError
    return frozenset(_between(1, 2**31 - 1)(part) for part in parts)


def _mirrored(value: Any) -> frozenset[str]:
    names = [name.strip("\"' ") if isinstance(name, str) else name for name in _parts(value)]
    if not all(name in MIRRORABLE for name in names):
        raise ValueError
    return frozenset(names)


def _address(value: Any) -> str:
    parts = urlsplit(_text(value).strip())
    if parts.username is not None or parts.password is not None or not parts.hostname:
        raise ValueError
    if any(character.isspace() for character in urlunsplit(parts)):
        raise ValueError
    _ = parts.port  # raises ValueError where it is no number
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError
    return urlunsplit(parts)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Kind(NamedTuple):
    """What a value may be: how it is read (or ValueError), in words, and as JSON Schema."""

    read: Callable[[Any], Any]
    expected: str
    schema: dict[str, Any]


def _whole(least: int, most: int) -> Kind:
    return Kind(
        _between(least, most),
        f"a whole number from {least} to {most}",
        {"type": "integer", "minimum": least, "maximum": most},
    )


_SECRET = Kind(
    _secret,
    "text without line breaks or other control characters",
    {"type": "string", "secret": True, "writeOnly": True},
)
_BOOLEAN = Kind(_boolean, "true or false", {"type": "boolean"})


class Option(NamedTuple):
    """One key of the config file: what it takes, its default, and what it is for."""

    kind: Kind
    default: Any
    description: str


REQUIRED = object()

OPTIONS: dict[str, Option] = {
    "username": Option(_SECRET, REQUIRED, "Listrak user name"),
    "password": Option(_SECRET, REQUIRED, "that user's password"),
    "start_date": Option(
        Kind(
            _instant,
            "an ISO 8601 date or date-time that is not in the future, such as 2025-01-01T00:00:00Z",
            {"type": "string", "format": "date-time"},
        ),
        REQUIRED,
        "how far back the first sync goes; without an offset it is UTC",
    ),
    "wsdl_url": Option(
        Kind(
            _address,
            "an https address without a user name in it (http only on this machine itself)",
            {"type": "string", "format": "uri"},
        ),
        LISTRAK_WSDL,
        "another address of the service, such as a test double",
    ),
    "interval_days": Option(
        _whole(1, 3650), 365, "longest date window, in days, in which messages are asked for"
    ),
    "request_timeout": Option(
        _whole(1, 3600), 300, "seconds for one whole reply, from connecting to its last byte"
    ),
    "concurrency": Option(_whole(1, 32), 4, "requests under way at once"),
    "timezone": Option(
        Kind(
            _zone,
            "the name of a time zone, such as UTC or America/New_York",
            {"type": "string"},
        ),
        "UTC",
        "zone of the times that Listrak gives without an offset",
    ),
    "lookback_days": Option(
        _whole(1, 365),
        1,
        "how far before its bookmark each stream is asked again, for rows that arrive late",
    ),
    "list_ids": Option(
        Kind(
            _identifiers,
            "at least one ListID, in an array or separated by commas",
            {"type": ["array", "string"], "items": {"type": "integer"}},
        ),
        None,
        "only these lists; also how one account is split over several runs",
    ),
    "include_test_messages": Option(_BOOLEAN, True, "whether test messages are synced, too"),
    "activity_window_days": Option(
        _whole(1, 3650),
        None,
        "ask for events only of messages sent at most so many days before the bookmark, and not "
        "of all since start_date",
    ),
    "recent_days": Option(
        _whole(1, 3650),
        None,
        "ask messages sent at most so many days ago in every run, older ones in turns; unset: all "
        "in every run",
    ),
    "older_every_days": Option(
        _whole(2, 90), 7, "with recent_days, ask each older message once in so many days"
    ),
    "mirror": Option(
        Kind(
            _mirrored,
            f"streams among {', '.join(MIRRORABLE)}, in an array or separated by commas",
            {"type": ["array", "string"], "items": {"type": "string", "enum": list(MIRRORABLE)}},
        ),
        None,
        "streams that are given whole in each run, so that the target can delete what has gone",
    ),
    "keep_every_event": Option(
        _BOOLEAN, False, "whether each open, click, read and bounce is a row, not one a contact"
    ),
    "typed_event_dates": Option(
        _BOOLEAN, False, "whether the dates of events are date-times in UTC, not text"
    ),
    "user_agent": Option(
        Kind(_header, "printable ASCII text", {"type": "string"}),
        f"tap-listrak/{__version__}",
        "how the tap names itself to Listrak",
    ),
}


def variable_of(key: str) -> str:
    """Return the name of the variable that holds a key with `--config ENV`."""
    return f"{_PREFIX}{key.upper()}"


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the config that the environment holds; an empty variable is no value.

    A variable of the prefix that is no key's stands under its whole name, as an unknown key.
    """
    keys = {variable_of(key): key for key in OPTIONS}
    return {
        keys.get(name, name): value
        for name, value in environ.items()
        if name.startswith(_PREFIX) and value and name not in (LEVEL_VARIABLE, FORMAT_VARIABLE)
    }


def merge_configs(parts: Iterable[tuple[str, object]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge configs, each with its file's name or ENVIRONMENT; later ones win key by key.

    Return the values, and by key where each is from. Raises UsageError naming the file that holds
    no JSON object.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, part in parts:
        if not isinstance(part, Mapping):
            raise UsageError(f"The config file {name} must hold a JSON object; see --help.")
        values.update(part)
        for key in part:
            from_variable = f"the variable {variable_of(str(key))}"
            sources[key] = from_variable if name == ENVIRONMENT else f"the file {name}"
    return values, sources


def parse_config(
    raw: Mapping[str, Any], now: datetime, sources: Mapping[str, str] | None = None
) -> Config:
    """Read merged configs; `now` is an instant. Raises UsageError naming the key and its source.

    Values may be strings, as Stitch passes all of them. Unknown keys are ignored, and an optional
    key that is null or "" takes its default.
    """
    unknown = sorted(map(str, raw.keys() - OPTIONS.keys()))
    if unknown:
        LOGGER.info("The config has keys that are not this tap's, ignored: %s.", ", ".join(unknown))
    values: dict[str, Any] = {}
    for key, option in OPTIONS.items():
        given = raw.get(key)
        if given is None or given == "":
            if option.default is REQUIRED:
                raise UsageError(
                    f"The config lacks `{key}`: it takes {option.kind.expected}. Add it to a config"
                    f" file, or set {variable_of(key)} and give --config {ENVIRONMENT} as well."
                )
            given = option.default
        try:
            values[key] = None if given is None else option.kind.read(given)
            if key == "start_date" and values[key] > now:
                raise ValueError
        except ValueError as exc:
            source = (sources or {}).get(key, "the config")
            raise UsageError(
                f"The config's `{key}` takes {option.kind.expected}; {source} holds something else."
            ) from exc
    values["mirror"] = values["mirror"] or frozenset()
    if values["mirror"] and values["list_ids"]:
        raise UsageError(
            "The config's `mirror` cannot go with `list_ids`: the target would delete the rows of "
            "all other lists."
        )
    return Config(**{each.name: values[each.name] for each in fields(Config)})
