"""What the model is sent: chained to what it knows, or everything again where chaining does not work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.runs.actions import conversation
from shared.runs.actions.conversation import messages, replayed
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import RunStatus
from shared.runs.store.keys import item_key
from shared.runs.store.tables import Change, Kind, Table
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_transactions import operations

MISSING = {"status": 400, "json_error": {"code": "previous_response_not_found", "message": "Not found."}}


def call(label: str, name: str = "work", **more: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"label": label, **more}}


async def bodies(rig: Rig, run_id: str) -> list[dict[str, Any]]:
    """The bodies of the run's creates, accepted or not."""
    return [entry.body or {} for entry in await rig.model.log("create") if entry.metadata.get("run") == run_id]


def kinds(body: dict[str, Any]) -> list[str]:
    return [item["type"] for item in body["input"]]


async def test_a_second_run_goes_on_where_the_first_ended(rig: Rig) -> None:
    first = await rig.run_to_end("My name is Ada.", agent="novelist")
    # The novelist writes a story about anything; what it heard before is in the chain.
    second = await rig.run_to_end("Hello again.", session_id=first.request.session_id)
    assert second.status is RunStatus.COMPLETED
    body = (await bodies(rig, second.id))[0]
    assert body["previous_response_id"] == first.chain.response_ids[-1]
    assert [item["content"] for item in body["input"]] == ["Hello again."]


async def test_the_next_run_starts_from_the_last_good_point(rig: Rig) -> None:
    await rig.model.script("good", [{"text": "Fine."}])
    await rig.model.script("failed", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    await rig.model.script("incomplete", [{"status": "incomplete", "text": "Fi"}])
    await rig.model.script("stuck", [{"stuck": True}])
    good = await rig.run_to_end("[script:good]")
    session = {"session_id": good.request.session_id}
    for name, status in (("failed", RunStatus.FAILED), ("incomplete", RunStatus.INCOMPLETE)):
        assert (await rig.run_to_end(f"[script:{name}]", **session)).status is status
    stuck = await rig.start("[script:stuck]", **session)
    await cancel(rig.app.ports, stuck)
    await rig.finish(stuck)
    last = await rig.run_to_end("[script:good]", **session)
    assert last.status is RunStatus.COMPLETED
    (body,) = await bodies(rig, last.id)
    assert body["previous_response_id"] == good.chain.response_ids[-1]
    assert (await rig.session(last.id)).response_id == last.chain.response_ids[-1]


async def test_a_session_without_a_good_point_starts_anew(rig: Rig) -> None:
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    await rig.model.script("good", [{"text": "Fine."}])
    bad = await rig.run_to_end("[script:bad]")
    good = await rig.run_to_end("[script:good]", session_id=bad.request.session_id)
    assert good.status is RunStatus.COMPLETED
    (body,) = await bodies(rig, good.id)
    assert "previous_response_id" not in body
    assert [item["content"] for item in body["input"]] == ["[script:good]"]


async def test_a_predecessor_that_is_missing_is_asked_for_three_times_more_and_then_replayed(rig: Rig) -> None:
    await rig.model.script("one", [{"reasoning": "Hm.", "text": "Nice to meet you."}])
    await rig.model.script("two", [{"text": "Fine.", "faults": {"create": [{**MISSING, "times": 4}]}}])
    first = await rig.run_to_end("[script:one]")
    second = await rig.run_to_end("[script:two]", session_id=first.request.session_id)
    assert second.status is RunStatus.COMPLETED
    assert second.turn.unknown_outcomes == 0
    *chained, replay = await bodies(rig, second.id)
    assert [body.get("previous_response_id") for body in chained] == [first.chain.response_ids[-1]] * 4
    assert "previous_response_id" not in replay
    assert await rig.gaps() == [1.5, 2, 4, 8, 0]
    assert kinds(replay) == ["message", "message", "message"]
    assert [item["role"] for item in replay["input"]] == ["user", "assistant", "user"]
    assert replay["input"][1]["content"][0]["text"] == "Nice to meet you."


async def test_a_predecessor_that_is_found_after_all_is_chained_to(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [call("a")]}, {"text": "Fine.", "faults": {"create": [MISSING]}}])
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED
    assert not run.chain.replay
    assert (await bodies(rig, run.id))[-1]["previous_response_id"] == run.chain.response_ids[0]


async def test_tool_outputs_that_are_refused_after_a_background_response_are_replayed_at_once(rig: Rig) -> None:
    await rig.model.switches(azure_tool_outputs=True)
    turns = [
        {"reasoning": "Hm.", "text": "Wait.", "calls": [call("a"), call("b")]},
        {"reasoning": "Hm.", "calls": [call("c")]},
        {"text": "Done.", "echo": True},
    ]
    await rig.model.script("s", turns)
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED, run.result.error_message
    assert "worked on c" in await rig.text(run.id)
    first, refused, second, third = await bodies(rig, run.id)
    assert "previous_response_id" in refused
    assert "previous_response_id" not in second
    assert "previous_response_id" not in third, "the run remembers"
    assert kinds(first) == ["message"]
    assert kinds(second) == ["message", "message", "function_call", "function_call", *["function_call_output"] * 2]
    assert kinds(third) == [*kinds(second), "function_call", "function_call_output"]
    for item in third["input"]:
        assert "id" not in item
        assert "status" not in item
    session = await rig.session(run.id)
    assert session.replay
    assert (await rig.gaps())[1] == 0, "at once"

    await rig.model.script("more", [{"calls": [call("d")]}, {"text": "Done."}])
    more = await rig.run_to_end("[script:more]", session_id=run.request.session_id)
    assert more.status is RunStatus.COMPLETED
    fourth, fifth = await bodies(rig, more.id)
    assert kinds(fourth) == [*kinds(third), "message", "message"], "the session remembers"
    assert kinds(fifth) == [*kinds(fourth), "function_call", "function_call_output"]


async def test_a_run_that_fails_leaves_nothing_in_the_replays_of_the_next(rig: Rig) -> None:
    await rig.model.switches(azure_tool_outputs=True)
    await rig.model.script("good", [{"calls": [call("a")]}, {"text": "Fine."}])
    await rig.model.script("bad", [{"calls": [call("b")]}, {"status": "failed", "error": {"code": "invalid_prompt"}}])
    good = await rig.run_to_end("[script:good]")
    bad = await rig.run_to_end("[script:bad]", session_id=good.request.session_id)
    assert bad.status is RunStatus.FAILED
    last = await rig.run_to_end("[script:good]", session_id=good.request.session_id)
    assert last.status is RunStatus.COMPLETED
    body = (await bodies(rig, last.id))[0]
    said = [item["content"] for item in body["input"] if item.get("role") == "user"]
    assert said == ["[script:good]", "[script:good]"]
    assert "worked on b" not in json.dumps(body)


async def test_long_values_are_read_back_for_a_replay(rig: Rig) -> None:
    await rig.model.switches(azure_tool_outputs=True)
    await rig.model.script(
        "s",
        [
            {"repeat_text": {"text": "t", "times": 30_000}, "calls": [call("long ", "write_much", times=30_000)]},
            {"text": "Done."},
        ],
    )
    run = await rig.run_to_end("[script:s] " + "input " * 10_000)
    assert run.status is RunStatus.COMPLETED, run.result.error_message
    said, text, asked, output = (await bodies(rig, run.id))[-1]["input"]
    assert said["content"] == "[script:s] " + "input " * 10_000
    assert text["content"][0]["text"] == "t" * 30_000
    assert json.loads(asked["arguments"])["times"] == 30_000
    assert output["output"] == "long " * 30_000
    assert asked["call_id"] == output["call_id"]


@pytest.mark.parametrize("fault", [MISSING, {"status": 400, "json_error": {"message": "No tool call found for it."}}])
async def test_a_replay_that_is_refused_is_final(rig: Rig, fault: dict[str, Any]) -> None:
    turn = {"text": "Never.", "faults": {"create": [{**fault, "times": -1}]}}
    await rig.model.script("s", [{"calls": [call("a")]}, turn])
    run = await rig.run_to_end()
    assert run.status is RunStatus.FAILED
    assert run.result.error_code == fault["json_error"].get("code", "http_400")
    assert run.result.error_message == fault["json_error"]["message"]
    assert "previous_response_id" not in (await bodies(rig, run.id))[-1]


async def test_any_refusal_of_the_predecessor_ends_in_a_replay(rig: Rig) -> None:
    fault = {
        "status": 400,
        "json_error": {"message": "It cannot be used.", "param": "previous_response_id"},
        "times": 4,
    }
    await rig.model.script("s", [{"calls": [call("a")]}, {"text": "Fine.", "faults": {"create": [fault]}}])
    assert (await rig.run_to_end()).status is RunStatus.COMPLETED


async def test_a_first_turn_is_sent_as_it_was_given(rigs: NewRig) -> None:
    rig = await rigs()
    await rig.model.script("s", [{"text": "Fine.", "faults": {"create": [MISSING]}}])
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "previous_response_not_found")
    assert len(await rig.model.log("create")) == 1, "there is nothing to replay"


def test_only_items_that_stand_alone_are_replayed() -> None:
    items = [
        {"role": "user", "content": "Hi."},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": []},
        {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
    ]
    assert replayed(items) == [
        {"role": "user", "content": "Hi."},
        {"type": "message", "role": "assistant", "content": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
    ]


# --- the setting --------------------------------------------------------------------------------------


AZURE = {"status": 400, "json_error": {"message": "No tool call found for function call output with call_id c."}}


async def test_who_replays_always_never_chains(rigs: NewRig) -> None:
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"reasoning": "Hm.", "calls": [call("a")]}, {"text": "Done."}])
    first = await rig.run_to_end()
    second = await rig.run_to_end(session_id=first.request.session_id)
    sent = [*await bodies(rig, first.id), *await bodies(rig, second.id)]
    assert all("previous_response_id" not in body for body in sent)
    assert kinds(sent[1]) == ["message", "function_call", "function_call_output"]
    assert kinds(sent[2]) == [*kinds(sent[1]), "message", "message"]
    assert not (await rig.session(second.id)).replay, "a setting is nothing to remember"
    chaining = await rigs(chain="auto")
    third = await chaining.run_to_end(session_id=first.request.session_id)
    assert (await bodies(rig, third.id))[0]["previous_response_id"] == second.chain.response_ids[-1]


@pytest.mark.parametrize(
    ("fault", "creates", "code"), [(MISSING, 4, "previous_response_not_found"), (AZURE, 1, "http_400")]
)
async def test_who_only_chains_is_told_that_it_does_not_work(
    rigs: NewRig, fault: dict[str, Any], creates: int, code: str
) -> None:
    rig = await rigs(chain="chain")
    await rig.model.script(
        "s", [{"calls": [call("a")]}, {"text": "Done.", "faults": {"create": [{**fault, "times": -1}]}}]
    )
    run = await rig.run_to_end()
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, code)
    sent = (await bodies(rig, run.id))[1:]
    assert [body.get("previous_response_id") for body in sent] == [run.chain.response_ids[0]] * creates


async def test_who_only_chains_does_not_go_by_what_a_session_remembers(rigs: NewRig) -> None:
    auto, chain = await rigs(chain="auto"), await rigs(chain="chain")
    await auto.model.switches(azure_tool_outputs=True)
    await auto.model.script("s", [{"calls": [call("a")]}, {"text": "Done."}])
    first = await auto.run_to_end()
    assert (await auto.session(first.id)).replay
    await auto.model.script("t", [{"text": "Fine."}])
    second = await chain.run_to_end("[script:t]", session_id=first.request.session_id)
    assert (await bodies(auto, second.id))[0]["previous_response_id"] == first.chain.response_ids[-1]


async def test_a_missing_predecessor_replays_its_own_turn_and_the_next_is_chained_again(rig: Rig) -> None:
    turns = [
        {"calls": [call("a")]},
        {"calls": [call("b")], "faults": {"create": [{**MISSING, "times": 4}]}},
        {"text": "Done."},
    ]
    await rig.model.script("s", turns)
    run_id = await rig.start()
    run = await rig.follow(run_id, lambda run: run.turn.replay)
    assert (run.turn.number, run.chain.replay, run.replays) == (2, False, True)
    run = await rig.follow(run_id)
    assert (run.status, run.chain.replay, run.turn.replay, run.turn.number) == (RunStatus.COMPLETED, False, False, 3)
    first, *refused, replayed_turn, third = await bodies(rig, run.id)
    assert [body["previous_response_id"] for body in refused] == [run.chain.response_ids[0]] * 4
    assert "previous_response_id" not in replayed_turn
    assert kinds(replayed_turn) == [*kinds(first), "function_call", "function_call_output"]
    assert third["previous_response_id"] == run.chain.response_ids[1]
    assert kinds(third) == ["function_call_output"]
    session = await rig.session(run.id)
    assert (session.replay, session.response_id) == (False, run.chain.response_ids[2])
    await rig.model.script("t", [{"text": "Fine."}])
    after = await rig.run_to_end("[script:t]", session_id=run.request.session_id)
    assert (await bodies(rig, after.id))[0]["previous_response_id"] == run.chain.response_ids[2]


async def test_a_session_whose_last_response_is_gone_goes_on(rig: Rig) -> None:
    await rig.model.script("one", [{"text": "First."}])
    first = await rig.run_to_end("[script:one]")
    await rig.model.forget(first.chain.response_ids[0])
    second = await rig.run_to_end("[script:one]", session_id=first.request.session_id)
    assert second.status is RunStatus.COMPLETED, second.result.error_message
    assert kinds((await bodies(rig, second.id))[-1]) == ["message", "message", "message"]


async def test_what_only_a_run_that_failed_has_learnt_is_not_remembered(rig: Rig) -> None:
    await rig.model.script(
        "s",
        [
            {"calls": [call("a")]},
            {"status": "failed", "error": {"code": "invalid_prompt"}, "faults": {"create": [AZURE]}},
        ],
    )
    run = await rig.run_to_end()
    assert (run.status, run.chain.replay) == (RunStatus.FAILED, True)
    assert not (await rig.session(run.id)).replay


async def test_a_long_conversation_is_three_reads_and_those_of_its_long_values(rigs: NewRig) -> None:
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"text": "Fine."}])
    runs = [await rig.run_to_end("0 [script:s]")]
    for number in range(1, 13):
        runs.append(await rig.run_to_end(f"{number} [script:s]", session_id=runs[0].request.session_id))
    run = await rig.run(runs[-1].id)
    found: list[Any] = []

    async def read() -> None:
        found.extend(await messages(rig.app.ports, run, rig.app.ports.agents["workshop"]))

    assert await operations(rig, read) == {"query": 3}, "the heads, the items, and the run's own"
    assert [item["content"] for item in found if item["role"] == "user"] == [f"{n} [script:s]" for n in range(13)]
    assert [item["role"] for item in found] == ["user", "assistant"] * 13


@pytest.mark.parametrize("heads", [1, 2, 250])
@pytest.mark.parametrize("together", [0, 1_000, 400_000])
async def test_a_conversation_is_kept_in_order_however_it_is_read(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch, heads: int, together: int
) -> None:
    monkeypatch.setattr(conversation, "HEADS", heads)
    monkeypatch.setattr(conversation, "BYTES_TOGETHER", together)
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"calls": [call("a")]}, {"text": "Fine."}])
    await rig.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt"}}])
    long = "x" * 30_000
    first = await rig.run_to_end(f"0 [script:s] {long}")
    session = {"session_id": first.request.session_id}
    gone = await rig.run_to_end("1 [script:s]", **session)
    await rig.run_to_end("2 [script:bad]", **session)
    await rig.run_to_end("3 [script:s]", **session)
    await delete_run(rig.app.ports, gone.id)
    last = await rig.run_to_end("4 [script:s]", **session)
    (body, _) = await bodies(rig, last.id)
    assert [item["content"] for item in body["input"] if item.get("role") == "user"] == [
        f"0 [script:s] {long}",
        "3 [script:s]",
        "4 [script:s]",
    ]
    a_run = ["message", "function_call", "function_call_output", "message"]
    assert kinds(body) == [*a_run, *a_run, "message"]


async def test_half_of_a_conversation_is_none(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine."}])
    runs = [await rig.run_to_end("[script:s]")]
    for _ in range(2):
        runs.append(await rig.run_to_end("[script:s]", session_id=runs[0].request.session_id))
    (row,) = [row for row in rig.tables.rows(Table.RUNS) if row.key == item_key(2, 1)]
    await rig.tables.commit(Table.RUNS, row.partition, [Change(kind=Kind.DELETE, key=row.key, etag=row.etag)])
    anew = replace(runs[2], chain=replace(runs[2].chain, replay=True))
    with pytest.raises(LookupError, match="1 of its 2 items"):
        await messages(rig.app.ports, anew, rig.app.ports.agents["workshop"])


async def test_a_conversation_that_is_too_long_to_be_sent_anew_ends_the_run_in_words(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await rigs(chain="replay")
    await rig.model.script("s", [{"text": "done"}])
    first = await rig.run_to_end("[script:s]" + "x" * 3_000)
    monkeypatch.setattr(conversation, "MAX_REPLAYED", 5_000)
    second = await rig.run_to_end("[script:s]" + "y" * 3_000, session_id=first.request.session_id)
    assert (second.status, second.result.error_code) == (RunStatus.FAILED, "conversation_too_long")
    third = await rig.run_to_end("[script:s] short", session_id=first.request.session_id)
    assert third.status is RunStatus.COMPLETED, "what did not complete is not part of it"
