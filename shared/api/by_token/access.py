"""Whether the run token of a call lets it do what it asks."""

from __future__ import annotations

from starlette.requests import Request

from shared.api.run_tokens import Access, Right, verify
from shared.errors import DormouseError, NotFound, TokenInQuery, TokenRequired, TokenRightMissing
from shared.wiring import App

IN_A_QUERY = frozenset({"token", "access_token", "authorization", "bearer", "jwt"})
"""Names that a token goes by in an address."""


def access(request: Request, app: App, subject_id: str, right: Right, missing: type[DormouseError]) -> Access:
    """What the call's token opens: whether that is this run or batch shows when it is read.

    Raises ``TokenInQuery``, ``TokenRequired``, ``InvalidToken``, ``TokenExpired``, ``TokenRightMissing``, and
    ``missing`` for a token of another run or batch. It reads nothing, so that who has no token costs no storage.
    """
    check_there_are_tokens(app)
    if IN_A_QUERY & {name.lower() for name in request.query_params}:
        raise TokenInQuery
    scheme, _, given = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise TokenRequired(headers={"WWW-Authenticate": "Bearer"})
    token = verify(app.settings, given.strip(), app.ports.clock())
    if token.subject_id != subject_id:
        raise missing
    if right not in token.rights:
        raise TokenRightMissing(f"This run token does not allow that. Ask for one with the right to `{right}`.")
    by = "token" if token.label is None else f"token:{token.label}"
    return Access(by=by, opens=token.opens, viewer=f"token:{subject_id}")


def check_there_are_tokens(app: App) -> None:
    """Raises ``NotFound`` where there are none: then no call here could ever be let in."""
    if not app.settings.run_token_secrets:
        raise NotFound("This app gives out no run tokens. Set DORMOUSE_RUN_TOKEN_SECRET, or use `/api/runs`.")
