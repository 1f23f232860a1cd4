"""The mutants of a file: each has one small change of its source that a good test should notice.

Sentences are left as they are: a string with a space in it, and every f-string. So are annotations and ``assert``.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 100
"""Characters of an expression in a mutant's name; what is longer is cut in the middle."""

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
    without: ast.AST | None = None
    """What is left out, where that says it."""


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
    before, after = _cut(ast.unparse(change.node)), change.text
    if after.startswith("(") and after.endswith(")"):
        after = after[1:-1]
    became = f"-> {_cut(after)}" if change.without is None else f"without {_cut(ast.unparse(change.without))}"
    return f"{'.'.join(change.place.scope) or 'module'}: {before} {became}"


def _cut(text: str) -> str:
    text, half = " ".join(text.split()), LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}…{text[-half:]}"


def _walk(node: ast.AST, place: _Place) -> Iterator[_Change]:
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.stmt):
        place = _Place(place.scope, place.function, _own_lines(node))
    yield from (_Change(node, text, place) for text in _texts(node, place.is_condition))
    yield from (_Change(node, text, place, without) for without, text in _with_less(node))
    if isinstance(node, ast.match_case) and node.guard is None:
        yield _Change(node.pattern, f"{ast.unparse(node.pattern)} if False", place)
    if isinstance(node, _FUNCTIONS):
        yield from _removed_again(node, _place_in(node, "body", node, place))
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS or (isinstance(node, ast.match_case) and field == "pattern"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _walk(each, _place_in(node, field, each, place))


def _place_in(node: ast.AST, field: str, child: ast.AST, place: _Place) -> _Place:
    """The place of what stands in a field of this node."""
    scope, function = place.scope, place.function
    is_condition = (field == "test" and isinstance(node, ast.If | ast.IfExp | ast.While)) or field in ("guard", "ifs")
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        scope = (*scope, node.name)
        # Defaults are made when the module is loaded, not when the function is called.
        if isinstance(node, _FUNCTIONS) and field != "args":
            function = function or ".".join(scope)
    elif function is None and isinstance(node, ast.Assign | ast.AnnAssign):
        scope = (*scope, ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]))
    elif function is None and isinstance(node, ast.Dict) and field == "values":
        key = node.keys[node.values.index(child)]
        scope = scope if key is None else (*scope, ast.unparse(key))  # a line of a table
    return _Place(scope, function, place.lines, is_condition)


def _own_lines(node: ast.stmt) -> range:
    """The lines of a statement without those of the statements in it."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    first = body[0].pattern.lineno if isinstance(body[0], ast.match_case) else body[0].lineno
    return range(node.lineno, max(first, node.lineno + 1))


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
        case ast.Slice(lower=lower, upper=upper) if lower is not None or upper is not None:
            yield ":"
        case ast.Expr():
            yield "pass"
        case _ if isinstance(node, _REMOVED):
            yield "pass"


def _with_less(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Each keyword, element or line of a table that may be left out, and the node without it."""
    match node:
        case ast.Call(keywords=keywords):
            for each in keywords:
                yield each, _copy(node, keywords=[other for other in keywords if other is not each])
        case ast.Tuple(elts=elements, ctx=ast.Load()) | ast.Set(elts=elements) if len(elements) > 1:
            for each in elements:
                yield each, _copy(node, elts=[other for other in elements if other is not each])
        case ast.Dict(keys=keys, values=values):
            for index, value in enumerate(values):
                less = {"keys": [*keys[:index], *keys[index + 1 :]], "values": [*values[:index], *values[index + 1 :]]}
                yield keys[index] or value, _copy(node, **less)


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
