"""A default script: the market analyst, who searches the web and asks for prices, then writes an analysis from both."""

from __future__ import annotations

import re

from local.model.arguments import call, offered, topic_of
from local.model.conversation import Conversation
from local.model.errors import Json
from local.model.script import Turn

NAME = "analyst"
PRICES = "price_history"
NEWS = "The news of the week is quiet; the prices say more."
_SYMBOL = re.compile(r"\b[A-Z]{2,5}\b")


def suits(request: Json) -> bool:
    """The hosted web search and the price tool are offered."""
    searches = any(str(tool.get("type")).startswith("web_search") for tool in request.get("tools") or ())
    return searches and PRICES in offered(request)


def next_turn(conversation: Conversation, request: Json) -> Turn:
    """Search and ask for prices at once; the analysis holds the tool's output unchanged."""
    topic = topic_of(conversation.latest_user_message)
    outputs = dict(conversation.tool_outputs)
    tools = offered(request)
    # Known by the outputs, not by a count: after a replay the conversation is all that there is.
    if PRICES in tools and PRICES not in outputs:
        symbol = _SYMBOL.search(topic)
        known = dict.fromkeys(("symbol", "ticker"), symbol[0]) if symbol else {}
        search = {"type": "web_search_call", "action": {"type": "search", "query": topic}}
        return Turn(hosted=(search,), calls=(call(tools[PRICES], topic, **known),))
    text = "\n\n".join(
        (
            f"An analysis: {topic}",
            NEWS,
            outputs.get(PRICES, "There are no prices."),
            "Nothing in this is advice: it was written by a script.",
        )
    )
    at = text.index(NEWS)
    source = {"type": "url_citation", "url": "https://example.com/news", "title": "The news of the week"}
    return Turn(text=text, annotations=({**source, "start_index": at, "end_index": at + len(NEWS)},))
