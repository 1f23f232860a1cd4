"""The text of a message while it is sent: what a client has of it, and what may be sent next. Pure."""

from __future__ import annotations

from shared.agentkit.lenient import well_formed
from shared.api.openai.positions import LONGEST, characters_of, code_of


class OpenWords:
    """The words of an open message.

    They may begin anew, in another attempt or at a new start by the provider. As long as the new words are those that
    the client has, nothing is sent, and it goes on behind them: many clients can only append.
    """

    def __init__(self, had: int = 0) -> None:
        self._had = had
        """How many characters the client has from an earlier connection; they come again, and are skipped."""

        self._sent: list[str] = []
        self._length = 0
        self._pending = ""
        self._before: str | None = ""
        """What the client has of an earlier beginning; None: that is not known. It is compared, then empty."""

        self._same = 0
        self._half = ""

    @classmethod
    def whole(cls, text: str) -> OpenWords:
        """The words of a message that were sent to the end."""
        words = cls()
        words._keep(text)
        return words

    @property
    def length(self) -> int:
        """How many characters of this beginning were sent."""
        return self._length

    @property
    def client_has(self) -> str | None:
        """The words that the client has; None where that is not known."""
        if self._had or self._before is None:
            return None
        return self._before or "".join(self._sent)

    def begun_anew(self) -> OpenWords:
        """The words of the next beginning, for the same client."""
        new = OpenWords()
        new._before = self.client_has
        return new

    def hear(self, text: str) -> bool:
        """More words. Returns whether the client must hear that the message begins anew, before the next of them."""
        text = self._characters(text)
        # A text above the bound is sent when the turn is over.
        if not text or self._length >= LONGEST:
            return False
        if self._had:
            again, text = text[: self._had], text[self._had :]
            self._had -= len(again)
            self._keep(again)
        if self._before is None:
            self._before, self._pending = "", text
            return True
        if self._before:
            return self._compare(text)
        self._pending += text
        return False

    def take(self) -> str:
        """What may be sent now: up to a length that a position can hold."""
        if self._before or self._before is None:
            return ""
        length = characters_of(code_of(self._length + len(self._pending)))
        text, self._pending = self._pending[: length - self._length], self._pending[length - self._length :]
        self._keep(text)
        return text

    def _keep(self, sent: str) -> None:
        self._sent.append(sent)
        self._length += len(sent)

    def _compare(self, text: str) -> bool:
        before = self._before or ""
        expected = before[self._same : self._same + len(text)]
        if not text.startswith(expected):
            self._before, self._pending = "", before[: self._same] + text
            return True
        self._same += len(expected)
        if self._same == len(before):
            self._before = ""
            self._keep(before)
            self._pending = text[len(expected) :]
        return False

    def _characters(self, text: str) -> str:
        # The provider may cut a delta within a surrogate pair, and some clients fail at half of one.
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return well_formed(text)
