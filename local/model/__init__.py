"""The scripted model: a server that speaks the Responses API and Chat Completions, and answers by a script.

`ScriptedModel` runs one within this process, `python -m local.model` one of its own;
`control.ModelControl` is the client of its control API.
"""

from local.model.server import ScriptedModel

__all__ = ["ScriptedModel"]
