"""The assistant: for callers who bring instructions and functions of their own, and run the functions themselves."""

from __future__ import annotations

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.settings import Settings

INSTRUCTIONS = """\
You are a helpful assistant. Call the functions that you are offered whenever they help with the answer, all at once \
where none of them needs what another gives. Without them, answer from what you know and say what you do not know."""

CALLER_OPTIONS = (
    "max_output_tokens",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "truncation",
    "user",
    "verbosity",
)
"""What OpenAI's clients commonly set. Not ``service_tier``: whoever runs this app pays for it. Not ``temperature`` and
``top_p``: models that reason refuse them, and clients send them unasked.
"""


def build(settings: Settings, provider: Provider) -> Agent:
    """The agent over the Responses API. It has no tools of its own, so that there is nothing here to talk it into."""
    return ResponsesAgent(
        name="assistant",
        description="Answers with the instructions and functions that its caller brings.",
        instructions=INSTRUCTIONS,
        model=settings.model,
        provider=provider,
        caller_options=CALLER_OPTIONS,
        caller_instructions="append",
        caller_tools="allow",
    )
