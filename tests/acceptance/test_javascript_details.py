"""What a run shows beside its status, and who may see it: by the JavaScript client, against the whole local stack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from tests.acceptance import test_javascript
from tests.acceptance.conftest import CLIENT_KEYS, Stack, Target
from tests.acceptance.test_javascript import Node, finish_when_followed

driver, node = test_javascript.driver, test_javascript.node

TEXT = "A dormouse sleeps. " * 9


async def test_the_input_the_timeline_and_whole_tool_calls_are_read(target: Target, node: Node) -> None:
    much = {"name": "write_much", "arguments": {"label": "much", "times": 3_000}}
    await target.model.script("much", [{"calls": [much]}, {"text": "Done."}])
    said = await node(
        target.api.url,
        """
        const input = `[script:much] ${"word ".repeat(100)}`;
        const run = await client.submit({ input, title: "Much", agent: "workshop" });
        const done = await client.wait(run);
        const [call] = done.tool_calls;
        say({
          done, input: await client.input(run), timeline: await client.timeline(run.id),
          call: await client.toolCall(done, call),
          same: (await client.toolCall(run.id, "1.0")).url === call.url,
          missing: [await code(client.toolCall(run, "1.1")), await code(client.toolCall(run, "x"))],
        });
        """,
    )
    done, call = said["done"], said["call"]
    assert (done["title"], len(done["input_preview"])) == ("Much", 200)
    (message,) = said["input"]["input"]
    assert message["content"] == f"[script:much] {'word ' * 100}"
    assert sum(entry["wakes"] for entry in said["timeline"]["data"]) == done["wakes"]
    assert [said["timeline"]["data"][at]["kind"] for at in (0, -1)] == ["created", "ended"]
    assert done["tool_calls"][0]["truncated"]
    assert len(call["whole_result"]) > 3_000
    assert json.loads(call["whole_arguments"]) == much["arguments"]
    assert said["same"]
    first, last = said["missing"]
    assert (first, last) == ([True, "tool_call_not_found", 404], [True, "not_found", 404])


async def test_what_comes_beside_the_text_is_in_the_run_while_it_is_watched(target: Target, node: Node) -> None:
    search = {"type": "web_search_call", "action": {"type": "search", "query": "dormouse"}}
    cited = {"type": "url_citation", "url": "https://example.com/", "title": "A", "start_index": 2, "end_index": 10}
    turn = {"reasoning": "First I look.", "hosted": [search], "text": TEXT, "annotations": [cited], "stuck": True}
    await target.model.script("beside", [turn])
    watching = node(
        target.api.url,
        """
        const run = await client.submit({ input: "[script:beside]", agent: "studio", stream: true });
        const views = [];
        for await (const view of client.watch(run)) views.push(view);
        const all = views.map(({ event, run: { annotations, hosted_calls, reasoning } }) => {
          return { event, annotations, hosted_calls, reasoning };
        });
        say({ all, end: views.at(-1).run, done: await client.get(run.id) });
        """,
    )
    said, _ = await asyncio.gather(watching, finish_when_followed(target.model, "beside", 1))
    assert said["end"] == said["done"]
    assert {"reasoning", "hosted_call", "annotation", "delta"} <= {view["event"] for view in said["all"]}
    before = [view for view in said["all"] if view["event"] == "delta"][-1]
    assert [(call["id"], call["status"]) for call in before["hosted_calls"]] == [
        (call["id"], "completed") for call in said["done"]["hosted_calls"]
    ]
    assert [each["text"].strip() for each in before["reasoning"]] == ["First I look."]
    last = [view for view in said["all"] if view["event"] != "end"][-1]
    assert last["annotations"] == said["done"]["annotations"]
    assert len(last["annotations"]) == 1


async def test_a_token_opens_its_run_or_batch_and_nothing_else(own_stack: Callable[..., Stack], node: Node) -> None:
    stack = own_stack("durable", DORMOUSE_RUN_TOKEN_SECRET="a-secret-of-the-tests-" * 2)
    key = "the-function-key"
    host = await asyncio.to_thread(lambda: stack.host(args=["--function-key", key]))
    await stack.model.script("long", [{"text": TEXT, "stuck": True}])
    await stack.model.script("asks", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"text": "Sent."}])
    await stack.model.script("good", [{"text": "good"}])
    watching = node(
        host.url,
        f"""
        const app = new Dormouse({{ url, headers: {{ "x-functions-key": "{key}" }} }});
        const page = (token) => new Dormouse({{ url, token, retries: 0 }});
        const token = {{ rights: ["read"] }};
        const run = await app.submit({{ input: "[script:long]", agent: "workshop", stream: true, token }});
        const reader = page(run.token.token);
        let last;
        for await (const view of reader.watch(run.id)) last = view;

        const asked = await app.submit({{ input: "[script:asks]", agent: "workshop" }});
        const rights = ["read", "answer", "cancel"];
        const made = await app.createToken(asked, {{ rights, seconds: 60, label: "Ada" }});
        const person = page(async () => made.token);
        const parked = await person.wait(asked.id, {{ until: (now) => now.required_action }});
        await person.answer(parked, {{ [parked.required_action.calls[0].id]: {{ approve: true }} }});
        const done = await person.wait(parked);

        const batch = await app.submitBatch({{ items: [{{ input: "[script:good]" }}], agent: "workshop", token }});
        const visitor = page((await app.createToken(batch, {{ rights: ["read"] }})).token);
        const counts = (await visitor.waitBatch(batch.id)).counts;
        const nobody = new Dormouse({{ url, retries: 0 }});

        say({{
          text: last.text, event: last.event, isFuture: new Date(made.expires_at) > new Date(),
          done: [done.status, done.tool_calls[0].answered_by],
          counts, batch: (await page(batch.token.token).batch(batch)).id === batch.id,
          refused: [
            await code(reader.cancel(run.id)), await code(reader.get(asked.id)), await code(reader.batch(batch)),
            await code(visitor.get(run.id)), await code(page("forged").get(run.id)), await code(nobody.get(run.id)),
            await code(app.createToken(batch, {{ rights: ["cancel"] }})), await code(reader.timeline(run.id)),
          ],
        }});
        """,
    )
    said, _ = await asyncio.gather(watching, finish_when_followed(stack.model, "long", 1))
    assert (said["text"], said["event"], said["isFuture"]) == (TEXT, "end", True)
    assert said["done"] == ["completed", "token:Ada"]
    assert (said["counts"]["completed"], said["batch"]) == (1, True)
    assert [each[1:] for each in said["refused"]] == [
        ["token_right_missing", 403],
        ["run_not_found", 404],
        ["batch_not_found", 404],
        ["run_not_found", 404],
        ["invalid_token", 401],
        ["http_401", 401],
        ["invalid_request", 400],
        ["not_with_a_token", 0],
    ]


async def test_a_server_acts_for_its_people(own_stack: Callable[..., Stack], node: Node) -> None:
    secret = CLIENT_KEYS[next(iter(CLIENT_KEYS))]
    stack = own_stack(
        "durable", DORMOUSE_DELEGATION="1", DORMOUSE_API_KEYS=f"server+delegate:{secret},other:{secret[::-1]}"
    )
    host = await asyncio.to_thread(stack.host)
    await stack.model.script("good", [{"text": "good"}])
    said = await node(
        host.url,
        """
        const of = (onBehalfOf) => new Dormouse({ url, onBehalfOf, retries: 0 });
        const [ann, bob] = [of("ann@example.com"), of("bob")];
        const run = await ann.submit({ input: "[script:good]", agent: "workshop" });
        const mine = await ann.wait(run);
        let seen;
        for await (const view of ann.watch(run)) seen = view.event;
        const has = async (who) => (await who.list()).data.some((each) => each.id === run.id);
        const lists = [await has(ann), await has(bob), await has(client)];
        const others = [await code(bob.get(run)), await code(bob.watch(run).next()), await code(bob.timeline(run))];
        say([mine.status, seen, lists, ...others]);
        """,
    )
    nothing = [True, "run_not_found", 404]
    assert said == ["completed", "end", [True, False, False], nothing, nothing, nothing]
