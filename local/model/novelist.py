"""The default script: a novelist of space stories, who answers plainly when there is nothing to write."""

from __future__ import annotations

import json
import re
from typing import Any

from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Call, Turn

NAME = "novelist"
TOOLS = ("research_space_facts", "generate_character_profiles")
_LONGEST_QUOTE = 2_000


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """What the novelist does now: asks for both tools, writes the story from them, or echoes.

    Without `parallel_tool_calls` it asks for one tool at a time.
    """
    offered = {t.get("name"): t for t in request.get("tools") or () if t.get("type") == "function"}
    topic = _topic(conversation.latest_user_message)
    if not topic or request.get("tool_choice") == "none" or not all(name in offered for name in TOOLS):
        return Turn(text=_plain(conversation))
    outputs = dict(conversation.tool_outputs)
    missing = [name for name in TOOLS if name not in outputs]
    if not missing:
        return Turn(text=_story(topic, *(outputs[name] for name in TOOLS)))
    if request.get("parallel_tool_calls") is False:
        missing = missing[:1]
    calls = (Call(name=name, arguments=_arguments(offered[name], topic)) for name in missing)
    return Turn(calls=tuple(calls))


def _topic(message: str) -> str:
    return " ".join(message.split())[:300]


def _arguments(tool: Json, topic: str) -> str:
    schema = tool.get("parameters") or {}
    given = {name: _value(kind, topic) for name, kind in (schema.get("properties") or {}).items()}
    return json.dumps(given, ensure_ascii=False)


def _value(schema: Json, topic: str) -> Any:
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], topic)
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind in ("integer", "number"):
        number = re.search(r"\b[1-9]\b", topic)
        return int(number[0]) if number else 2
    simple: dict[str, Any] = {"boolean": True, "array": [topic], "object": {}, "null": None}
    return simple.get(kind, topic)


def _plain(conversation: Conversation) -> str:
    users = conversation.user_messages
    said = f"You said: {users[-1]}" if users else "You said nothing."
    earlier = f"Before that I heard {len(users) - 1} earlier user message{'s' * (len(users) != 2)}."
    outputs = "".join(f"\n{name} gave: {output[:_LONGEST_QUOTE]}" for name, output in conversation.tool_outputs)
    return f"{said}\n{earlier}{outputs}"


def _story(topic: str, facts: str, characters: str) -> str:
    return "\n\n".join(
        (
            f"A story: {topic}",
            "The crew had read the briefing so often that they could say it in their sleep.",
            facts.strip()[:_LONGEST_QUOTE],
            "Who they were, the ship's log tells in its own words.",
            characters.strip()[:_LONGEST_QUOTE],
            "When the engines fell silent, nobody spoke. Out there, between one light and the next, there was"
            " nothing to do but wait, and they had learned to wait well. The beacon answered on the ninth day.",
            "They turned the ship around and went to meet it.",
        )
    )
