"""What a template comes to for given parameters, as far as the tests of profiles need it: there is no compiler here.

What only a deployment knows (a resource's property, a module's output) is the text of its expression.
"""

from __future__ import annotations

import json
import operator
from typing import Any

from tree_sitter import Node

from local.infra.bicep import BicepFile, literal, properties, text

OPERATORS = {
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "&&": lambda left, right: left and right,
}


class Evaluated:
    """The expressions of one file. `given` are its parameters; those that are left out have their defaults."""

    def __init__(self, file: BicepFile, given: dict[str, Any]) -> None:
        self._file = file
        self._given = given
        self._declared = {each.name: each for each in file.of("parameter") + file.of("variable")}

    def module(self, name: str) -> dict[str, Any] | None:
        """The parameters that a module is given; None: it is not deployed."""
        found = next(each for each in self._file.of("module") if each.name == name)
        condition = next((node for node in found.node.named_children if node.type == "if_statement"), None)
        if condition is not None and not self.value(condition.named_children[0]):
            return None
        return dict(self.value(properties(found.body)["params"][1]))

    def value(self, node: Node) -> Any:
        """The value of an expression."""
        kind = node.type
        if kind == "identifier":
            return self._named(node)
        if kind == "object":
            return {name: self.value(each) for name, (_, each) in properties(node).items()}
        if kind == "array":
            return [self.value(each) for each in node.named_children]
        if kind == "parenthesized_expression":
            return self.value(node.named_children[0])
        if kind == "ternary_expression":
            return self.value(_field(node, "consequence" if self.value(_field(node, "condition")) else "alternative"))
        if kind == "binary_expression":
            return self._compared(node)
        if kind == "member_expression":
            inner = self.value(_field(node, "object"))
            return inner[text(_field(node, "property"))] if isinstance(inner, dict) else text(node)
        if kind == "subscript_expression":
            return self.value(_field(node, "object"))[self.value(_field(node, "index"))]
        if kind == "call_expression":
            return self._called(node)
        plain = literal(node)
        return text(node) if plain is None else plain

    def _named(self, node: Node) -> Any:
        if text(node) in self._given:
            return self._given[text(node)]
        declared = self._declared.get(text(node))
        return text(node) if declared is None or declared.value is None else self.value(declared.value)

    def _compared(self, node: Node) -> bool:
        left, right = self.value(_field(node, "left")), self.value(_field(node, "right"))
        return bool(OPERATORS[text(_field(node, "operator"))](left, right))

    def _called(self, node: Node) -> Any:
        name, arguments = text(_field(node, "function")), _field(node, "arguments").named_children
        if name == "loadJsonContent":
            return json.loads((self._file.path.parent / str(literal(arguments[0]))).read_text("utf-8"))
        if name == "empty":
            return not self.value(arguments[0])
        if name == "union":
            made: dict[str, Any] = {}
            for each in arguments:
                if isinstance(found := self.value(each), dict):
                    made.update(found)
            return made
        if name == "concat":
            return [item for each in arguments for item in self.value(each)]
        return text(node)


def _field(node: Node, name: str) -> Node:
    found = node.child_by_field_name(name)
    assert found is not None, (name, text(node))
    return found
