"""The contract that ships, held against what an app really answers."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs

from local import ROOT

FILE = ROOT / "shared" / "api" / "openapi.json"


@dataclass(frozen=True, slots=True)
class Documented:
    """An answer as the contract has it."""

    operation: str
    headers: Mapping[str, Any]
    content: Mapping[str, Any]


class Contract:
    """The contract, for asking what it says of an answer."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, int]] = set()
        """Operations and statuses that were held against it."""
        self._validators: dict[str, Any] = {}
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in document["paths"].items()
        ]

    def differences(self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
        """What in an answer is not as the contract says. Nothing is said of addresses that it does not have, nor of
        what a host answers by itself, which has no body.
        """
        operation = self._operation(method, urlsplit(url).path)
        of_the_host = status >= 400 and not body and "X-Request-Id" not in headers
        if operation is None or status == 405:
            return []
        answer = self._resolved(operation["responses"].get(str(status)))
        if answer is None:
            return [] if of_the_host else [f"{operation['operationId']} does not answer {status}"]
        if of_the_host and answer.get("headers"):
            return []
        self.seen.add((operation["operationId"], status))
        missing = [
            f"there is no {name}"
            for name, header in answer.get("headers", {}).items()
            if self._resolved(header).get("required") and name not in headers
        ]
        for name, header in answer.get("headers", {}).items():
            if name in headers:
                schema = self._resolved(header)["schema"]
                value = int(headers[name]) if schema["type"] == "integer" else headers[name]
                missing += [f"{name}: {error}" for error in self._errors(schema, value)]
        content = answer.get("content", {})
        if status == 401 and body and not content:  # the app's own, beside which the platform has one without a body
            content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        return missing + self._body(content, headers.get("content-type", ""), body)

    def hold(self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Fail the test when an answer is not as the contract says."""
        found = self.differences(method, url, status, headers, body)
        assert not found, f"{method} {url} {status}: {found}: {body[:2_000]!r}"

    def differences_of_event(self, kind: str, data: Any) -> list[str]:
        """What in an event of a watched run is not as the contract says."""
        schema = events_of(self.document).get(kind)
        return [f"no event is {kind}"] if schema is None else self._errors(schema, data)

    def differences_of_response_event(self, data: Any) -> list[str]:
        """What in an event of a response, as OpenAI's clients get it, is not as the contract says."""
        return self._errors(_event_of_response(), data)

    def _body(self, content: Mapping[str, Any], kind: str, body: bytes) -> list[str]:
        if not content:
            return ["it has a body"] if body else []
        media = kind.split(";")[0]
        if media not in content:
            return [f"it is {media}"]
        if not media.endswith("json"):
            return []
        return self._errors(content[media]["schema"], json.loads(body))

    def _errors(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return [f"{error.instance_path}: {error.message}" for error in self._validators[key].iter_errors(value)]

    def _operation(self, method: str, path: str) -> Any:
        for pattern, operations in self._paths:
            found = operations.get(method.lower())
            if found is not None and pattern.fullmatch(path) and self._names(found, path):
                return found
        return None

    def _names(self, operation: Mapping[str, Any], path: str) -> bool:
        """Whether the path's parameter is as its pattern wants it: the catch-all answers for others."""
        patterns = [each["schema"]["pattern"] for each in operation["parameters"] if each.get("in") == "path"]
        return all(any(re.search(pattern, part) for part in path.split("/")) for pattern in patterns)

    def _resolved(self, part: Any) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            found: Any = self.document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            return found
        return part


def events_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The kinds of events of a watched run, each with the schema of its data."""
    content = document["paths"]["/api/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]
    kinds = content["text/event-stream"]["schema"]["contentSchema"]["items"]["oneOf"]
    return {each["properties"]["event"]["const"]: each["properties"]["data"]["contentSchema"] for each in kinds}


@functools.cache
def _event_of_response() -> dict[str, Any]:
    content = contract().document["paths"]["/api/v1/responses/{response_id}"]["get"]["responses"]["200"]["content"]
    event = content["text/event-stream"]["schema"]["contentSchema"]["items"]
    schema: dict[str, Any] = event["properties"]["data"]["contentSchema"]
    return schema


@functools.cache
def contract() -> Contract:
    """The contract of this checkout."""
    return Contract(json.loads(FILE.read_text("utf-8")))
