"""The HTTP face: parse, call a command or a query, render. What its two APIs share is here, each has a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.first_use import submodules

if TYPE_CHECKING:
    from shared.api import webhooks as webhooks
else:
    __getattr__ = submodules(__name__)
