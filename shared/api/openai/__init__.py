"""``/api/v1``: the same runs in the shapes of the OpenAI API, so that OpenAI's clients work with this app.

``model`` names the agent; what such a client calls a response is a run here. Callers have keys of their own
(``DORMOUSE_API_KEYS``); while none is set, nothing here can be called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.first_use import submodules

if TYPE_CHECKING:
    from shared.api.openai import azure as azure
    from shared.api.openai import chat as chat
    from shared.api.openai import models as models
    from shared.api.openai import responses as responses
else:
    __getattr__ = submodules(__name__)
