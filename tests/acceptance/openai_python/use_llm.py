"""The library behind the command `llm`: `use_llm.py … responses|chat`. It keeps its settings in this folder."""

import json
import os
from pathlib import Path

from steps import AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script

os.environ["LLM_USER_PATH"] = str(Path.cwd())
more = {"api_base": URL, "supports_tools": True, "api_key_name": "mine", "responses": "chat" not in MORE}
known = [{"model_id": f"my-{name}", "model_name": name, **more} for name in sorted({AGENT, TOOLS_AGENT})]
Path("keys.json").write_text(json.dumps({"mine": KEY}))
Path("extra-openai-models.yaml").write_text(json.dumps(known))  # JSON is YAML

import llm  # noqa: E402 - it reads its settings from there

model = llm.get_model(f"my-{AGENT}")


def ask(step, **more):
    return model.prompt(script(step), stream=False, **more).text()


def text():
    return ask("text")


def stream():
    return "".join(model.prompt(script("stream"), stream=True))


def helper(step="helper"):
    return model.prompt(script(step), stream=True).text()


def turns():
    conversation = model.conversation()
    return [conversation.prompt(script(step), stream=False).text() for step in ("turns", "turns2")]


def system():
    return ask("system", system=PIRATE)


def options():
    return ask("options", temperature=0.2, max_tokens=900)


def tools():
    front = llm.get_model(f"my-{TOOLS_AGENT}")
    return front.chain(f"{script('tools')} {QUESTION}", tools=[lookup], stream=False).text()


play("llm", text, stream, helper, turns, system, options, tools, ask=ask, read_stream=helper)
