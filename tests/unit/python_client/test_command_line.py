"""The command line: what goes where, with which exit code, and how to come back after Ctrl-C."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dormouse_client import Batch, Dormouse, ProgressBar, _sync_client, _sync_io
from dormouse_client.__main__ import main, parser
from dormouse_client._terminal import printable
from dormouse_client.progress import line_of
from tests.unit.python_client.parts import RUN_ID, run
from tests.unit.python_client.test_watching import deltas, sse

HERE = {"DORMOUSE_URL": "http://app", "DORMOUSE_KEY": "secret"}
Answer = httpx2.Response | Exception | type[BaseException]


class Screen(io.StringIO):
    """A standard output that may be a terminal."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


class Program:
    """Runs the program against these answers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[httpx2.Request] = []
        self.out, self.error = Screen(), Screen()

    def __call__(self, *arguments: str, environ: dict[str, str] | None = None) -> int:
        return main(arguments, environ=HERE if environ is None else environ, out=self.out, error=self.error)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx2.Response):
            return answer
        raise answer


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program()
    real = httpx2.Client

    def client() -> httpx2.Client:
        return real(transport=httpx2.MockTransport(made.handle))

    monkeypatch.setattr(_sync_client.httpx2, "Client", client)
    monkeypatch.setattr(_sync_io.time, "sleep", lambda seconds: None)
    return made


def json_of(one: Any, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=one)


def events(*chunks: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(chunks))


def whole(status: str = "in_progress", **fields: Any) -> dict[str, Any]:
    return run(status, **{"required_action": None, "error": None, **fields})


def end_of(status: str = "completed", **fields: Any) -> bytes:
    return sse("end", whole(status, **fields), "end")


NEW = whole("queued")
STREAM_STATE = sse("state", whole())


def test_a_run_is_submitted_and_shown(program: Program) -> None:
    program.answers = [json_of(NEW, 202)]
    arguments = [
        "submit",
        "A story.",
        "--agent",
        "novelist",
        "--metadata",
        "a=b=c",
        "--metadata",
        "d=",
        "--deadline",
        "60",
        "--start-at",
        "2026-12-01T06:00:00Z",
    ]
    assert program(*arguments, "--idempotency-key", "mine") == 0
    (request,) = program.requests
    assert json.loads(request.content) == {
        "input": "A story.",
        "agent": "novelist",
        "metadata": {"a": "b=c", "d": ""},
        "deadline_seconds": 60.0,
        "start_at": "2026-12-01T06:00:00Z",
    }
    assert (request.headers["idempotency-key"], request.headers["x-functions-key"]) == ("mine", "secret")
    assert json.loads(program.out.getvalue()) == NEW
    assert program.error.getvalue() == f"{RUN_ID}\n"


def test_a_watched_run_writes_its_text_and_nothing_else_to_the_standard_output(program: Program) -> None:
    call = {"call_id": "c", "name": "work", "turn": 1, "state": "started", "progress": {"message": "half"}}
    program.answers = [
        json_of(NEW, 202),
        events(STREAM_STATE, deltas("Let me see."), sse("tool_started", call)),
        httpx2.ReadError("cut"),
        events(
            STREAM_STATE,
            sse("snapshot", {"text": ""}, "2.1.0"),
            sse("snapshot", {"text": "A sto"}, "2.1.4"),
            sse("wake", {"next": 1}),
            end_of(text="A story."),
        ),
    ]
    assert program("submit", "x", "--watch") == 0
    assert json.loads(program.requests[0].content)["stream"] is True
    assert program.out.getvalue() == "Let me see.\nA story.\n"
    said = program.error.getvalue()
    assert "[in_progress]\n[work started: half]" in said
    assert "Trying again in 1 s." in said
    assert said.endswith("[completed]\n")


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("incomplete", 1), ("failed", 1), ("cancelled", 1)])
def test_the_exit_code_says_how_it_ended(program: Program, status: str, code: int) -> None:
    program.answers = [json_of(NEW, 202), json_of(whole()), json_of(whole(status, text="So far."))]
    assert program("submit", "x", "--wait") == code
    assert program.out.getvalue() == "So far.\n"
    program.answers = [events(STREAM_STATE, end_of(status))]
    assert program("watch", RUN_ID) == code
    program.answers = [json_of(whole(status))]
    assert program("get", RUN_ID) == code


def test_the_error_of_a_run_is_said(program: Program) -> None:
    error = {"code": "turn_limit", "message": "Too many."}
    program.answers = [events(STREAM_STATE, deltas("So far."), end_of("failed", text="So far.", error=error))]
    assert program("watch", RUN_ID, "--json") == 1
    assert f"{RUN_ID} failed: Too many. [turn_limit]" in program.error.getvalue()
    assert json.loads(program.out.getvalue())["error"]["code"] == "turn_limit"


def test_what_a_run_waits_for_is_said_when_it_changes(program: Program) -> None:
    thinks = {"waiting_for": "provider", "waiting_text": "The model is thinking. Next look in 12 s."}
    states = [
        thinks,
        {**thinks, "waiting_text": "The model is thinking. Next look in 9 s."},
        {"waiting_for": "the moon", "waiting_text": "The moon is not up yet."},
        {"waiting_for": "nothing", "waiting_text": None},
    ]
    program.answers = [events(*(sse("status", whole(**state)) for state in states), end_of())]
    assert program("watch", RUN_ID) == 0
    assert program.error.getvalue().splitlines()[1:] == [
        "[in_progress] The model is thinking. Next look in 12 s.",
        "[in_progress] The moon is not up yet.",
        "[in_progress]",
        "[completed]",
    ]


def test_a_question_is_shown_once_with_the_command_that_answers_it(program: Program) -> None:
    question = {"id": "apr_1", "call_id": "c", "name": "file_report", "arguments": '{"a": 1}', "reason": "It is final."}
    asked = whole("requires_action", required_action={"type": "approve", "calls": [question]})
    program.answers = [events(sse("state", asked), sse("status", asked), end_of())]
    assert program("watch", RUN_ID) == 0
    said = program.error.getvalue()
    assert said.count('file_report({"a": 1}) needs an answer. It is final.') == 1
    command = next(line for line in said.splitlines() if "--approve" in line).split("   ")[0].split()
    assert command[:3] == ["python", "-m", "dormouse_client"]
    program.answers = [json_of(whole())]
    assert program(*command[3:], "--reason", "Fine.") == 0
    assert json.loads(program.requests[-1].content) == {"answers": {"apr_1": {"approve": True, "reason": "Fine."}}}


def test_a_refusal_is_an_answer_too(program: Program) -> None:
    program.answers = [json_of(whole())]
    assert program("answer", RUN_ID, "apr_1", "apr_2", "--refuse") == 0
    answers = {"apr_1": {"approve": False}, "apr_2": {"approve": False}}
    assert json.loads(program.requests[-1].content) == {"answers": answers}


@pytest.mark.parametrize("how", ["--watch", "--wait"])
def test_ctrl_c_leaves_the_run_going_and_says_how_to_come_back(program: Program, how: str) -> None:
    program.answers = [json_of(NEW, 202), KeyboardInterrupt]
    assert program("submit", "x", how) == 130
    assert [request.method for request in program.requests] == ["POST", "GET"]
    said = program.error.getvalue()
    assert f"{RUN_ID} goes on. Come back with: python -m dormouse_client watch {RUN_ID}" in said
    assert "--idempotency-key" not in said


@pytest.mark.parametrize("failure", [KeyboardInterrupt, *[httpx2.ConnectError("refused")]], ids=["ctrl-c", "network"])
def test_a_submit_without_an_answer_can_be_repeated_under_its_key(program: Program, failure: Answer) -> None:
    program.answers = [failure] * 6
    assert program("submit", "x", "--watch") == (130 if failure is KeyboardInterrupt else 3)
    keys = {request.headers["idempotency-key"] for request in program.requests}
    assert len(keys) == 1
    assert f"--idempotency-key {keys.pop()}" in program.error.getvalue()


def test_a_submit_that_was_refused_has_nothing_to_come_back_to(program: Program) -> None:
    program.answers = [json_of({"code": "unknown_agent", "detail": "There is no agent 'x' here."}, 400)]
    assert program("submit", "x", "--agent", "x") == 3
    assert program.error.getvalue() == "dormouse: There is no agent 'x' here. [unknown_agent]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["submit"],
        ["submit", "x", "--watch", "--wait"],
        ["submit", "x", "--deadline", "soon"],
        ["answer", RUN_ID, "apr_1"],
        ["answer", RUN_ID, "--approve"],
        ["answer", RUN_ID, "apr_1", "--approve", "--refuse"],
        ["sing"],
    ],
)
def test_a_command_line_that_cannot_be_meant_is_2(program: Program, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        program(*arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["get", RUN_ID], {}, "DORMOUSE_URL"),
        (["get", RUN_ID, "--url", "app"], {}, "app's address"),
        (["get", "../agents"], HERE, "not the id"),
        (["get", RUN_ID, "--on-behalf-of", "ä"], HERE, "on_behalf_of"),
        (["submit", "x", "--metadata", "a"], HERE, "name=value"),
        (["submit", "x", "--metadata", "=a"], HERE, "name=value"),
        (["batch", "no-such-file.txt"], HERE, "cannot be read"),
    ],
)
def test_what_is_wrong_with_it_is_said(
    program: Program, arguments: list[str], environ: dict[str, str], said: str
) -> None:
    assert program(*arguments, environ=environ) == 2
    assert said in program.error.getvalue()
    assert program.requests == []


def test_options_go_before_the_environment_and_an_empty_key_is_none(program: Program) -> None:
    program.answers = [json_of(whole()), json_of(whole())]
    program("get", RUN_ID, "--url", "http://other", "--key", "mine", "--on-behalf-of", "ada")
    program("get", RUN_ID, environ={**HERE, "DORMOUSE_KEY": ""})
    mine, other = program.requests
    assert (mine.url.host, mine.headers["x-functions-key"]) == ("other", "mine")
    assert mine.headers["dormouse-on-behalf-of"] == "ada"
    assert "x-functions-key" not in other.headers


def test_a_run_token_takes_the_place_of_the_key(program: Program) -> None:
    program.answers = [json_of(whole()) for _ in range(3)]
    assert program("get", RUN_ID, "--token", "t") == 0, "though the environment has a key"
    assert program("get", RUN_ID, environ={"DORMOUSE_URL": "http://app", "DORMOUSE_TOKEN": "t"}) == 0
    assert program("get", RUN_ID, "--key", "k", environ={"DORMOUSE_URL": "http://app", "DORMOUSE_TOKEN": "t"}) == 0
    sent = [(r.url.path, r.headers.get("authorization"), r.headers.get("x-functions-key")) for r in program.requests]
    shared = (f"/api/shared/runs/{RUN_ID}", "Bearer t", None)
    assert sent == [shared, shared, (f"/api/runs/{RUN_ID}", None, "k")]
    assert program("get", RUN_ID, environ={**HERE, "DORMOUSE_TOKEN": "t"}) == 2, "which of them is meant?"
    assert program("submit", "A story.", "--token", "t") == 2
    assert program("get", RUN_ID, "--token", "t", "--key", "k") == 2
    assert len(program.requests) == 3


def test_who_waits_for_a_batch_with_a_token_gets_the_batch_which_is_all_that_it_opens(
    program: Program, tmp_path: Path
) -> None:
    done = batch("completed", total=1, completed=1)
    program.answers = [json_of(done), json_of(done)]
    assert program("watch", "batch_1", "--token", "t") == 0
    assert json.loads(program.out.getvalue()) == done
    assert program("watch", "batch_1", "--token", "t", "--out", str(tmp_path / "out.jsonl")) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text()) == done
    assert program("items", "batch_1", "--token", "t") == 2
    assert len(program.requests) == 2


def batch(status: str, **counts: int) -> dict[str, Any]:
    names = ("total", "pending", "active", "completed", "incomplete", "failed", "cancelled")
    return {"id": "batch_1", "status": status, "object": "batch", "counts": dict.fromkeys(names, 0) | counts}


@pytest.mark.parametrize(("counts", "code"), [({"completed": 2}, 0), ({"completed": 1, "failed": 1}, 1)])
def test_a_batch_of_a_file_ends_with_its_items(
    program: Program, tmp_path: Path, counts: dict[str, int], code: int
) -> None:
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    program.answers = [
        json_of(batch("queued", total=2), 202),
        json_of(batch("in_progress", total=2, active=2)),
        json_of(batch("completed", total=2, **counts)),
        json_of({"data": [{"id": None, "text": "ä"}], "next_cursor": "2"}),
        json_of({"data": [{"id": None, "text": "b"}]}),
    ]
    out = tmp_path / "out.jsonl"
    assert program("batch", str(tmp_path / "in.txt"), "--out", str(out), "--concurrency", "1") == code
    assert json.loads(program.requests[0].content) == {"items": [{"input": "one"}, {"input": "two"}], "concurrency": 1}
    assert out.read_text("utf-8") == '{"id": null, "text": "ä"}\n{"id": null, "text": "b"}\n'
    assert program.out.getvalue() == ""
    assert "2/2" in program.error.getvalue()


def test_a_batch_is_come_back_to_like_a_run(program: Program, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    program.answers = [json_of(batch("queued", total=1), 202), KeyboardInterrupt]
    assert program("batch", str(tmp_path / "in.txt")) == 130
    assert "watch batch_1" in program.error.getvalue()
    program.answers = [json_of(batch("completed", total=1, completed=1)), json_of({"data": [{"id": "a"}]})]
    assert program("watch", "batch_1") == 0
    assert program.out.getvalue() == '{"id": "a"}\n'
    program.answers = [json_of(batch("cancelling", total=1)), json_of({"data": []})]
    assert program("cancel", "batch_1") == 0
    assert program.requests[-1].url.path == "/api/batches/batch_1/cancel"
    assert program("items", "batch_1") == 0


@pytest.mark.parametrize("out", ["/no/such/folder/out.jsonl", "."])
def test_results_that_cannot_be_written_are_told_before_anything_begins(
    program: Program, tmp_path: Path, out: str
) -> None:
    (tmp_path / "in.txt").write_text("one\n")
    for arguments in (["batch", str(tmp_path / "in.txt")], ["watch", "batch_1"]):
        assert program(*arguments, "--out", out) == 2
    assert "cannot be written" in program.error.getvalue()
    assert program.requests == []


def test_a_terminal_is_given_no_commands_by_a_text(program: Program) -> None:
    evil = "\x1b]0;owned\x07a\x9b31m\tb\r\nc\x7f"
    program.out.tty = True
    program.answers = [events(STREAM_STATE, deltas(evil), end_of(text=evil))]
    assert program("watch", RUN_ID) == 0
    assert program.out.getvalue() == "]0;owneda31m\tb\nc\n"
    assert printable("ä🐭\n\t") == "ä🐭\n\t"


def test_a_pipe_gets_the_text_byte_for_byte(program: Program) -> None:
    program.answers = [events(STREAM_STATE, deltas("\x1b[1m"), end_of(text="\x1b[1m"))]
    program("watch", RUN_ID)
    assert program.out.getvalue() == "\x1b[1m\n"


OPERATOR = {**HERE, "DORMOUSE_OPERATOR_KEY": "mine"}


@pytest.mark.parametrize(
    ("arguments", "method", "path", "sent"),
    [
        (["intake"], "GET", "/api/ops/intake", None),
        (["intake", "pause"], "PUT", "/api/ops/intake", {"paused": True}),
        (
            ["intake", "pause", "--reason", "Back at noon.", "--retry-after", "120"],
            "PUT",
            "/api/ops/intake",
            {"paused": True, "reason": "Back at noon.", "retry_after_seconds": 120},
        ),
        (["intake", "resume"], "PUT", "/api/ops/intake", {"paused": False}),
        (["drain"], "GET", "/api/ops/drain", None),
        (["drain", "on"], "PUT", "/api/ops/drain", {"draining": True}),
        (["drain", "off"], "PUT", "/api/ops/drain", {"draining": False}),
        (["wake", RUN_ID], "POST", f"/api/ops/runs/{RUN_ID}/wake", None),
        (["release", RUN_ID], "POST", f"/api/ops/runs/{RUN_ID}/release", None),
        (["end", "batch_1"], "POST", "/api/ops/batches/batch_1/end", None),
    ],
)
def test_an_operators_call_goes_where_it_belongs(
    program: Program, arguments: list[str], method: str, path: str, sent: Any
) -> None:
    program.answers = [json_of({"draining": True})]
    assert program("ops", *arguments, environ=OPERATOR) == 0
    (request,) = program.requests
    assert (request.method, request.url.path) == (method, path)
    assert (json.loads(request.content) if request.content else None) == sent
    assert request.headers["x-dormouse-operator-key"] == "mine"
    assert request.headers["x-functions-key"] == "secret"
    assert json.loads(program.out.getvalue()) == {"draining": True}


def test_an_operators_list_is_written_line_by_line_over_all_pages(program: Program) -> None:
    pages: list[dict[str, Any]] = [{"data": [{"id": "a"}, {"id": "b"}], "next_cursor": "n"}, {"data": [{"id": "c"}]}]
    program.answers = [json_of(page) for page in pages]
    assert program("ops", "overdue", "--operator-key", "other", environ=OPERATOR) == 0
    assert [request.url.params.get("cursor") for request in program.requests] == [None, "n"]
    assert {request.headers["x-dormouse-operator-key"] for request in program.requests} == {"other"}
    assert program.out.getvalue() == '{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["intake", "off"], "pause or resume"),
        (["drain", "pause"], "on or off"),
        (["overdue", "x"], "takes nothing"),
        (["end"], "takes the id"),
        (["end", "run/../x"], "is not the id"),
        (["drain", "on", "--reason", "x"], "intake pause"),
        (["intake", "resume", "--retry-after", "1"], "intake pause"),
    ],
)
def test_an_operators_call_that_means_nothing_is_not_made(program: Program, arguments: list[str], said: str) -> None:
    assert program("ops", *arguments, environ=OPERATOR) == 2
    assert said in program.error.getvalue()
    assert program.requests == []


def test_without_the_operators_key_nothing_is_asked_and_no_other_command_sends_it(program: Program) -> None:
    assert program("ops", "drain", "on") == 2
    assert "DORMOUSE_OPERATOR_KEY" in program.error.getvalue()
    program.answers = [json_of(whole())]
    program("get", RUN_ID, environ=OPERATOR)
    assert "x-dormouse-operator-key" not in program.requests[0].headers


def test_a_refused_operator_is_told_why(program: Program) -> None:
    wrong = {"code": "invalid_operator_key", "detail": "Send the key.", "status": 401}
    program.answers = [httpx2.Response(401, json=wrong)]
    assert program("ops", "drain", environ=OPERATOR) == 3
    assert "Send the key." in program.error.getvalue()
    assert "mine" not in program.error.getvalue()


def test_every_command_explains_itself() -> None:
    help_text = parser().format_help()
    for name in ("submit", "get", "watch", "answer", "cancel", "batch", "items", "ops"):
        assert f"\n    {name} " in help_text


def test_a_line_shows_how_far_a_batch_is() -> None:
    made: Batch = batch("in_progress", total=8, completed=2, failed=1, cancelled=1)  # type: ignore[assignment]
    assert line_of(made, 12.4) == "batch_1 [############............] 4/8, 1 failed, 1 cancelled, 12 s"
    assert "0/0" in line_of(batch("completed"), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("tty", "shown"), [(True, 1), (False, 3)])
def test_the_line_changes_in_place_where_somebody_sees_it(tty: bool, shown: int) -> None:
    screen = Screen(tty=tty)
    bar = ProgressBar(screen, clock=lambda: 0.0)
    for counts in ({"failed": 1}, {"completed": 1}):
        bar(batch("in_progress", total=2, **counts))  # type: ignore[arg-type]
    bar(batch("completed", total=2, completed=2))  # type: ignore[arg-type]
    lines = screen.getvalue().splitlines() if not tty else screen.getvalue().rstrip("\n").split("\n")
    assert len(lines) == shown
    assert screen.getvalue().endswith("\n")
    if tty:
        first, second, _ = screen.getvalue().split("\r")[1:]
        assert len(second) == len(first), "what was longer is wiped out"


def test_a_batch_shows_its_line_when_it_is_asked_to(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[str] = []
    for progress in (True, False, None):
        program.answers = [json_of(batch("queued", total=1), 202), json_of(batch("completed", total=1, completed=1))]
        done = Dormouse("http://app").batch(
            ["x"], progress=progress, on_progress=lambda now: seen.append(now["status"])
        )
        assert done["status"] == "completed"
        assert ("1/1" in capsys.readouterr().err) == (progress is True)
    assert seen == ["completed"] * 3
