"""What OpenAI's clients may send: taken, ignored, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import QueryParams

from shared.api.openai.http import error_object, openai_error, owner_of_key
from shared.api.openai.objects import response_id, run_id_of
from shared.api.openai.requests import check_size, flag_of_query, read_messages
from shared.errors import DormouseError, InputTooLarge, InvalidApiKey, InvalidRequest, NotFound, UnsupportedParameter
from shared.settings import Settings
from tests.unit.api.conftest import content, request
from tests.unit.runs.records import a_run

SECRET = "0123456789abcdef"
KEYS = Settings(api_keys=f"ada:{SECRET}, bob:{SECRET}:with-a-colon")


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ({"authorization": f"Bearer {SECRET}"}, "key:ada"),
        ({"authorization": f"bearer  {SECRET} "}, "key:ada"),
        ({"authorization": f"Bearer {SECRET}:with-a-colon"}, "key:bob"),
        ({"api-key": SECRET}, "key:ada"),
        ({"api-key": SECRET, "authorization": "Basic x"}, "key:ada"),
    ],
)
def test_a_key_names_its_owner(headers: dict[str, str], owner: str) -> None:
    assert owner_of_key(request({}, headers=headers), KEYS) == owner


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": ""}, {"authorization": SECRET}, {"authorization": "Bearer"}, {"authorization": "Bearer ada"},
     {"api-key": f"ada:{SECRET}"}, {"api-key": SECRET, "authorization": "Bearer x"}, {"x-functions-key": SECRET}],
)  # fmt: skip
def test_anything_else_is_no_key(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidApiKey):
        owner_of_key(request({}, headers=headers), KEYS)


def test_without_keys_there_is_nothing_to_find() -> None:
    with pytest.raises(NotFound):
        owner_of_key(request({}, headers={"authorization": "Bearer "}), Settings())


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input[0].content"),
        (7, "input"),
        ([7], "input[0]"),
        ([{"role": "user"}], "input[0].content"),
        ([{"role": "king", "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input[0].content[0].image_url"),
        ([{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}], "input[0].content[0].file_url"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0]"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": []}], "input[1].content"),
        ([{"role": "user", "content": "x"}] * 1_001, "input"),
    ],
)  # fmt: skip
def test_a_wrong_message_is_named_by_its_place(given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages(given)
    assert refused.value.details["param"] == param


def test_a_message_that_was_read_from_a_response_may_be_sent_again() -> None:
    part = {"type": "output_text", "text": "Hi.", "annotations": [], "logprobs": None}
    earlier = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part, part]}
    items = read_messages(
        [{"role": "user", "content": "Hello.", "id": None}, earlier, {"role": "user", "content": "And?"}]
    )
    assert items == (
        {"type": "message", "role": "user", "content": "Hello."},
        {"type": "message", "role": "assistant", "content": "Hi.Hi."},
        {"type": "message", "role": "user", "content": "And?"},
    )


SYSTEM = {"role": "system", "content": "Be brief."}
TEXT = {"type": "input_text", "text": "Be brief."}
ASKED = {"role": "user", "content": "Well?"}


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ([SYSTEM, ASKED], ["developer", "user"]),
        ([ASKED, {"role": "developer", "content": [TEXT]}], ["user", "developer"]),
        ([SYSTEM | {"content": ""}, {"role": "system", "content": []}, {"role": "system"}, ASKED], ["user"]),
        ([SYSTEM | {"content": None, "name": "x"}, SYSTEM | {"content": " \n"}, ASKED], ["user"]),
    ],
)  # fmt: skip
def test_a_message_that_instructs_is_the_callers_developer_message(given: Any, roles: list[str]) -> None:
    items = read_messages(given)
    assert [item["role"] for item in items] == roles
    assert {item["content"] for item in items} <= {"Be brief.", "Well?"}


def test_a_message_that_instructs_may_be_one_of_the_user_or_refused() -> None:
    assert [item["role"] for item in read_messages([SYSTEM, ASKED], "input")] == ["user", "user"]
    assert [item["role"] for item in read_messages([ASKED, SYSTEM], "input")] == ["user", "user"]
    with pytest.raises(UnsupportedParameter, match=r"input\[1\]\.role"):
        read_messages([ASKED, SYSTEM], "refuse")


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([SYSTEM], "input"),
        ([SYSTEM | {"content": ""}], "input"),
        ([SYSTEM, {"role": "assistant", "content": "Hi."}, SYSTEM], "input[1].role"),
        ([SYSTEM | {"content": [{"type": "input_image"}]}, ASKED], "input[0].content[0].type"),
        ([SYSTEM | {"content": "\ud800"}, ASKED], "input[0].content[0].text"),
        ([SYSTEM | {"content": 7}, ASKED], "input[0].content"),
        ([SYSTEM | {"colour": "red"}, ASKED], "input[0].colour"),
        ([SYSTEM | {"role": ["system"]}, ASKED], "input[0].role"),
    ],
)  # fmt: skip
def test_instructions_alone_are_no_question_and_must_be_text(given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages(given)
    assert refused.value.details["param"] == param


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "user", "content": nested(600)}],
        [{"role": "user", "content": [{"type": "input_text", "text": nested(600)}]}],
        [{"role": "assistant", "content": "half a pair: \ud800"}, {"role": "user", "content": "x"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "\ud800"}]}, {"role": "user", "content": "x"}],
        {"role": "assistant", "content": [{"type": "output_text", "text": "\ud800"}]},
        [{"role": {"\ud800": nested(600)}, "content": "x"}],
    ],
)
def test_what_is_no_text_is_refused_however_it_is_built(given: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_size(read_messages(given), 1_000)
    assert openai_error(refused.value).status_code == 400


def test_the_size_of_the_input_is_that_of_its_text() -> None:
    items = read_messages("é" * 10)
    check_size(items, 20)
    with pytest.raises(InputTooLarge):
        check_size(items, 19)


def test_an_error_has_openais_four_and_what_else_is_known() -> None:
    response = openai_error(InvalidRequest("No.", errors=[{"field": "a.b"}], more=None, active=1))
    assert response.status_code == 400
    assert content(response) == {
        "error": {
            "message": "No.",
            "type": "invalid_request_error",
            "code": "invalid_request",
            "param": "a.b",
            "active": 1,
        }
    }
    assert error_object(DormouseError())["type"] == "server_error"


def test_a_responses_name_is_its_runs() -> None:
    run = a_run().id
    assert run_id_of(response_id(run)) == run
    for other in (run, "resp_", "resp_x", "resp_resp_" + run, f"{response_id(run)}\n", response_id(run).upper()):
        assert run_id_of(other) is None


@pytest.mark.parametrize(
    ("query", "flag"), [("", False), ("stream=true", True), ("stream=True", True), ("stream=false", False)]
)
def test_a_flag_in_the_query_is_true_or_false(query: str, flag: bool) -> None:
    assert flag_of_query(cast("Any", SimpleNamespace(query_params=QueryParams(query))), "stream") is flag


@pytest.mark.parametrize("query", ["stream=", "stream=null", "stream=1", "stream=true&stream=yes", "stream=true "])
def test_any_other_word_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        flag_of_query(cast("Any", SimpleNamespace(query_params=QueryParams(query))), "stream")
    assert caught.value.details["param"] == "stream"
