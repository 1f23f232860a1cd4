"""Links: what of an answer goes into the address of which other operation, found by the addresses themselves.

What `POST /x` makes is below `/x/{id}`; a property that is named like the parameter of an address is that parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from local.openapi.triggers import Trigger
from shared.api.operations import Operation

Json = dict[str, Any]

LINK = "#/components/links/{name}"


def links_of(
    name: str, triggers: Mapping[str, Trigger], operations: Mapping[str, Operation]
) -> Mapping[int, Mapping[str, Json]]:
    """The links of an operation: by status, and by the operation that each leads to."""
    found: dict[int, dict[str, Json]] = {}
    for status, answer in operations[name].answers.items():
        for parameter, pointer in _ids(triggers[name], answer.shape, triggers):
            for other, target in triggers.items():
                wanted = [each for each, _ in target.parameters]
                if wanted == [parameter] and _keys(operations[other]) == _keys(operations[name]):
                    link = {"operationId": other, "parameters": {parameter: f"$response.body#{pointer}"}}
                    found.setdefault(status, {})[other] = link
    return found


def add_links(
    paths: Mapping[str, Mapping[str, Json]], triggers: Mapping[str, Trigger], operations: Mapping[str, Operation]
) -> Json:
    """Put a reference to each link into the answers of a document's paths; returns the links by name."""
    shared: Json = {}
    for name, trigger in triggers.items():
        for status, links in links_of(name, triggers, operations).items():
            answer = paths[trigger.path][trigger.method]["responses"][str(status)]
            for other, link in sorted(links.items()):
                shared[other] = link
                answer.setdefault("links", {})[other] = {"$ref": LINK.format(name=other)}
    return dict(sorted(shared.items()))


def _keys(operation: Operation) -> tuple[object, ...]:
    """What opens it: a link is of use to who has that already."""
    return operation.security, operation.of_openai


def _ids(trigger: Trigger, shape: object, triggers: Mapping[str, Trigger]) -> Iterator[tuple[str, str]]:
    """The parameters of addresses whose values are in an answer, each with the JSON Pointer to it."""
    if shape is None:
        return
    # One that may be null leads nowhere, and of what is in the address already the caller has had it.
    values = {name for name, kind in get_type_hints(shape).items() if kind is str} if isinstance(shape, type) else set()
    values -= {name for name, _ in trigger.parameters}
    for parameter in sorted({name for other in triggers.values() for name, _ in other.parameters}):
        below = any(other.path == f"{trigger.path}/{{{parameter}}}" for other in triggers.values())
        if below and trigger.method == "post":
            yield parameter, "/id"
        elif parameter in values and parameter.endswith("_id"):
            yield parameter, f"/{parameter}"
