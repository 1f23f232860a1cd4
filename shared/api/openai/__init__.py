"""``/api/v1``: the same runs in the shapes of the OpenAI API, so that OpenAI's clients work with this app.

``model`` names the agent; what such a client calls a response is a run here. Callers have keys of their own
(``DORMOUSE_API_KEYS``); while none is set, nothing here can be called.
"""
