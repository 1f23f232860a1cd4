"""What the task hub needs of whoever calls the app's functions."""

from collections.abc import Mapping
from typing import Any, Protocol


class FunctionFailedError(Exception):
    """A function raised: `text` is `Type: message`, `stack` its traceback."""

    def __init__(self, text: str, stack: str = "") -> None:
        super().__init__(text)
        self.text = text
        # The extension puts it into the details of a failed activity.
        self.stack = stack


class Caller(Protocol):
    """Calls the app's functions."""

    async def activity(self, name: str, input_text: str) -> str:
        """Returns the result as JSON text. Raises FunctionFailedError."""
        ...

    async def orchestrator(self, name: str, context: str) -> Mapping[str, Any]:
        """Returns the orchestrator's state. Raises FunctionFailedError."""
        ...
