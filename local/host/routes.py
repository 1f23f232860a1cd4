"""Route templates of HTTP triggers: matching as the real host does it. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

Check = Callable[[str], bool]

_ESCAPED = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")
_GUID = re.compile(r"[({]?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}[)}]?", re.I)
# ASCII only: ``\d`` would take digits of every script, which .NET does not.
_INTEGER = re.compile(r"[+-]?\d+", re.A)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.A | re.I)


class RouteError(ValueError):
    """A template that cannot be read."""


class PathError(ValueError):
    """A request path that no host takes: 400."""


class _Parameter(NamedTuple):
    name: str
    catch_all: bool
    optional: bool
    default: str | None
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed route template, without slashes around it."""

    text: str
    pattern: re.Pattern[str]
    parameters: tuple[_Parameter, ...]

    def match(self, path: str) -> Mapping[str, str] | None:
        """The parameters when the decoded `path` fits, else None.

        Case and one trailing slash are ignored. A parameter without a value is absent.
        """
        found = self.pattern.fullmatch(path.removeprefix("/").removesuffix("/"))
        if found is None:
            return None
        values: dict[str, str] = {}
        for number, parameter in enumerate(self.parameters):
            value = found[f"p{number}"] or parameter.default
            # Constraints of a catch-all hold for nothing too; an optional parameter may be left out.
            if (value or not parameter.optional) and not all(ok(value or "") for ok in parameter.checks):
                return None
            if not value and parameter.catch_all and parameter.checks:
                return None
            if value:
                values[parameter.name] = value
        return values


def decode_path(raw: bytes) -> str:
    """A request's raw path as the host routes it.

    Escapes are decoded once; `%2F` and bytes that are no UTF-8 stay as they are written. Dot segments are
    resolved afterwards. Raises PathError for `%00`.
    """
    # Kestrel refuses it before any route is tried.
    if b"%00" in raw or b"\0" in raw:
        raise PathError("a path has no NUL")
    # Once: ``%2525`` is ``%25`` for the app.
    text = _ESCAPED.sub(_unescape, raw).decode("utf-8", "replace")
    segments: list[str] = []
    parts = text.split("/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "." or part == "..":
            if part == ".." and len(segments) > 1:
                segments.pop()
            if last:
                segments.append("")
        else:
            segments.append(part)
    return "/".join(segments)


def _unescape(match: re.Match[bytes]) -> bytes:
    out = b""
    for piece in re.split(rb"(?i)(%2f)", match[0]):
        # An escaped slash stays text, or it would begin a new segment.
        if piece.lower() == b"%2f":
            out += piece
            continue
        decoded = unquote_to_bytes(piece)
        try:
            decoded.decode("utf-8")
        except UnicodeDecodeError:
            decoded = piece
        out += decoded
    return out


def parse_template(text: str) -> Template:
    """Read a template such as `api/run/{id:regex(^[0-9a-f]{{8}}$)}/{*rest}`. Raises RouteError."""
    parameters: list[_Parameter] = []
    pattern = ""
    text = text.strip("/")
    segments = _segments(text)
    for number, segment in enumerate(segments):
        piece = ""
        for literal, inner in segment:
            if inner is None:
                piece += re.escape(literal)
                continue
            parameter = _parameter(inner)
            if parameter.catch_all and (number != len(segments) - 1 or len(segment) != 1):
                raise RouteError(f"in the route '{text}' a catch-all is not the last segment")
            whole = len(segment) == 1
            piece += _group(len(parameters), parameter, whole=whole)
            parameters.append(parameter)
        skippable = bool(parameters) and len(segment) == 1 and segment[0][1] is not None
        last = parameters[-1] if skippable else None
        if last is not None and (last.catch_all or last.optional or last.default is not None):
            pattern += f"(?:{'/' if number else ''}{piece})?"
        else:
            pattern += ("/" if number else "") + piece
    names = [parameter.name.lower() for parameter in parameters]
    if len(set(names)) != len(names):
        raise RouteError(f"the route '{text}' names a parameter twice")
    # Routes ignore case; and a decoded path may hold a newline, which `.` has to match.
    return Template(text, re.compile(pattern, re.I | re.S), tuple(parameters))


def _group(number: int, parameter: _Parameter, *, whole: bool) -> str:
    if parameter.catch_all:
        return f"(?P<p{number}>.*)"
    return f"(?P<p{number}>[^/]+)" if whole else f"(?P<p{number}>[^/]+?)"


def _segments(text: str) -> list[list[tuple[str, str | None]]]:
    """Split at the slashes outside of braces; each segment is its literals and parameters in order."""
    segments: list[list[tuple[str, str | None]]] = [[]]
    literal = ""
    position = 0
    while position < len(text):
        if text.startswith(("{{", "}}"), position):
            literal += text[position]
            position += 2
        elif text[position] == "{":
            end = _closing(text, position)
            if literal:
                segments[-1].append((literal, None))
            literal = ""
            segments[-1].append(("", text[position + 1 : end].replace("{{", "{").replace("}}", "}")))
            position = end + 1
        elif text[position] == "}":
            raise RouteError(f"the route '{text}' closes a brace that is not open")
        elif text[position] == "/":
            if literal:
                segments[-1].append((literal, None))
            literal = ""
            segments.append([])
            position += 1
        else:
            literal += text[position]
            position += 1
    if literal:
        segments[-1].append((literal, None))
    return segments


def _closing(text: str, start: int) -> int:
    position = start + 1
    while position < len(text):
        if text.startswith(("{{", "}}"), position):
            position += 2
        elif text[position] == "{":
            raise RouteError(f"the route '{text}' has a brace inside a parameter; double it")
        elif text[position] == "}":
            return position
        else:
            position += 1
    raise RouteError(f"the route '{text}' has a brace that is not closed")


def _parameter(inner: str) -> _Parameter:
    stars = len(inner) - len(inner.lstrip("*"))
    head, *constraints = _split(inner[stars:])
    default: str | None = None
    optional = False
    last = constraints[-1] if constraints else head
    if last.endswith("?"):
        optional, last = True, last[:-1]
    # A regular expression may hold an equals sign that sets no default.
    elif "=" in last and not last.startswith("regex("):
        last, _, default = last.partition("=")
    if constraints:
        constraints[-1] = last
    else:
        head = last
    if not head or stars > 2:
        raise RouteError(f"'{{{inner}}}' is not a parameter of a route")
    checks = tuple(_check(constraint) for constraint in constraints)
    return _Parameter(head, stars > 0, optional, default, checks)


def _split(text: str) -> list[str]:
    """Split at the colons that are not inside of a constraint's parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == ":" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _check(constraint: str) -> Check:
    name, _, rest = constraint.partition("(")
    argument = rest[:-1] if rest.endswith(")") else rest
    if name == "regex":
        try:
            # .NET: not anchored, and the case is ignored.
            return lambda value, p=re.compile(argument, re.I): p.search(value) is not None  # type: ignore[misc]
        except re.error as error:
            raise RouteError(f"'{argument}' is not a regular expression: {error}") from error
    if name in _TYPED and not argument:
        return _TYPED[name]
    try:
        numbers = [int(part) for part in argument.split(",")]
        return _SIZED[name](*numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise RouteError(f"'{constraint}' is not a route constraint") from error


def _integer(value: str, bits: int) -> bool:
    return _INTEGER.fullmatch(value) is not None and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)


def _number(value: str) -> bool:
    return _NUMBER.fullmatch(value) is not None


_TYPED: Mapping[str, Check] = {
    "int": lambda value: _integer(value, 32),
    "long": lambda value: _integer(value, 64),
    "bool": lambda value: value.lower() in ("true", "false"),
    "guid": lambda value: _GUID.fullmatch(value) is not None,
    "alpha": lambda value: value.isascii() and value.isalpha(),
    "decimal": _number,
    "double": _number,
    "float": _number,
    "required": bool,
}
_SIZED: Mapping[str, Callable[..., Check]] = {
    "minlength": lambda low: lambda value: len(value) >= low,
    "maxlength": lambda high: lambda value: len(value) <= high,
    "length": lambda low, high=None: lambda value: low <= len(value) <= (low if high is None else high),
    "min": lambda low: lambda value: _integer(value, 64) and int(value) >= low,
    "max": lambda high: lambda value: _integer(value, 64) and int(value) <= high,
    "range": lambda low, high: lambda value: _integer(value, 64) and low <= int(value) <= high,
}
