"""``/api/shared``: runs and batches for whoever has a run token, in pages of other origins too.

The handlers are those of ``shared.api.native``; here is only who may call them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.first_use import submodules

if TYPE_CHECKING:
    from shared.api.by_token import routes as routes
else:
    __getattr__ = submodules(__name__)
