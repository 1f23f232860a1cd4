"""What below ``/api/v1`` no route matches."""

from __future__ import annotations

from typing import Any

from shared.api.routing import other_methods
from shared.api.v1.keys import owner_of
from shared.errors import MethodNotAllowed, NotFound
from shared.wiring import App


def not_found(request: Any, app: App) -> Any:
    """Raises what is wrong: the key, the method, or the address."""
    owner_of(request, app.settings)
    methods = other_methods(request, f"v1/{request.path_params.get('rest', '')}")
    if methods:
        allow = ", ".join(methods)
        raise MethodNotAllowed(f"This address takes {allow}.", headers={"Allow": allow})
    raise NotFound("No such address here. This app has `/responses`, `/chat/completions` and `/models`.")
