"""What OpenAI's clients may send: taken, ignored, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.datastructures import QueryParams

from shared.api.openai.http import error_object, openai_error, owner_of_key
from shared.api.openai.messages import read_messages
from shared.api.openai.objects import response_id, run_id_of
from shared.api.openai.requests import check_size, flag_of_query
from shared.errors import DormouseError, InputTooLarge, InvalidApiKey, InvalidRequest, NotFound, UnsupportedParameter
from shared.settings import Settings
from tests.parts.cases import cases
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
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": [{}]}], "input[1].content[0]"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": 7}], "input[1].content"),
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
        ([SYSTEM | {"content": ""}], "input"),
        ([{"role": "assistant", "content": None}, {"role": "user", "content": None}], "input"),
        ([SYSTEM | {"content": [{"type": "input_image"}]}, ASKED], "input[0].content[0].type"),
        ([SYSTEM | {"content": "\ud800"}, ASKED], "input[0].content[0].text"),
        ([SYSTEM | {"content": 7}, ASKED], "input[0].content"),
        ([SYSTEM | {"colour": "red"}, ASKED], "input[0].colour"),
        ([SYSTEM | {"role": ["system"]}, ASKED], "input[0].role"),
    ],
)  # fmt: skip
def test_instructions_must_be_text_and_something_must_be_said(given: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages(given)
    assert refused.value.details["param"] == param


SAID = {"role": "assistant", "content": "Hi."}
REFUSED = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}


@cases(
    ("given", "kept"),
    [
        ([ASKED, SAID], ["Well?", "Hi."]),
        ([SAID], ["Hi."]),
        ([SYSTEM], ["Be brief."]),
        ([ASKED, SYSTEM], ["Well?", "Be brief."]),
        ([ASKED, REFUSED], ["Well?", "No."]),
        # A history may have messages without words: of a turn that only called tools, or that failed.
        ([SAID | {"content": None}, ASKED], ["Well?"]),
        ([{"role": "assistant"}, SAID | {"content": ""}, SAID | {"content": []}, ASKED], ["Well?"]),
        ([ASKED | {"content": None}, ASKED], ["Well?"]),
    ],
)
def test_any_message_may_be_the_last_and_one_without_words_is_passed_over(given: Any, kept: list[str]) -> None:
    assert [item["content"] for item in read_messages(given)] == kept


@cases("given", [[ASKED, {"role": "user"}], [ASKED, ASKED | {"content": ""}], [SAID | {"tool_calls": [], "x": 1}]])
def test_nothing_else_is_passed_over_with_the_words(given: Any) -> None:
    with pytest.raises(InvalidRequest):
        read_messages(given)


def image(address: str) -> Any:
    return [{"role": "user", "content": [{"type": "input_image", "image_url": address}]}]


@cases("address", ["data:image/png;base64,AA==", "data:image/svg+xml;base64,+/9", "https://example.com/a.png"])
def test_an_image_may_be_an_address_or_the_image_itself(address: str) -> None:
    (item,) = read_messages(image(address))
    assert item["content"] == [{"type": "input_image", "image_url": address, "detail": "auto"}]
    check_size([item], 200)


@cases(
    "address",
    [
        "data:image/png;base64,", "data:image/png;base64,A A", "data:image/png,AA", "data:text/html;base64,AA",
        "data:;base64,AA", "data:image/png;base64,AA\n", "DATA:image/png;base64,AA", "data:image/png;base64,\u00e4",
        "file:///etc/passwd", "https://example.com/" + "a" * 9_000, f"data:image/{'a' * 99};base64,AA",
    ],
)  # fmt: skip
def test_no_other_data_is_an_image(address: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_messages(image(address))
    assert refused.value.details["param"] == "input[0].content[0].image_url"


def test_an_image_counts_in_the_size_of_the_input() -> None:
    with pytest.raises(InputTooLarge):
        check_size(read_messages(image(f"data:image/png;base64,{'A' * 2_000}")), 2_000)


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
