"""Errors: a code, a status and a sentence each; all rendered in one place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from shared import errors
from shared.errors import DormouseError


def family(kind: type[DormouseError] = DormouseError) -> Iterator[type[DormouseError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


ALL = [kind for kind in family() if kind.__module__ == errors.__name__]


def test_no_two_errors_share_a_code() -> None:
    assert [code for code, count in Counter(kind.code for kind in ALL).items() if count > 1] == []


def test_an_error_has_a_code_a_status_and_a_sentence_of_its_own() -> None:
    for kind in ALL:
        assert {"code", "status", "__doc__"} <= vars(kind).keys(), kind
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code), kind
        assert 400 <= kind.status <= 599, kind
        assert kind().message == str(kind())
        assert re.fullmatch(r"[A-Z`][^\n]{20,200}\.", kind().message), kind


def test_a_sentence_of_the_moment_takes_the_place_of_the_docstring() -> None:
    error = errors.SessionBusy("Later.", headers={"Retry-After": "5"}, active_run="run_1")
    assert (error.message, error.headers, error.details) == ("Later.", {"Retry-After": "5"}, {"active_run": "run_1"})
    assert errors.SessionBusy().message.startswith("A run of this session is active.")
