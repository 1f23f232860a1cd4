"""What callers read of a provider's words, and what stands in the log."""

from __future__ import annotations

import time

import pytest

from shared.agentkit.redaction import MAX_TEXT, for_callers, plain_code, without_secrets
from tests.parts.cases import cases

AZURE_KEY = "8f14e45fceea167a5a36dedd4bea2543"

SECRETS = [
    pytest.param("Incorrect API key provided: sk-proj-abc123DEF456ghi.", "sk-proj-abc123DEF456ghi", id="OpenAI key"),
    pytest.param("Incorrect API key provided: sk-proj-****Wxyz.", "Wxyz", id="masked key"),
    pytest.param(f"invalid subscription key {AZURE_KEY}", AZURE_KEY, id="Azure key"),
    pytest.param("Authorization: Bearer abcdefg was refused", "abcdefg", id="bearer"),
    pytest.param("got Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy", id="basic"),
    pytest.param("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "c2ln", id="JSON Web Token"),
    pytest.param("see https://a.blob.core.windows.net/c/b?sv=2022-11-02&sr=b&sig=Ab%2Bc%3D", "Ab%2Bc", id="SAS"),
    pytest.param("the fragment sig=Ab%2Bc%3D&se=2027 alone", "Ab%2Bc", id="SAS fragment"),
    pytest.param("AccountName=a;AccountKey=Zm9vYmFy;EndpointSuffix=x", "Zm9vYmFy", id="connection string"),
    pytest.param('{"api_key": "topsecret"}', "topsecret", id="JSON"),
    pytest.param("https://user:hunter2@files.example.com/x", "hunter2", id="password in a URL"),
    pytest.param("password=hunter2", "hunter2", id="password"),
    pytest.param("POST https://app.example/api/x?code=AbCdEf012345==", "AbCdEf012345", id="function key"),
    pytest.param("whsec_YSBzZWNyZXQ= does not sign", "YSBzZWNyZXQ", id="webhook secret"),
    pytest.param("key q9Zt4Kx8Wm2Lp6Rv1Nc5Hs7Jd3Gf0By8Tq4Zw6Xe2U here", "q9Zt4Kx8", id="long and random"),
]

ADDRESSES = [
    pytest.param("upstream http://10.0.0.5:8080/v1 refused", "10.0.0.5", id="private URL"),
    pytest.param("connect call failed ('10.1.2.3', 8443)", "10.1.2.3", id="IPv4"),
    pytest.param("no route to [fd00::12]:443", "fd00::12", id="IPv6"),
    pytest.param("cannot connect to model-gw.prod.internal:8443", "model-gw", id="internal name"),
    pytest.param("at http://gateway/v1", "gateway", id="single label"),
    pytest.param("proxy gateway:9000 is away", "gateway", id="name with a port"),
    pytest.param("localhost:6379 refused", "6379", id="localhost"),
    pytest.param("x.privatelink.openai.azure.com", "privatelink", id="private link"),
    pytest.param("GET https://api.example.com/v1?user=ann", "ann", id="query"),
]

HARMLESS = [
    "The model `no-such-model` does not exist, or you have no access to it.",
    "This model's maximum context length is 128000 tokens. Your messages resulted in 130000 tokens.",
    "No tool call found for function call output with call_id call_abc123.",
    "Invalid value: 'foo'. Supported values are: 'a', 'b'. See https://platform.openai.com/docs/errors.",
    "messages[0].content[1]: expected an object, at 12:30:45",
    "The bearer token is missing.",
    "request ID req_0123456789abcdef0123456789abcdef",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_reaches_neither_callers_nor_the_log(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in for_callers(text)
    assert secret not in without_secrets(text)


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_an_internal_address_is_for_the_log_alone(text: str, address: str) -> None:
    assert address in without_secrets(text)
    assert address not in for_callers(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_helps_is_left_as_it_is(text: str) -> None:
    assert for_callers(text) == text


@cases("text", [each.values[0] for each in (*SECRETS, *ADDRESSES)])
def test_what_was_redacted_stays_as_it_is(text: str) -> None:
    assert for_callers(for_callers(text)) == for_callers(text)


def test_a_text_is_cut_to_size() -> None:
    assert len(for_callers("word " * 10_000)) == MAX_TEXT
    assert len(for_callers("word " * 10_000, most=10)) == 10


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "a:", "A1", "token ", "sv=a&b=", "eyJaaaaaaaaa.", "1.", "x://", "::", "=' "]
)
def test_no_text_takes_long_to_read(piece: str) -> None:
    began = time.perf_counter()
    for_callers(piece * (1_000_000 // len(piece)))
    assert time.perf_counter() - began < 5.0, "some milliseconds, or minutes where a pattern goes wrong"


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("rate_limit_exceeded", "rate_limit_exceeded"),
        ("failed: server_error", "failed: server_error"),
        (413, "413"),
        (None, "?"),
        ("", "?"),
        ("sk-abc12345678", "?"),
        ("10.0.0.1", "?"),
        ("x" * 65, "?"),
        ("half \ud800", "?"),
        ({"a": 1}, "?"),
    ],
)
def test_a_code_is_a_plain_word_or_none(code: object, plain: str) -> None:
    assert plain_code(code, otherwise="?") == plain
