"""Find email addresses in texts, and hash them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from urllib.parse import unquote

# A percent-encoded character, encoded any number of times: %40, %2540. Never the % itself.
_ESCAPED = r"%(?:25)*(?!25)"
# The local part ends at white space and at what delimits addresses in prose and URLs.
_LOCAL = (
    rf"(?:[^\s\x00-\x1f\x7f\"#%&(),/:;<>?@\[\\\]]"
    rf"|{_ESCAPED}(?![01][0-9A-F]|2[023689CF]|3[ABCEF]|40|5[BCD]|7F)[0-9A-F]{{2}})"
)
_QUOTE = rf"(?:\"|{_ESCAPED}22)"
_AT = rf"(?:@|{_ESCAPED}40)"
# Combining marks and joiners, which \w does not match.
_MARKS = "\u0300-\u036f\u0900-\u0dff\u0e00-\u0eff\u200c\u200d"
_LETTER = (
    rf"[\w{_MARKS}-]"
    rf"|{_ESCAPED}(?:2D|3\d|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9A]|[89A-F][0-9A-F])"
)
_LITERAL = rf"(?:\[|{_ESCAPED}5B)(?:{_LETTER}|[.:]|{_ESCAPED}(?:2E|3A))+(?:\]|{_ESCAPED}5D)"
_DOMAIN = rf"(?:(?:{_LETTER})+(?:(?:\.|{_ESCAPED}2E)(?:{_LETTER})+)*|{_LITERAL})"
# The name of a query's parameter, which is not part of the address after it.
_PARAMETER = rf"(?:(?<=[?&#;])|(?<=%(?:3F|26|23))|(?<=%25(?:3F|26|23)))[\w.~-]+(?:=|{_ESCAPED}3D)"
# A match without an address consumes all text that cannot begin one, so the time is linear.
_ADDRESS = re.compile(
    rf"(?P<parameter>{_PARAMETER})?"
    rf"(?:(?!['`*{{|]){_LOCAL}+|{_QUOTE}(?:[^\"\\]|\\.){{1,99}}?{_QUOTE}(?={_AT}))"
    rf"(?P<domains>(?:{_AT}{_DOMAIN})+)?|{_ESCAPED}[0-9A-F]{{2}}",
    re.IGNORECASE,
)
_MAX_ENCODINGS = 5
_HAS_AT = re.compile(_AT)
_ENCODED_AGAIN = re.compile("%(?:25)+")
# The text that key_check hashes.
_CHECKED = "tap-listrak email_hash_key"


def hash_address(key: str) -> Callable[[str], str]:
    """Return a function that hashes one address: the hex HMAC-SHA256 under `key`, in UTF-8.

    It trims the address and converts it to lower case first. It returns white space unchanged.
    """
    # Copying this object takes two thirds of the time of hmac.digest.
    keyed = hmac.new(key.encode(), digestmod="sha256")

    def hashed(text: str) -> str:
        address = text.strip().lower()
        if not address:
            return text
        of_address = keyed.copy()
        of_address.update(address.encode())
        return of_address.hexdigest()

    return hashed


def hash_addresses(key: str) -> Callable[[str], str]:
    """Return a function that hashes each address in a text, including percent-encoded ones."""
    hashed = hash_address(key)
    return lambda text: _replace(text, lambda address: hashed(_decode(address)))


def mask_addresses(text: str) -> str:
    """Return a text with *** in place of each address."""
    return _replace(text, lambda address: "***")


def key_check(key: str) -> str:
    """Return 8 hex digits that identify a key without revealing it."""
    return hash_address(key)(_CHECKED)[:8]


def _replace(text: str, write: Callable[[str], str]) -> str:
    if "@" not in text and "%" not in text:
        return text

    def replaced(found: re.Match[str]) -> str:
        if found["domains"] is None:
            return found[0]
        parameter = found["parameter"] or ""
        return parameter + write(found[0][len(parameter) :])

    result = _ADDRESS.sub(replaced, text) if "@" in text or _HAS_AT.search(text) else text
    # The pattern does not match every encoding, such as %25%34%30 for %40.
    decoded = _decode(result)
    is_left = "@" in decoded and _ADDRESS.sub(replaced, decoded) != decoded
    if is_left or decoded.count("@") > result.count("@"):
        return _ADDRESS.sub(replaced, _decode(text))
    return result


def _decode(text: str) -> str:
    """Return a text without its percent-encoding, which may be applied several times."""
    for _ in range(_MAX_ENCODINGS):
        encoded, text = text, unquote(_ENCODED_AGAIN.sub("%", text)) if "%" in text else text
        if text == encoded:
            break
    return text
