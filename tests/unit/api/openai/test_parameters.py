"""What OpenAI's clients ask for beside the messages: passed on, ignored and named, or refused."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from pydantic import BaseModel

from shared.agentkit.agent import Agent
from shared.agentkit.caller import OPTIONS
from shared.agentkit.output import OutputFormat
from shared.api.openai.formats import is_own_format, takes_all_of
from shared.api.openai.objects import response_object
from shared.api.openai.parameters import (
    DEFAULTS,
    IGNORED_HEADER,
    MAX_NAMED,
    REFUSALS,
    CreateParameters,
    Options,
    options_of,
    read_parameters,
)
from shared.api.openai.tools import read_tools
from shared.errors import InvalidRequest, UnsupportedParameter
from shared.runs.model.callers_tools import CallersTools
from tests.unit.runs.records import a_run


class Finding(BaseModel):
    """One of them."""

    area: str
    severity: Literal["low", "high"]
    next: Finding | None


class Report(BaseModel):
    """All of them."""

    findings: list[Finding]
    reference: str | None
    pages: int


def agent(*allowed: str, output: type[BaseModel] | None = None) -> Agent:
    form = None if output is None else OutputFormat(output)
    made = SimpleNamespace(caller_options=frozenset(allowed), output=form, tools={}, caller_tools="refuse")
    return cast("Agent", made)


def asked(given: dict[str, Any], *allowed: str, output: type[BaseModel] | None = None, chat: bool = False) -> Options:
    messages = "messages" if chat else "input"
    body = {"model": "m", messages: "x", "stream": False, "metadata": {}, **given}
    assert read_tools({name: value for name, value in body.items() if value is not None}, agent()) == CallersTools()
    return options_of(body, agent(*allowed, output=output), messages=messages)


UNASKED: dict[str, Any] = {
    "temperature": 0.7, "top_p": 0.9, "max_output_tokens": 100, "max_tokens": 100, "max_completion_tokens": 100,
    "seed": 1, "stop": ["END"], "reasoning": {"effort": "low"}, "reasoning_effort": "low", "verbosity": "low",
    "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "parallel_tool_calls": False,
    "include": ["reasoning.encrypted_content"], "service_tier": "flex", "store": False, "logit_bias": {"50256": -100},
    "frequency_penalty": 0.5, "truncation": "auto", "colour": {"of": ["the", "clients", None]}, "prediction": {},
}  # fmt: skip


@pytest.mark.parametrize("name", UNASKED)
def test_what_clients_send_unasked_is_ignored_by_name(name: str) -> None:
    found = asked({name: UNASKED[name]})
    assert (found.passed, found.ignored) == ({}, (name,))
    assert found.headers == {IGNORED_HEADER: name}


def test_the_parameters_that_a_response_shows_may_be_sent_again() -> None:
    shown = {name: value for name, value in response_object(a_run()).items() if value is not None}
    own = ("id", "object", "status", "output", "created_at")
    found = asked({name: value for name, value in shown.items() if name not in own})
    assert (found.passed, found.ignored) == ({}, ())


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_asks_for_nothing_and_is_not_named(name: str) -> None:
    for value in DEFAULTS[name]:
        assert asked({name: value}).headers == {}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("value", [True, "other", 7, [{"type": "x"}], {"type": "x"}])
def test_what_would_change_the_answer_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedParameter, match=f"`{name}`"):
        asked({name: value})


def test_one_is_not_true() -> None:
    with pytest.raises(UnsupportedParameter):
        asked({"n": True})
    assert asked({"temperature": True}).ignored == ("temperature",)


VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    "frequency_penalty": ([0, -2, 1.5], [3, "1", True, None, float("nan")]),
    "max_output_tokens": ([1, 4_000], [0, -1, 1.5, "9", 2**31, True]),
    "max_tool_calls": ([3], [0, "3"]),
    "parallel_tool_calls": ([True, False], [0, "true"]),
    "presence_penalty": ([2], [-3]),
    "prompt_cache_key": (["k"], ["k" * 200, 1, "a\nb", "\ud800"]),
    "reasoning": ([{"effort": "low"}, {"summary": "auto"}, {}], ["low", {"colour": "red"}, {"effort": 1}, []]),
    "safety_identifier": (["s"], [["s"]]),
    "seed": ([-1, 2**40], [2**70, 1.0, "1"]),
    "service_tier": (["flex"], [{}]),
    "stop": (["x", ["x", "y"]], ["", [], ["x"] * 5, [1], {}, ["x" * 500]]),
    "temperature": ([0, 0.2, 2], [-0.1, 2.1, "1", True, [1], float("inf"), 10**400]),
    "top_p": ([0, 1], [1.1]),
    "truncation": (["auto"], ["x", ["auto"], {"auto": 1}]),
    "user": (["u-1"], [7]),
    "verbosity": (["low"], [{"low": 1}]),
}


def test_every_option_is_tried() -> None:
    assert VALUES.keys() == OPTIONS.keys()


@pytest.mark.parametrize("name", VALUES)
def test_what_the_agent_allows_is_passed_on_as_it_is_and_nothing_else(name: str) -> None:
    good, bad = VALUES[name]
    for value in good:
        found = asked({name: value}, name)
        assert (found.passed, found.ignored) == ({name: value}, ())
    for value in bad:
        with pytest.raises(InvalidRequest) as refused:
            asked({name: value}, name)
        assert refused.value.details["param"] == name
        assert asked({name: value}).passed == {}, "an agent that does not pass it on does not care"


def test_other_names_of_the_same() -> None:
    both = {"max_completion_tokens": 5, "max_tokens": 9}
    for given in (both, dict(reversed(both.items()))):
        assert asked(given, "max_output_tokens", chat=True).passed == {"max_output_tokens": 5}
    assert asked({"max_tokens": 9}, "max_output_tokens", chat=True).passed == {"max_output_tokens": 9}
    assert asked({"reasoning_effort": "low"}, "reasoning").passed == {"reasoning": {"effort": "low"}}
    assert asked({"text": {"verbosity": "low", "format": {"type": "text"}}}, "verbosity").passed == {"verbosity": "low"}
    assert asked({"text": {"verbosity": "low", "format": None}}).ignored == ("text.verbosity",)
    with pytest.raises(InvalidRequest, match="`max_tokens`"):
        asked({"max_tokens": "many"}, "max_output_tokens")


def test_the_header_holds_only_what_a_header_can() -> None:
    odd = {"a\r\nSet-Cookie: x": 1, "ünter": 1, "x" * 70: 1, "\ud800": 1, "good": 1}
    assert asked(odd).headers == {IGNORED_HEADER: "good, ..."}
    many = asked({f"p{index}": 1 for index in range(100)}).headers[IGNORED_HEADER].split(", ")
    assert (len(many), many[-1]) == (MAX_NAMED + 1, "...")


@pytest.mark.parametrize("name", ["background", "previous_response_id", "instructions"])
def test_chat_completions_refuse_what_only_responses_have(name: str) -> None:
    given = {"model": "m", "messages": [], name: True if name == "background" else "x"}
    with pytest.raises(UnsupportedParameter, match=f"`{name}`"):
        read_parameters(given, messages="messages")
    unset = {**given, name: False if name == "background" else ""}
    assert read_parameters(unset, messages="messages") == CreateParameters(model="m", **{name: unset[name]})


@pytest.mark.parametrize(
    "body",
    [{"input": "x"}, {"model": 7, "input": "x"}, {"model": "m"}, {"model": "", "input": "x"},
     {"model": "m", "input": "x", "instructions": ["x"]}, {"model": "m", "input": "x", "instructions": "\ud800"}],
)  # fmt: skip
def test_what_is_missing_or_of_a_wrong_type_is_named(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_parameters(body, messages="input")
    assert refused.value.details["param"] in ("model", "input", "instructions")


DOTNET = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["pages", "findings", "reference"],
    "additionalProperties": False,
    "properties": {
        "pages": {"type": "integer"},
        "reference": {"type": ["string", "null"]},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "area": {"description": "Where.", "type": "string"},
                    "severity": {"enum": ["high", "low"]},
                    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/properties/findings/items"}]},
                },
                "required": ["area", "severity", "next"],
                "additionalProperties": False,
            },
        },
    },
}


def test_the_agents_own_schema_is_recognised_however_it_is_written() -> None:
    own = OutputFormat(Report)
    assert takes_all_of(own.schema, own.schema)
    assert takes_all_of(DOTNET, own.schema)
    assert takes_all_of(Report.model_json_schema(), own.schema)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.pop("required"),
        lambda one: one.pop("additionalProperties"),
        lambda one: one.update(additionalProperties=True),
        lambda one: one["properties"].update(pages={"type": ["integer", "null"]}),
        lambda one: one["properties"].update(pages={"anyOf": [{"type": "null"}, {"type": "integer"}]}),
        lambda one: one["properties"]["findings"].update(type=["array", "null"]),
    ],
)
def test_one_that_takes_more_than_the_agent_gives_is_as_good(change: Any) -> None:
    """As .NET writes a class whose texts may be null."""
    other = copy.deepcopy(DOTNET)
    change(other)
    assert takes_all_of(other, OutputFormat(Report).schema)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["properties"].pop("pages"),
        lambda one: one["properties"].update(more={"type": "string"}),
        lambda one: one["properties"].update(pages={"type": "number"}),
        lambda one: one["properties"].update(pages={"$ref": "#/nowhere"}),
        lambda one: one["properties"].update(pages={"$ref": "https://example.com/x"}),
        lambda one: one["properties"].update(pages=True),
        lambda one: one["properties"].update(reference={"type": "string"}),
        lambda one: one["properties"]["findings"].update(minItems=1),
        lambda one: one["properties"]["findings"]["items"]["properties"]["severity"].update(enum=["low"]),
        lambda one: one.update(required=["pages", "more"]),
        lambda one: one.update(required="pages"),
        lambda one: one.update(additionalProperties={"type": "string"}),
        lambda one: one["properties"].update(pages={"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        lambda one: one["properties"].update(pages={"anyOf": 7}),
        lambda one: one["properties"].update(pages={"type": ["string", "null"]}),
    ],
)
def test_any_difference_makes_it_foreign(change: Any) -> None:
    other = copy.deepcopy(DOTNET)
    change(other)
    assert not takes_all_of(other, OutputFormat(Report).schema)


def test_a_schema_that_refers_to_itself_without_end_is_foreign() -> None:
    loop: dict[str, Any] = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    deep = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 1_000}}}
    for schema in (loop, deep, None, 7, [], {"$ref": 7}, {"type": ["null", "null"]}, {"type": [["x"], 1]}):
        assert not takes_all_of(schema, OutputFormat(Report).schema)


def test_a_format_is_refused_unless_it_is_the_agents_own() -> None:
    own = OutputFormat(Report)
    for fine in ({"type": "text"}, {"type": "json_object"}, own.response_format()):
        assert is_own_format(fine, own)
    assert is_own_format({"type": "json_schema", "json_schema": {"name": "x", "schema": own.schema}}, own)
    for foreign in ({"type": "json_object"}, own.response_format(), {"type": "grammar"}, "json", {}, {"type": []}):
        assert not is_own_format(foreign, None)
    assert asked({"text": {"format": own.response_format()}}, output=Report).headers == {}
    for given, param in (
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"response_format": own.response_format()}, "response_format"),
        ({"response_format": "json"}, "response_format"),
    ):
        with pytest.raises(UnsupportedParameter) as refused:
            asked(given)
        assert refused.value.details["param"] == param
