"""Tools: what the model is told of a function, and what becomes of a call."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from shared.agentkit.tools import Tool, ToolContext, ToolError, by_name, error_of, error_output, tool
from tests.parts.cases import cases

CONTEXT = ToolContext(
    run_id="run_1", session_id="1", owner="app", call_id="call_1", idempotency_key="run_1:1:0", start=1
)
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    """A leaf."""

    title: str
    default: int = 3


class Tree(BaseModel):
    leaf: Leaf = Field(description="The first.")
    boughs: list[Tree] = []

    @field_validator("boughs")
    @classmethod
    def _few(cls, value: list[Tree]) -> list[Tree]:
        if len(value) > 2:
            raise KeyError("too many")  # not what pydantic expects of a validator
        return value


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


@dataclass
class Point:
    x: int


def one(hint: Any) -> Tool:
    """A tool with one parameter of this type."""

    def probe(value: Any) -> str:
        """Probe."""
        return repr(value)

    probe.__annotations__["value"] = hint
    return tool(probe)


def defaulted(hint: Any, default: Any) -> Tool:
    """A tool with one parameter of this type that may be left out."""

    def probe(value: Any = default) -> str:
        """Probe."""
        return repr(value)

    probe.__annotations__["value"] = hint
    return tool(probe)


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1, thread_name_prefix="tool") as pool:
        yield pool


# --- the schema ---------------------------------------------------------------------------------------


@cases(("hint", "schema"), [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"type": "string", "const": "a"}),
        (int | None, nullable({"type": "integer"})),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (list[list[int]], {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        (Annotated[int, Field(ge=1, description="Most.")], {"type": "integer", "minimum": 1, "description": "Most."}),
        (Colour, {"$ref": "#/$defs/Colour"}),
        (Annotated[Colour, Field(description="It.")], {"anyOf": [{"$ref": "#/$defs/Colour"}], "description": "It."}),
        (Cat | Dog, {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
        (
            Annotated[Cat | Dog, Field(discriminator="kind")],
            {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
        ),
        (Point, {"$ref": "#/$defs/Point"}),
        (Tree, {"$ref": "#/$defs/Tree"}),
    ])  # fmt: skip
def test_a_type_in_the_signature_is_a_strict_schema(hint: Any, schema: dict[str, Any]) -> None:
    probe = one(hint)
    assert probe.schema["properties"] == {"value": schema}
    assert probe.strict
    assert_closed(probe.schema)


@pytest.mark.parametrize(
    ("hint", "default", "schema"),
    [
        (int, 3, {"type": "integer"}),
        (str, "", {"type": "string"}),
        (int | None, 3, {"type": "integer"}),
        (Colour, Colour.RED, {"$ref": "#/$defs/Colour"}),
        (list[str], [], {"type": "array", "items": {"type": "string"}}),
    ],
)
def test_a_parameter_with_a_default_is_required_and_may_be_null(hint: Any, default: Any, schema: Any) -> None:
    probe = defaulted(hint, default)
    assert probe.schema["properties"] == {"value": nullable(schema)}
    assert_closed(probe.schema)


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (dict, {"type": "object", "additionalProperties": True}),
        (list, {"type": "array", "items": {}}),
        (Any, {}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (Annotated[str, Field(max_length=5)], {"type": "string", "maxLength": 5}),
        (list[dict], {"type": "array", "items": {"type": "object", "additionalProperties": True}}),
    ],
    ids=str,
)  # fmt: skip
def test_a_type_that_strict_mode_cannot_say_is_offered_without_it(hint: Any, schema: dict[str, Any]) -> None:
    probe = one(hint)
    assert probe.schema["properties"] == {"value": schema}
    assert probe.definition()["strict"] is False


def test_models_within_models_are_closed_and_keep_fields_that_are_called_like_keywords() -> None:
    assert one(Tree).schema["$defs"] == {
        "Leaf": {
            "type": "object",
            "description": "A leaf.",
            "properties": {"title": {"type": "string"}, "default": {"type": "integer"}},
            "required": ["title", "default"],
            "additionalProperties": False,
        },
        "Tree": {
            "type": "object",
            "properties": {
                "leaf": {"anyOf": [{"$ref": "#/$defs/Leaf"}], "description": "The first."},
                "boughs": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
            "required": ["leaf", "boughs"],
            "additionalProperties": False,
        },
    }


def assert_closed(node: Any) -> None:
    """Every object requires all of its properties and allows no others."""
    if isinstance(node, list):
        for each in node:
            assert_closed(each)
    elif isinstance(node, dict):
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
        for each in node.values():
            assert_closed(each)


def test_the_definition_is_the_signature_and_the_docstring() -> None:
    @tool
    async def look_up(topic: str, most: int = 3) -> str:
        """Look something up.

        At length.
        """
        return topic * most

    assert look_up.definition() == {
        "type": "function",
        "name": "look_up",
        "description": "Look something up.\n\nAt length.",
        "parameters": {
            "type": "object",
            "properties": {"topic": {"type": "string"}, "most": nullable({"type": "integer"})},
            "required": ["topic", "most"],
            "additionalProperties": False,
        },
        "strict": True,
    }


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    @tool
    def ping() -> str:
        """Ping."""
        return "pong"

    assert ping.schema == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert ping.strict


@pytest.mark.parametrize("hint", [ToolContext, ToolContext | None])
def test_the_context_is_no_business_of_the_model(hint: Any) -> None:
    assert one(hint).schema["properties"] == {}


def test_options_of_a_tool() -> None:
    @tool(name="pay-now", timeout=5, at_most_once=True)
    def pay() -> str:
        """Pay."""
        return ""

    assert (pay.name, pay.timeout, pay.at_most_once) == ("pay-now", 5, True)


# --- what is no tool ----------------------------------------------------------------------------------


def no_docstring(a: int) -> str:
    return ""


def no_type(a) -> str:  # type: ignore[no-untyped-def]
    """Do."""
    return ""


def variadic(*a: int) -> str:
    """Do."""
    return ""


def variadic_names(**a: int) -> str:
    """Do."""
    return ""


def positional(a: int, /) -> str:
    """Do."""
    return ""


def größe() -> str:
    """Do."""
    return ""


def fine() -> str:
    """Do."""
    return ""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (no_docstring, "no_docstring needs a docstring"),
        (no_type, "the parameter a of the tool no_type needs a type"),
        (variadic, "variadic cannot take"),
        (variadic_names, "variadic_names cannot take"),
        (positional, "positional cannot take"),
    ],
)
def test_a_function_that_tells_too_little_is_a_type_error(function: Callable[..., Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        tool(function)


@pytest.mark.parametrize(
    ("options", "function"),
    [
        ({"name": "two words"}, fine),
        ({"name": "a" * 65}, fine),
        ({}, größe),
        ({"timeout": 0}, fine),
        ({"timeout": -1}, fine),
    ],
)
def test_what_a_provider_would_refuse_is_a_value_error(options: Any, function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="tool"):
        tool(**options)(function)


def test_two_tools_of_one_name_are_refused() -> None:
    assert dict(by_name([tool(fine)])) == {"fine": tool(fine)}
    with pytest.raises(ValueError, match="two tools are called fine"):
        by_name([tool(fine), tool(name="fine")(positional_free)])


def test_a_type_that_has_no_schema_is_found_when_the_agent_is_made() -> None:
    with pytest.raises(TypeError, match="the parameters of the tool probe"):
        by_name([one(threading.Lock)])


def positional_free(a: int) -> str:
    """Do."""
    return str(a)


# --- a call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probe", "arguments", "output"),
    [
        (one(int), '{"value": 3}', "3"),
        (one(int), '{"value": "3"}', "3"),
        (one(str), '{"value": "\\ud83d\\ude00"}', "'😀'"),
        (one(Colour), '{"value": "red"}', "<Colour.RED: 'red'>"),
        (one(Point), '{"value": {"x": 1}}', "Point(x=1)"),
        (one(dict[str, int]), '{"value": {"a": 1}}', "{'a': 1}"),
        (one(Leaf), '{"value": {"title": "a", "default": 4}}', "Leaf(title='a', default=4)"),
        (one(int | None), '{"value": null}', "None"),
        (defaulted(int, 7), '{"value": null}', "7"),
        (defaulted(int, 7), "{}", "7"),
        (defaulted(int, 7), "", "7"),
        (defaulted(int, 7), '{"value": 0}', "0"),
    ],
)
async def test_arguments_reach_the_function_as_its_types(
    probe: Tool, arguments: str, output: str, threads: Executor
) -> None:
    assert await probe.invoke(arguments, CONTEXT, threads) == output


@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        "nonsense",
        "[]",
        "null",
        '"text"',
        "7",
        "{}",
        "[" * 100_000,
        '{"value": "many"}',
        '{"value": null}',
        '{"value": 1, "more": 2}',
        '{"value": 1, "value": 2}',
        '{"value": 1}, "arguments": {"value": 2}',
        '{"value": 1} {"value": 2}',
        '{"VALUE": 1}',
        '{"parameter_0": 1}',
        '{"value": "\\ud800"}',
    ],
    ids=lambda text: text[:30],
)
async def test_arguments_that_do_not_fit_are_an_output_that_says_so(arguments: str, threads: Executor) -> None:
    error = json.loads(await one(int).invoke(arguments, CONTEXT, threads))["error"]
    assert error["code"] == "invalid_arguments"
    assert error["message"]


async def test_what_is_wrong_is_told_by_argument(threads: Executor) -> None:
    output = await one(Tree).invoke('{"value": {"leaf": {"default": "x"}}, "more": 1}', CONTEXT, threads)
    problems = json.loads(output)["error"]["problems"]
    assert [each["argument"] for each in problems] == ["value.leaf.title", "value.leaf.default", "more"]
    assert all(each["problem"] for each in problems)


async def test_an_output_on_many_problems_stays_short(threads: Executor) -> None:
    output = await one(list[int]).invoke(json.dumps({"value": ["x"] * 10_000}), CONTEXT, threads)
    assert len(json.loads(output)["error"]["problems"]) == 20


async def test_a_validator_that_breaks_its_rules_is_an_output_too(threads: Executor) -> None:
    trees = [{"leaf": {"title": "t"}}] * 3
    output = await one(Tree).invoke(json.dumps({"value": {"leaf": {"title": "t"}, "boughs": trees}}), CONTEXT, threads)
    assert json.loads(output)["error"]["code"] == "invalid_arguments"


@pytest.mark.parametrize("name", ["copy", "json", "schema", "model_config", "model_fields", "_hidden", "self", "cls"])
async def test_a_parameter_may_have_any_name(name: str, threads: Executor, recwarn: pytest.WarningsRecorder) -> None:
    scope: dict[str, Any] = {}
    exec(f"def probe({name}: int, more: int = 1) -> str:\n    'Probe.'\n    return str({name} + more)", scope)
    probe = tool(scope["probe"])
    assert probe.schema["required"] == [name, "more"]
    assert await probe.invoke(json.dumps({name: 4}), CONTEXT, threads) == "5"
    assert not recwarn.list


@pytest.mark.parametrize("hint", [ToolContext, ToolContext | None])
async def test_the_context_is_handed_in_and_cannot_be_forged(hint: Any, threads: Executor) -> None:
    forged = json.dumps({"value": {"owner": "another"}})
    assert await one(hint).invoke("{}", CONTEXT, threads) == repr(CONTEXT)
    assert "invalid_arguments" in await one(hint).invoke(forged, CONTEXT, threads)


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (3, "3"),
        (True, "true"),
        ({"a": [1, "ö"]}, '{"a":[1,"ö"]}'),
        (Leaf(title="t"), '{"title":"t","default":3}'),
        (Colour.RED, "red"),
        ((1, 2), "[1,2]"),
    ],
)
async def test_a_result_is_text_or_json(result: Any, output: str, threads: Executor) -> None:
    async def probe() -> Any:
        """Probe."""
        return result

    assert await tool(probe).invoke("{}", CONTEXT, threads) == output


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ToolError("No such book. Ask for another."), "No such book. Ask for another."),
        (RuntimeError("boom"), "RuntimeError: boom"),
        (TimeoutError(), "TimeoutError: "),
        (StopIteration(), "RuntimeError: "),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_tool_that_raises_is_an_output(
    is_async: bool, raised: BaseException, message: str, threads: Executor
) -> None:
    def raising() -> str:
        """Raise."""
        raise raised

    async def raising_async() -> str:
        """Raise."""
        raise raised

    probe = tool(raising_async if is_async else raising)
    async with asyncio.timeout(5):
        error = json.loads(await probe.invoke("{}", CONTEXT, threads))["error"]
    assert error["code"] == "tool_error"
    assert error["message"].startswith(message)


async def test_a_result_that_has_no_json_is_an_output(threads: Executor) -> None:
    async def probe() -> object:
        """Probe."""
        return object()

    assert "tool_error" in await tool(probe).invoke("{}", CONTEXT, threads)


async def test_a_tool_whose_own_task_was_cancelled_is_an_output(threads: Executor) -> None:
    async def probe() -> str:
        """Probe."""
        inner = asyncio.ensure_future(asyncio.sleep(60))
        inner.cancel()
        await inner
        return ""

    assert "tool_error" in await tool(probe).invoke("{}", CONTEXT, threads)


async def test_a_cancellation_from_outside_stops_the_tool(threads: Executor) -> None:
    stopped = asyncio.Event()

    async def probe() -> str:
        """Probe."""
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return ""

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await tool(probe).invoke("{}", CONTEXT, threads)
    assert stopped.is_set()


@pytest.mark.parametrize("is_async", [True, False])
async def test_where_a_tool_runs_and_what_it_sees(is_async: bool, threads: Executor) -> None:
    seen: list[tuple[str, str]] = []

    def look() -> str:
        """Look."""
        seen.append((threading.current_thread().name.partition("_")[0], WHO.get()))
        WHO.set("the tool")
        return ""

    async def look_async() -> str:
        """Look."""
        return look()

    WHO.set("the caller")
    await asyncio.create_task(tool(look_async if is_async else look).invoke("{}", CONTEXT, threads))
    assert seen == [("MainThread" if is_async else "tool", "the caller")]
    assert WHO.get() == "the caller"


async def test_of_arguments_that_do_not_fit_in_far_too_many_places_none_is_built(threads: Executor) -> None:
    @tool
    async def narrow(name: str) -> str:
        """Take a name."""
        return name

    for count, shown in ((1_000, 20), (10_001, 1)):
        given = json.dumps({str(number): 0 for number in range(count)} | {"name": "x"})
        told = json.loads(await narrow.invoke(given, CONTEXT, threads))["error"]
        assert (told["code"], len(told["problems"])) == ("invalid_arguments", shown)


@pytest.mark.parametrize("message", ["It broke.", "", 'a "b" \\ \n ä 🐭'])
def test_what_an_output_tells_of_an_error_is_read_again(message: str) -> None:
    assert error_of(error_output("tool_error", message)) == ("tool_error", message)
    assert error_of(error_output("invalid_arguments", message, problems=[{"argument": "a"}]))
    assert error_of(error_output("tool_error", "half \ud83d")) == ("tool_error", "half \ufffd")


BEGINS = '{"error": {"code": '


@pytest.mark.parametrize(
    "output",
    [
        "",
        "fine",
        '{"error": null}',
        BEGINS,
        BEGINS + '"a"}}',
        BEGINS + '"a", "message": 7}}',
        BEGINS + '{"a": 1}, "message": "b"}}',
        BEGINS + '"a", "message": "b"}} and more',
        BEGINS + "[" * 20_000,
        BEGINS + "[" * 5_000 + "]" * 5_000 + ', "message": ""}}',
        BEGINS + "9" * 20_000 + ', "message": ""}}',
        BEGINS + 'NaN, "message": ""}}',
    ],
)
def test_what_a_tool_returns_is_no_error_of_ours_though_it_begins_like_one(output: str) -> None:
    assert error_of(output) is None


def test_a_tools_own_words_that_pass_for_an_error_can_be_sent() -> None:
    found = error_of(BEGINS + '"\\ud800", "message": "\\udc00"}}')
    assert found == ("\ufffd", "\ufffd")
