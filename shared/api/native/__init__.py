"""The app's own API: a file a resource, with its handlers, what they answer with, and what they say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.first_use import submodules

if TYPE_CHECKING:
    from shared.api.native import agents as agents
    from shared.api.native import batches as batches
    from shared.api.native import contract as contract
    from shared.api.native import deliveries as deliveries
    from shared.api.native import events as events
    from shared.api.native import health as health
    from shared.api.native import ops as ops
    from shared.api.native import owners as owners
    from shared.api.native import run_changes as run_changes
    from shared.api.native import run_details as run_details
    from shared.api.native import runs as runs
    from shared.api.native import schedules as schedules
    from shared.api.native import sessions as sessions
    from shared.api.native import tokens as tokens
else:
    __getattr__ = submodules(__name__)
