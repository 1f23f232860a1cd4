"""JSON of a provider, read leniently and cut to size: whatever is sent, what comes out can be stored and shown.

Nothing here raises for a value that ``json.loads`` could give.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_WORD = 100
"""Characters of a status, a code, a reason."""
MAX_NAME = 256
"""Characters of a name or an id of a call; a longer id gets a digest for its end, so that two stay apart."""
MAX_RESPONSE_ID = 1_000
MAX_MESSAGE = 4_000
MAX_TEXT = 12_000_000
"""Characters of any other text: several times what a model writes in one response."""
MAX_ENTRIES = 10_000
"""Entries of one list or object."""
MAX_LEVELS = 60
"""Levels of lists and objects in one another; what lies deeper becomes null."""
MAX_TOKENS = 10**12
MAX_DIGITS = 18
"""Digits of a whole number: 64 bits hold them."""
LATEST = 10**11
"""No moment is as late, in seconds since 1970: Python knows none beyond the year 9999."""
MAX_METADATA = 64

_TOO_LONG_NUMBER = 4_000  # Python refuses to read or write whole numbers of more than 4,300 digits
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def well_formed(text: str) -> str:
    """The text with halves of surrogate pairs as U+FFFD: what is left can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, however deep it is and however long its numbers. Raises ``ValueError`` for no JSON."""
    # A byte order mark, or a byte that is no UTF-8, must not lose the answer.
    given = text if isinstance(text, str) else text.decode("utf-8-sig", "replace")
    try:
        return json.loads(given, parse_int=_whole)
    # Deeper than Python's parser can read: cut, so that the response is read and the run can end.
    except RecursionError:
        return json.loads(_flattened(given), parse_int=_whole)


def plain(value: Any, levels: int = MAX_LEVELS) -> Any:
    """The value as JSON that anybody can read again: well-formed texts, finite numbers, nothing too long or deep."""
    if isinstance(value, str):
        return well_formed(value[:MAX_TEXT])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**MAX_DIGITS else None
    # NaN and Infinity are no JSON, though Python reads and writes them.
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if levels == 0 or not isinstance(value, Mapping | list | tuple):
        return None
    if isinstance(value, Mapping):
        entries = list(value.items())[:MAX_ENTRIES]
        return {well_formed(str(name)[:MAX_NAME]): plain(each, levels - 1) for name, each in entries}
    return [plain(each, levels - 1) for each in value[:MAX_ENTRIES]]


def text(value: Any, most: int = MAX_TEXT) -> str:
    """The value as text: a number in digits, anything else that is none as no text."""
    # A bool is an int in Python, but ``True`` is no text.
    if isinstance(value, bool):
        return ""
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return ""
    if isinstance(value, int | float):
        return str(value)
    return well_formed(value[:most]) if isinstance(value, str) else ""


def word(value: Any, most: int = MAX_WORD) -> str | None:
    """A status, a code or a reason; None for what is none."""
    return text(value, most) or None


def identifier(value: Any, most: int = MAX_NAME) -> str:
    """An id or a name as a row holds it; empty where there is none."""
    given = text(value)
    # An id is only cut with a digest: two long ids that begin alike must stay two.
    if len(given) <= most:
        return given
    digest = hashlib.sha256(given.encode()).hexdigest()[:32]
    return f"{given[: most - len(digest) - 1]}~{digest}"


def response_id(value: Any) -> str | None:
    """The id of a response, which names it in addresses: never changed. None for what cannot be one."""
    # It is a segment of an address later, and stands in log lines: cut or changed it would name another.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_RESPONSE_ID:
        return None
    return value if value.isascii() and value.isprintable() and " " not in value else None


def json_text(value: Any) -> str:
    """Arguments of a call: the text as the model wrote it; from servers that send the object itself, its JSON."""
    if value is None:
        return ""
    return text(value) if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def count(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    # NaN is the one number that is not equal to itself.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 0
    return int(min(max(value, 0), MAX_TOKENS))


def moment(value: Any) -> datetime | None:
    """A time in seconds since 1970; None for what is none."""
    seconds = count(value)
    return datetime.fromtimestamp(seconds, tz=UTC) if 0 < seconds < LATEST else None


def counted(usage: Any, *path: str) -> int:
    """The number of tokens at that place of the usage, if it is there."""
    for name in path:
        usage = usage.get(name) if isinstance(usage, Mapping) else None
    return count(usage)


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, at most so many; none for what is no list."""
    found = value[:MAX_ENTRIES] if isinstance(value, list | tuple) else ()
    return [each for each in found if isinstance(each, Mapping)]


def metadata(value: Any) -> dict[str, str]:
    """What a create gave the response."""
    pairs = list(mapping(value).items())[:MAX_METADATA]
    return {text(name, MAX_NAME): text(each, MAX_MESSAGE) for name, each in pairs}


def _whole(digits: str) -> int:
    return int(digits[:_TOO_LONG_NUMBER])


def _flattened(given: str) -> str:
    """The JSON text with null for what lies too deep for the parser."""
    pieces: list[str] = []
    level = kept_to = 0
    for match in _TOKEN.finditer(given):
        if match[0] in ("[", "{"):
            level += 1
            if level == MAX_LEVELS + 1:
                pieces += [given[kept_to : match.start()], "null"]
        elif match[0] in ("]", "}"):
            if level == MAX_LEVELS + 1:
                kept_to = match.end()
            level -= 1
    return "".join([*pieces, given[kept_to:]])
