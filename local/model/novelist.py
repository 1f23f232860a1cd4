"""A default script: the novelist of space stories, whoever runs the two functions that it asks for."""

from __future__ import annotations

from local.model.arguments import call, called_like, offered, topic_of
from local.model.assistant import plain_answer
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn

NAME = "novelist"
TOOLS = ("research_space_facts", "generate_character_profiles")
_LONGEST_QUOTE = 2_000


def suits(request: Json) -> bool:
    """Both tools are offered, by these names or such as .NET makes of them."""
    return None not in _names(request)


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """What the novelist does now: asks for both tools, then writes the story from them.

    Without `parallel_tool_calls` it asks for one tool at a time.
    """
    topic = topic_of(conversation.latest_user_message)
    names = [name for name in _names(request) if name is not None]
    if not topic or len(names) < len(TOOLS):
        return Turn(text=plain_answer(conversation))
    outputs = dict(conversation.tool_outputs)
    missing = [name for name in names if name not in outputs]
    if not missing:
        return Turn(text=_story(topic, *(outputs[name] for name in names)))
    if request.get("parallel_tool_calls") is False:
        missing = missing[:1]
    tools = offered(request)
    return Turn(calls=tuple(call(tools[name], topic) for name in missing))


def _names(request: Json) -> list[str | None]:
    tools = offered(request)
    return [called_like(name, tools) for name in TOOLS]


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
