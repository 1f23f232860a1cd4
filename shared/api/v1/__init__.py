"""``/api/v1``: the same runs in the shapes of the OpenAI API, so that its clients are clients of ours.

``model`` names the agent, a response is a run. Callers are known by a key of their own (``DORMOUSE_API_KEYS``); while
none is set, none of this exists. One file a resource, and one a shape.
"""
