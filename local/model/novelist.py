"""The default script: a novelist of space stories, who answers plainly when there is nothing to write."""

from __future__ import annotations

from local.model.arguments import call, offered, topic_of
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn

NAME = "novelist"
TOOLS = ("research_space_facts", "generate_character_profiles")
_LONGEST_QUOTE = 2_000


def suits(request: Json) -> bool:
    """Both tools are offered; without them the novelist just answers."""
    return set(TOOLS) <= offered(request).keys()


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """What the novelist does now: asks for both tools, writes the story from them, or echoes.

    Without `parallel_tool_calls` it asks for one tool at a time.
    """
    topic = topic_of(conversation.latest_user_message)
    if not topic or not suits(request):
        return Turn(text=_plain(conversation))
    outputs = dict(conversation.tool_outputs)
    missing = [name for name in TOOLS if name not in outputs]
    if not missing:
        return Turn(text=_story(topic, *(outputs[name] for name in TOOLS)))
    if request.get("parallel_tool_calls") is False:
        missing = missing[:1]
    tools = offered(request)
    return Turn(calls=tuple(call(tools[name], topic) for name in missing))


def _plain(conversation: Conversation) -> str:
    users = conversation.user_messages
    said = f"You said: {users[-1]}" if users else "You said nothing."
    earlier = f"Before that I heard {len(users) - 1} earlier user message{'s' * (len(users) != 2)}."
    given = [f"{name} gave: {output[:_LONGEST_QUOTE]}" for name, output in conversation.tool_outputs]
    return "\n".join([said, earlier, *given, *conversation.approvals])


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
