"""What causes wakes: an orchestration per run, or a timer's sweep. Knows `runs`; knows no HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.first_use import submodules

if TYPE_CHECKING:
    from shared.drivers import activity as activity
    from shared.drivers import retention as retention
    from shared.drivers import sweep as sweep
else:
    __getattr__ = submodules(__name__)
