"""Define the config's options, and convert user input to a frozen Config."""

from __future__ import annotations

import difflib
import ipaddress
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_type_hints
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytz
from msgspec import Meta, Struct
from pytz import BaseTzInfo

from tap_listrak import __version__
from tap_listrak.dates import parse_instant
from tap_listrak.errors import UsageError

LOGGER = logging.getLogger(__name__)

Mirrorable = Literal["lists", "messages", "subscribed_contacts"]
# The streams that `mirror` may name.
MIRRORABLE: tuple[str, ...] = get_args(Mirrorable)
LISTRAK_WSDL = "https://webservices.listrak.com/v31/IntegrationService.asmx?wsdl"
# No account has older data, and each window of dates costs a call.
EARLIEST_START = datetime(1990, 1, 1, tzinfo=timezone.utc)

# The value of --config for the environment.
ENVIRONMENT = "ENV"
PREFIX = "TAP_LISTRAK_"
# Variables with this prefix that are not keys of the config; see logs.py.
LEVEL_VARIABLE = f"{PREFIX}LOGLEVEL"
FORMAT_VARIABLE = f"{PREFIX}LOG_FORMAT"


def _printable(given: Any) -> Any:
    # XML 1.0 cannot represent control characters.
    if isinstance(given, str) and not given.isprintable():
        raise ValueError("control characters")
    return given


def _instant(given: Any) -> datetime:
    if not isinstance(given, str):
        raise ValueError("not text")
    return parse_instant(given)


def _zone(given: Any) -> BaseTzInfo:
    if not isinstance(given, str):
        raise ValueError("not text")
    try:
        zone: BaseTzInfo = pytz.timezone(given)
    except pytz.UnknownTimeZoneError as unknown:
        raise ValueError("not a time zone") from unknown
    return zone


def _items(given: Any) -> Any:
    """Accept an array, a JSON array or comma-separated text."""
    if isinstance(given, int) and not isinstance(given, bool):
        return [given]
    if not isinstance(given, str):
        return given
    if given.startswith("["):
        try:
            return json.loads(given)
        except ValueError:
            given = given.removesuffix("]")[1:]
    return [part.strip() for part in given.split(",") if part.strip()]


def _address(given: Any) -> str:
    if not isinstance(given, str) or any(character.isspace() for character in given):
        raise ValueError("not an address")
    parts = urlsplit(given)
    if parts.username is not None or parts.password is not None or not parts.hostname:
        raise ValueError("a user name, or no host")
    _ = parts.port  # raises ValueError if it is not a number
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError("not https")
    return urlunsplit(parts)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kind(takes: str, prepare: Callable[[Any], Any] = lambda given: given, **facts: Any) -> Meta:
    """Describe a type: its values in words, and a function to prepare a value for msgspec."""
    return Meta(extra={"takes": takes, "prepare": prepare}, **facts)


def _range(least: int, most: int) -> Meta:
    return _kind(f"{least} to {most}", ge=least, le=most)


def _secret(takes: str, least: int) -> Meta:
    return _kind(
        f"{takes} without control characters",
        _printable,
        min_length=least,
        extra_json_schema={"secret": True, "writeOnly": True},
    )


Secret = Annotated[str, _secret("text", 1)]
HashKey = Annotated[str, _secret("text of 16 characters or more", 16)]
Instant = Annotated[
    datetime,
    _kind(
        "an ISO 8601 date or date-time, from 1990 to now, such as 2025-01-01T00:00:00Z",
        _instant,
        extra_json_schema={"format": "date-time"},
    ),
]
Address = Annotated[
    str,
    _kind(
        "an https address without a user name; http only on this machine",
        _address,
        extra_json_schema={"format": "uri"},
    ),
]
Zone = Annotated[BaseTzInfo, _kind("a time zone, such as UTC or America/New_York", _zone)]
Days = Annotated[int, _range(1, 3650)]
Flag = Annotated[bool, _kind("true or false")]
ListIDs = Annotated[
    frozenset[Annotated[int, Meta(ge=1, le=2**31 - 1)]],
    _kind("at least one ListID, in an array or separated by commas", _items, min_length=1),
]
Mirrored = Annotated[
    frozenset[Mirrorable],
    _kind(f"any of {', '.join(MIRRORABLE)}, in an array or separated by commas", _items),
]
Patterns = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...],
    _kind("patterns such as message_*, in an array or separated by commas", _items, min_length=1),
]
Header = Annotated[str, _kind("printable ASCII text", pattern="^[ -~]+$")]


class Config(Struct, frozen=True, kw_only=True):
    """The user's options; each field is the key of that name in the config file."""

    username: Annotated[Secret, "Listrak user name"]
    password: Annotated[Secret, "Listrak password"]
    start_date: Annotated[Instant, "date from which the first sync loads; UTC if it has no offset"]
    wsdl_url: Annotated[
        Address, "another address of the service, such as a test double or proxy"
    ] = LISTRAK_WSDL
    interval_days: Annotated[Days, "longest date window of one request for messages, in days"] = 365
    request_timeout: Annotated[
        int, _range(1, 3600), "seconds for a whole reply, from connecting to the last byte"
    ] = 300
    concurrency: Annotated[int, _range(1, 32), "maximum number of simultaneous requests"] = 4
    timezone: Annotated[Zone, "time zone of Listrak's timestamps"] = pytz.utc
    lookback_days: Annotated[
        int, _range(1, 365), "days before its bookmark at which a stream starts, to catch late rows"
    ] = 1
    list_ids: Annotated[ListIDs, "sync only these lists, such as to split an account"] | None = None
    include_test_messages: Annotated[Flag, "whether to sync test messages as well"] = True
    activity_window_days: (
        Annotated[Days, "request events only of messages sent at most N days before the bookmark"]
        | None
    ) = None
    recent_days: (
        Annotated[
            Days, "request messages of the last N days in every run, and older ones in rotation"
        ]
        | None
    ) = None
    older_every_days: Annotated[
        int, _range(2, 90), "with recent_days, request each older message every N days"
    ] = 7
    mirror: Annotated[
        Mirrored, "streams that are reloaded in full, so that the target can delete missing rows"
    ] = frozenset()
    keep_every_event: Annotated[
        Flag, "one row per open, click, read or bounce, not per contact and message"
    ] = False
    typed_event_dates: Annotated[Flag, "event dates as date-times in UTC, not as text"] = False
    email_hash_key: (
        Annotated[HashKey, "secret key for hashing the email addresses of contacts"] | None
    ) = None
    backfill_from: (
        Annotated[Instant, "load what happened since then, and leave the state unchanged"] | None
    ) = None
    backfill_to: (
        Annotated[Instant, "end of the range that begins at backfill_from; if not set, now"] | None
    ) = None
    select: (
        Annotated[
            Patterns,
            "streams and columns to sync without a catalog; --discover marks them as selected",
        ]
        | None
    ) = None
    user_agent: Annotated[Header, "the User-Agent header of requests to Listrak"] = (
        f"tap-listrak/{__version__}"
    )

    def __repr__(self) -> str:
        return f"Config({self.service_url})"  # no secrets

    @property
    def service_url(self) -> str:
        """The address to call: the WSDL's without its query."""
        return urlunsplit(urlsplit(self.wsdl_url)._replace(query="", fragment=""))


class Option(NamedTuple):
    """A key of the config: its meaning, and its values in words and as JSON Schema."""

    type: Any
    default: Any
    takes: str
    prepare: Callable[[Any], Any]
    description: str
    schema: dict[str, Any]

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is msgspec.NODEFAULT

    @property
    def is_secret(self) -> bool:
        """Whether its value must not be shown."""
        return "secret" in self.schema

    @property
    def is_date(self) -> bool:
        """Whether its value is a date, from EARLIEST_START to now."""
        return self.schema.get("format") == "date-time"

    def read(self, given: Any) -> Any:
        """Convert a value, which may be text. Raises ValueError or msgspec.ValidationError."""
        if isinstance(given, str) and not self.is_secret:
            given = given.strip()
        return msgspec.convert(self.prepare(given), self.type, strict=False)


def _options() -> dict[str, Option]:
    hints = get_type_hints(Config, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(Config):
        hint = hints[field.name]
        hint = hint if hasattr(hint, "__metadata__") else get_args(hint)[0]  # without None
        kind, description = hint.__metadata__
        schema = msgspec.json.schema(hint, schema_hook=lambda zone: {"type": "string"})
        if schema["type"] == "array":
            schema["type"] = ["array", "string"]
        takes, prepare = kind.extra["takes"], kind.extra["prepare"]
        found[field.name] = Option(hint, field.default, takes, prepare, description, schema)
    return found


OPTIONS = _options()
SECRETS = tuple(name for name, option in OPTIONS.items() if option.is_secret)


def variable_of(key: str) -> str:
    """Return the variable of a key for `--config ENV`."""
    return f"{PREFIX}{key.upper()}"


def parse_config(
    raw: Mapping[str, Any], now: datetime, sources: Mapping[str, str] | None = None
) -> Config:
    """Read merged configs. Raises UsageError that names the key and its source.

    Any value may be a string, because Stitch passes only strings. Ignore unknown keys with a
    WARNING, except a misspelt `email_hash_key`. An optional key that is null or "" takes its
    default.
    """
    sources = sources or {}
    for key in sorted(raw.keys() - OPTIONS.keys()):
        _report_unknown_key(key, raw, sources.get(key, "the config"))
    values: dict[str, Any] = {}
    for key, option in OPTIONS.items():
        given = raw.get(key)
        if given is None or given == "":
            if option.is_required:
                raise UsageError(
                    f"Missing `{key}`: add it to a config file, or set {variable_of(key)} and pass "
                    f"--config {ENVIRONMENT} as well. It must be {option.takes}."
                )
            continue
        try:
            values[key] = option.read(given)
            if option.is_date and not EARLIEST_START <= values[key] <= now:
                raise ValueError("out of range")
        except (ValueError, msgspec.ValidationError) as exc:
            source = sources.get(key, "the config")
            raise UsageError(f"Invalid `{key}` in {source}: must be {option.takes}.") from exc
    config = Config(**values)
    if config.mirror and config.list_ids:
        raise UsageError(
            "Invalid config: `mirror` and `list_ids` cannot be combined, because the target would "
            "delete the rows of all other lists."
        )
    return _with_backfill(config, now) if config.backfill_from or config.backfill_to else config


def _with_backfill(config: Config, now: datetime) -> Config:
    """Check a backfill. Move start_date back to `backfill_from`, to list messages since then."""
    start = config.backfill_from
    if start is None:
        raise UsageError("Invalid config: `backfill_to` needs `backfill_from`.")
    if config.mirror:
        raise UsageError(
            "Invalid config: `mirror` and `backfill_from` cannot be combined, because the target "
            "would delete the rows outside the range."
        )
    if start >= (config.backfill_to or now):
        raise UsageError("Invalid config: `backfill_from` must be earlier than `backfill_to`.")
    return msgspec.structs.replace(config, start_date=min(config.start_date, start))


def _report_unknown_key(key: str, raw: Mapping[str, Any], source: str) -> None:
    """Warn of an unknown key, and name the nearest one. Hide a key that may be a misplaced secret.

    Raises UsageError if `email_hash_key` may be meant: addresses must not be emitted unhashed.
    """
    name = key.removeprefix(PREFIX).lower()
    texts = [value.lower() for value in raw.values() if isinstance(value, str) and value]
    may_be_secret = (
        not re.fullmatch("[a-z_]+|[A-Z_]+", key)
        or raw[key] in list(OPTIONS)  # a list, because the value may be unhashable
        or any(name in text or text in name for text in texts)
    )
    shown = "an unknown key" if may_be_secret else f"the unknown key `{key}`"
    near = difflib.get_close_matches(name, OPTIONS, 1, cutoff=0.7)
    hint = f" The nearest key is `{near[0]}`." if near else ""
    if near == ["email_hash_key"]:
        raise UsageError(f"Invalid config: {source} has {shown}.{hint}")
    LOGGER.warning("Ignored %s in %s.%s", shown, source, hint)
