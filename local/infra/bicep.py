"""One Bicep file, as much of it as the checks need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order of the text."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def text(node: Node) -> str:
    """The source of a node."""
    return (node.text or b"").decode()


def line(node: Node) -> int:
    """The line a node begins on, from 1."""
    return node.start_point.row + 1


def literal(node: Node) -> str | int | bool | None:
    """The value of a plain string, number or boolean; None for any other expression."""
    source = text(node)
    if node.type == "string" and not any(child.type == "interpolation" for child in node.children):
        return source[1:-1]
    if node.type == "boolean":
        return source == "true"
    try:
        return int(source)
    except ValueError:
        return None


def properties(node: Node) -> dict[str, tuple[Node, Node]]:
    """An object's properties: name -> (the property, its value)."""
    found = {}
    for child in node.named_children:
        if child.type == "object_property" and len(child.named_children) >= 2:
            key = child.named_children[0]
            found[text(key).strip("'")] = (child, child.named_children[-1])
    return found


def at(node: Node, path: str) -> Node | None:
    """The value at a path of property names such as `properties.allowSharedKeyAccess`."""
    current: Node | None = node
    for name in path.split("."):
        if current is None or current.type != "object":
            return None
        current = properties(current).get(name, (None, None))[1]
    return current


@dataclass(frozen=True, slots=True)
class Declaration:
    """A `param`, `var`, `resource`, `module`, `output` or `type`."""

    kind: str
    name: str
    node: Node
    decorators: dict[str, Node] = field(default_factory=dict)

    @property
    def line(self) -> int:
        return line(self.node)

    @property
    def value(self) -> Node | None:
        """The expression after the `=`."""
        named = self.node.named_children
        return named[-1] if any(child.type == "=" for child in self.node.children) else None

    @property
    def type_name(self) -> str:
        """The type of a parameter or output, e.g. `string`."""
        return next((text(child) for child in self.node.named_children[1:] if child.type.endswith("type")), "")

    @property
    def path(self) -> str:
        """A module's path, or a resource's type with its version."""
        return next(text(child)[1:-1] for child in self.node.named_children if child.type == "string")

    @property
    def existing(self) -> bool:
        return any(child.type == "existing" for child in self.node.children)

    @property
    def body(self) -> Node:
        """The object of a resource or module, also behind `if` or `for`."""
        found = next((child for child in reversed(self.node.named_children) if child.type != "string"), self.node)
        while found.type in ("if_statement", "for_statement"):
            found = found.named_children[-1]
        return found


class BicepFile:
    """A parsed template. `name` is its path in the project."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.top = PARSER.parse(path.read_bytes()).root_node

    @cached_property
    def declarations(self) -> list[Declaration]:
        found: list[Declaration] = []
        decorators: dict[str, Node] = {}
        for node in self.top.named_children:
            if node.type == "decorators":
                calls = [call for child in node.named_children for call in child.named_children]
                decorators = {text(call.named_children[0]): call for call in calls if call.named_children}
            elif node.type.endswith("_declaration"):
                name = next((child for child in node.named_children if child.type == "identifier"), None)
                if name is not None:
                    kind = node.type.removesuffix("_declaration")
                    found.append(Declaration(kind, text(name), node, decorators))
                decorators = {}
        return found

    def of(self, kind: str) -> list[Declaration]:
        """The declarations of a kind: `parameter`, `variable`, `resource`, `module`, `output`."""
        return [declaration for declaration in self.declarations if declaration.kind == kind]

    def resources(self, type_name: str) -> list[Declaration]:
        """The resources of a type that this file makes, not those it only looks at."""
        return [each for each in self.of("resource") if each.path.split("@")[0] == type_name and not each.existing]

    @cached_property
    def nodes(self) -> list[Node]:
        """All of it, in the order of the text."""
        return list(walk(self.top))

    @cached_property
    def objects(self) -> list[Node]:
        return [node for node in self.nodes if node.type == "object"]

    @cached_property
    def references(self) -> list[Node]:
        """Every name that is used as a value (neither declared there, nor a key, nor called)."""
        found = []
        for node in self.nodes:
            parent = node.parent
            if node.type != "identifier" or parent is None:
                continue
            first = parent.named_children[0] == node
            if parent.type.endswith("_declaration") and first:
                continue
            if parent.type == "object_property" and first:
                continue
            if parent.type == "call_expression" and parent.child_by_field_name("function") == node:
                continue
            found.append(node)
        return found

    @cached_property
    def calls(self) -> list[Node]:
        """Every function name that is called, decorators left out."""
        return [
            called
            for node in self.nodes
            if node.type == "call_expression" and (node.parent is None or node.parent.type != "decorator")
            if (called := node.child_by_field_name("function")) is not None
        ]

    def outputs_used(self) -> list[tuple[str, str, Node]]:
        """Every `module.outputs.name`: (module, name, where)."""
        found = []
        for node in self.nodes:
            inner = node.child_by_field_name("object") if node.type == "member_expression" else None
            if inner is None or inner.type != "member_expression":
                continue
            module, middle, last = (
                inner.child_by_field_name("object"),
                inner.child_by_field_name("property"),
                node.child_by_field_name("property"),
            )
            if module is None or middle is None or last is None or text(middle) != "outputs":
                continue
            # The grammar reads `a ? b : c!.outputs.d` as if the access were to the whole condition.
            while module.type in ("ternary_expression", "binary_expression"):
                module = module.named_children[-1]
            found.append((text(module), text(last), node))
        return found
