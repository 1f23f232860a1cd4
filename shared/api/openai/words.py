"""The text of a message while it is told: what a client has of it, and what may be told next. Pure."""

from __future__ import annotations

from shared.agentkit.lenient import well_formed
from shared.api.openai.positions import LONGEST, characters_of, code_of


class OpenWords:
    """The words of an open message.

    They may begin anew, in another attempt or at a new start by the provider. As long as the new words are those that
    the client has, nothing is told, and it goes on behind them: many clients can only append.
    """

    def __init__(self, had: int = 0) -> None:
        self.refusal: bool | None = None
        """Whether these words are a refusal; None before the first."""

        self._had = had
        """How many characters the client has from an earlier connection; they come again, and are skipped."""

        self._told: list[str] = []
        self._length = 0
        self._pending = ""
        self._before: str | None = ""
        """What the client has of an earlier beginning; None: that is not known. It is compared, then empty."""

        self._before_refusal: bool | None = None
        self._same = 0
        self._half = ""
        self._held = False

    @classmethod
    def whole(cls, text: str, *, refusal: bool) -> OpenWords:
        """The words of a message that were told to the end."""
        words = cls()
        words.refusal, words._held = refusal, True
        words._keep(text)
        return words

    @property
    def length(self) -> int:
        """How many characters of this beginning were told."""
        return self._length

    @property
    def client_has(self) -> str | None:
        """The words that the client has; None where that is not known."""
        if self._had or self._before is None:
            return None
        return self._before or "".join(self._told)

    @property
    def client_has_refusal(self) -> bool | None:
        """Whether the words that the client has are a refusal; None without any."""
        return self._before_refusal if self._before else self.refusal

    def begun_anew(self, *, has_part: bool) -> OpenWords:
        """The words of the next beginning, for the same client; ``has_part``: its message has a content part."""
        new, has = OpenWords(), self.client_has
        # A part without words: nobody knows any more whether it is one of text or of a refusal.
        new._before, new._before_refusal = None if has_part and not has else has, self.client_has_refusal
        return new

    def hear(self, text: str, *, refusal: bool) -> bool:
        """More words. Returns whether the client must be told that the message begins anew, before the next of them."""
        text = self._characters(text)
        if self._held or not text:
            return False
        if self.refusal is None:
            self.refusal = refusal
        # A second part of the message, and a text above the bound, are told when the turn is over.
        if self.refusal is not refusal or self._length >= LONGEST:
            self._held = True
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
        """What may be told now: up to a length that a position can hold."""
        if self._before or self._before is None:
            return ""
        length = characters_of(code_of(self._length + len(self._pending)))
        text, self._pending = self._pending[: length - self._length], self._pending[length - self._length :]
        self._keep(text)
        return text

    def _keep(self, told: str) -> None:
        self._told.append(told)
        self._length += len(told)

    def _compare(self, text: str) -> bool:
        before = self._before or ""
        expected = before[self._same : self._same + len(text)]
        if self.refusal is not self._before_refusal or not text.startswith(expected):
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
