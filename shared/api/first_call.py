"""The app of this process, as the triggers have it: imported and put together by the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.wiring import App


def app() -> App:
    """The app. Raises ``Misconfigured`` as ``wiring.app`` does."""
    from shared import wiring

    return wiring.app()
