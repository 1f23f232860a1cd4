"""The mutants of a file: each has one small change of its source that a good test should notice.

Sentences are left as they are: a string with a space in it, and every f-string. So are annotations and ``assert``.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_NAME = 160
"""Characters of a mutant's name; what is longer is cut in the middle."""

_SHIFTED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_NEGATED = {ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn}
_COMPARISONS = {**_SHIFTED, **_NEGATED, **{other: one for one, other in _NEGATED.items()}}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SKIPPED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "bases"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_REMOVED = (ast.AugAssign, ast.Raise, ast.Delete, ast.Continue, ast.Break)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file."""

    file: str
    """From the root of the repository."""

    name: str
    """Where in the file, and what became of what. It stays the same while other lines change."""

    function: str | None
    """The function that it is in, by its qualified name; None: it is seen when the module is loaded."""

    lines: range
    """The lines of the statement."""

    source: str
    """The file with the change."""


@dataclass(frozen=True, slots=True)
class _Place:
    scope: tuple[str, ...]
    function: str | None
    lines: range
    is_condition: bool = False


@dataclass(frozen=True, slots=True)
class _Change:
    node: ast.AST
    text: str
    place: _Place


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant, in the order of the lines."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    names: Counter[str] = Counter()
    found = []
    for change in _walk(ast.parse(source), _Place((), None, range(0))):
        name = _named(change)
        names[name] += 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        node, place = change.node, change.place
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        data = source.encode()
        text = (data[:begin] + change.text.encode() + data[end:]).decode()
        found.append(Mutant(file=file, name=name, function=place.function, lines=place.lines, source=text))
    return found


def _named(change: _Change) -> str:
    before, after = ast.unparse(change.node), change.text
    if after.startswith("(") and after.endswith(")"):
        after = after[1:-1]
    where = ".".join(change.place.scope) or "module"
    return f"{where}: {_cut(before)} -> {_cut(after)}"


def _cut(text: str) -> str:
    text, half = " ".join(text.split()), LONGEST_NAME // 2
    return text if len(text) <= 2 * half else f"{text[:half]}…{text[-half:]}"


def _walk(node: ast.AST, place: _Place) -> Iterator[_Change]:
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.stmt):
        place = _Place(place.scope, place.function, _own_lines(node))
    yield from (_Change(node, text, place) for text in _texts(node, place.is_condition))
    if isinstance(node, ast.match_case) and node.guard is None:
        yield _Change(node.pattern, f"{ast.unparse(node.pattern)} if False", place)
    inside = place
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        scope = (*place.scope, node.name)
        function = place.function or (".".join(scope) if isinstance(node, _FUNCTIONS) else None)
        inside = _Place(scope, function, place.lines)
        yield from _removed_again(node, inside)
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS or (isinstance(node, ast.match_case) and field == "pattern"):
            continue
        # Defaults are made when the module is loaded, not when the function is called.
        outside = isinstance(node, _FUNCTIONS) and field == "args"
        at = _Place(inside.scope, place.function, place.lines) if outside else inside
        is_condition = _is_condition(node, field)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _walk(each, _Place(at.scope, at.function, at.lines, is_condition))


def _own_lines(node: ast.stmt) -> range:
    """The lines of a statement without those of the statements in it."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    first = body[0].pattern.lineno if isinstance(body[0], ast.match_case) else body[0].lineno
    return range(node.lineno, max(first, node.lineno + 1))


def _is_condition(node: ast.AST, field: str) -> bool:
    return (field == "test" and isinstance(node, ast.If | ast.IfExp | ast.While)) or field in ("guard", "ifs")


def _texts(node: ast.AST, is_condition: bool) -> Iterator[str]:
    """What may stand in the place of this node."""
    if is_condition:
        yield "True"
        yield "False"
    match node:
        case ast.Compare(ops=[op]) if type(op) in (_SHIFTED if is_condition else _COMPARISONS):
            yield _copy(node, ops=[_COMPARISONS[type(op)]()])
        case ast.BoolOp(op=op, values=values):
            yield _copy(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for index in range(len(values)):
                left = [*values[:index], *values[index + 1 :]]
                yield _copy(node, values=left) if len(left) > 1 else f"({ast.unparse(left[0])})"
        case ast.UnaryOp(op=ast.Not(), operand=operand) if not is_condition:
            yield f"({ast.unparse(operand)})"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            yield f"({ast.unparse(left)})"
            yield f"({ast.unparse(right)})"
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield _copy(node, op=_ARITHMETIC[type(op)]())
        case ast.Constant(value=bool(value)):
            yield repr(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield repr(value + 1)
        case ast.Constant(value=str(value)) if " " not in value:
            yield repr(f"another{value}")
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            yield _copy(node, func=ast.Name(id=_CALLS[name]))
            yield from _without_keywords(node)
        case ast.Call():
            yield from _without_keywords(node)
        case ast.Tuple(elts=elements, ctx=ast.Load()) | ast.Set(elts=elements) if len(elements) > 1:
            for index in range(len(elements)):
                yield _copy(node, elts=[*elements[:index], *elements[index + 1 :]])
        case ast.Dict(keys=keys, values=values):
            for index in range(len(keys)):
                left = [*keys[:index], *keys[index + 1 :]]
                yield _copy(node, keys=left, values=[*values[:index], *values[index + 1 :]])
        case ast.Slice(lower=lower, upper=upper) if lower is not None or upper is not None:
            yield ":"
        case ast.Expr():
            yield "pass"
        case _ if isinstance(node, _REMOVED):
            yield "pass"


def _without_keywords(node: ast.Call) -> Iterator[str]:
    for index in range(len(node.keywords)):
        yield _copy(node, keywords=[*node.keywords[:index], *node.keywords[index + 1 :]])


def _removed_again(node: ast.AST, place: _Place) -> Iterator[_Change]:
    """Assignments to a name that has a value before: without them the one of before stays."""
    if not isinstance(node, _FUNCTIONS):
        return
    arguments = node.args
    known = {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for each in sorted(
        (each for each in ast.walk(node) if isinstance(each, ast.Assign)),
        key=lambda each: (each.lineno, each.col_offset),
    ):
        names = {target.id for target in each.targets if isinstance(target, ast.Name)}
        if names and names <= known:
            yield _Change(each, "pass", _Place(place.scope, place.function, _own_lines(each)))
        known |= names


def _copy(node: ast.AST, **changes: object) -> str:
    fields = {name: getattr(node, name) for name in node._fields}
    return f"({ast.unparse(type(node)(**{**fields, **changes}))})"
