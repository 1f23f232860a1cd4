"""The default script for everybody: calls the functions that the user's message suggests, else it answers plainly."""

from __future__ import annotations

from local.model.arguments import call, is_suggested, offered, topic_of
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn

NAME = "assistant"
_LONGEST_QUOTE = 2_000


def suits(request: Json) -> bool:
    """It answers whatever it is asked."""
    return True


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """Call what the message suggests and has no output yet, all at once where that is allowed; then quote them."""
    message = conversation.latest_user_message
    given = dict(conversation.tool_outputs)
    missing = [tool for name, tool in offered(request).items() if name not in given and is_suggested(name, message)]
    if not missing:
        return Turn(text=plain_answer(conversation))
    if request.get("parallel_tool_calls") is False:
        missing = missing[:1]
    return Turn(calls=tuple(call(tool, topic_of(message)) for tool in missing))


def plain_answer(conversation: Conversation) -> str:
    """What was said, how much was said before, and what became of tools since then."""
    users = conversation.user_messages
    said = f"You said: {users[-1]}" if users else "You said nothing."
    earlier = f"Before that I heard {len(users) - 1} earlier user message{'s' * (len(users) != 2)}."
    given = [f"{name} gave: {output[:_LONGEST_QUOTE]}" for name, output in conversation.tool_outputs]
    return "\n".join([said, earlier, *given, *conversation.approvals])
