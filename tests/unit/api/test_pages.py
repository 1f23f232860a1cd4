"""What list calls may ask for."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request

from shared.api.operations import cursor_parameter
from shared.api.pages import RUN_CURSOR, read_page
from shared.errors import InvalidRequest
from shared.runs.model.phases import RunStatus

CURSOR = f"{1:014}:run_{'a' * 32}_7:{'b' * 16}"


def request(**query: str) -> Any:
    return SimpleNamespace(query_params=QueryParams(query))


def test_without_parameters_a_page_is_twenty_of_everything() -> None:
    page = read_page(request())
    assert (page.limit, page.cursor, page.wanted.statuses, page.wanted.agent) == (20, None, frozenset(), None)


def test_filters_limit_and_cursor_are_taken() -> None:
    page = read_page(request(limit="100", cursor=CURSOR, status="failed,cancelled", agent="novelist", code="key"))
    assert (page.limit, page.cursor, page.wanted.agent) == (100, CURSOR, "novelist")
    assert page.wanted.statuses == {RunStatus.FAILED, RunStatus.CANCELLED}


@pytest.mark.parametrize("query", ["status=failed&status=cancelled", "status=failed,&status=cancelled,failed"])
def test_a_filter_that_is_repeated_means_all_of_its_values(query: str) -> None:
    page = read_page(cast("Request", SimpleNamespace(query_params=QueryParams(query))))
    assert page.wanted.statuses == {RunStatus.FAILED, RunStatus.CANCELLED}


def test_each_value_of_a_repeated_filter_is_checked() -> None:
    with pytest.raises(InvalidRequest):
        read_page(cast("Request", SimpleNamespace(query_params=QueryParams("status=done&status=failed"))))


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "x' or '1' eq '1"}, "cursor"),
        ({"cursor": CURSOR + "\n"}, "cursor"),
        ({"status": "done"}, "status"),
        ({"state": "failed"}, "state"),
    ],
)
def test_what_is_none_of_ours_is_refused_by_name(query: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_page(request(**query))
    assert caught.value.details["param"] == named


def test_the_contract_s_pattern_of_a_cursor_is_for_the_whole_of_it() -> None:
    pattern = str(cursor_parameter(RUN_CURSOR.pattern).schema["pattern"])
    key = f"98204713147120:run_{'a' * 32}_1:65aa8f48b9b48faa"
    for cursor, fits in ((key, True), ("~eyJ9", True), (f"{key}x", False), ("x~eyJ9", False), (f"{key}~eyJ9", False)):
        assert (re.search(pattern, cursor) is not None) is fits
        assert (RUN_CURSOR.fullmatch(cursor) is not None) is fits
