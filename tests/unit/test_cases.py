"""Tests that are one for many rows."""

from __future__ import annotations

import pytest

from tests.parts.cases import cases


def test_all_rows_are_tried_and_those_that_fail_are_named() -> None:
    tried: list[tuple[int, str]] = []

    @cases("number, word", [(1, "a"), (2, "b"), (3, "c")])
    def odd(number: int, word: str) -> None:
        tried.append((number, word))
        assert number == 2

    with pytest.raises(ExceptionGroup, match="2 of 3 rows") as found:
        odd()
    assert tried == [(1, "a"), (2, "b"), (3, "c")]
    assert [each.__notes__ for each in found.value.exceptions] == [
        ["with {'number': 1, 'word': 'a'}"],
        ["with {'number': 3, 'word': 'c'}"],
    ]


async def test_an_asynchronous_one_is_awaited() -> None:
    @cases("text", ["right", "wrong"])
    async def right(text: str) -> None:
        assert text == "right"

    with pytest.raises(ExceptionGroup, match="1 of 2 rows"):
        await right()


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        cases("text", [])
    with pytest.raises(ValueError, match="argument"):
        cases("one, two", [(1, 2, 3)])
    with pytest.raises(TypeError, match="takes something else"):

        @cases("text", ["a"])
        def with_a_fixture(text: str, tmp_path: object) -> None:
            raise AssertionError(text, tmp_path)
