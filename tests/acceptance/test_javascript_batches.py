"""Batches by the JavaScript client, in Node.js, against the whole local stack."""

from __future__ import annotations

from tests.acceptance import test_javascript
from tests.acceptance.batches import counts
from tests.acceptance.conftest import Target
from tests.acceptance.test_javascript import Node

driver, node = test_javascript.driver, test_javascript.node


async def test_a_batch_is_submitted_waited_for_and_read_in_pages(target: Target, node: Node) -> None:
    await target.model.script("s", [{"text": "You said:", "echo": True}])
    said = await node(
        target.api.url,
        """
        const items = [..."abcde"].map((id) => ({ id, input: `[script:s] item ${id}` }));
        const asked = { agent: "workshop", items: [...items, { id: "bad", input: "" }], metadata: { job: "ä" } };
        const batch = await client.submitBatch(asked, { key: "the night's" });
        const same = await client.submitBatch(asked, { key: "the night's" });
        const seen = [];
        const done = await client.waitBatch(batch, { onChange: (now) => seen.push(now.status) });
        const byId = await client.waitBatch(batch.id);
        const [pages, failed] = [[], await client.batchItems(batch.id, { status: ["failed", "cancelled"] })];
        for (let cursor; pages.length === 0 || cursor; ) {
          const page = await client.batchItems(done, { limit: 4, cursor });
          pages.push(page.data);
          cursor = page.next_cursor;
        }
        const every = [];
        for await (const item of client.items(done, { limit: 4 })) every.push(item.id);
        say({
          all: every, ids: [batch.id, same.id, byId.id, (await client.batches({ limit: 1 })).data[0].id],
          done, seen, pages, failed, unchanged: (await client.batch(done)) === done, final: isFinal(done),
        });
        """,
    )
    assert said["done"] == (await target.api.call("GET", f"/api/batches/{said['done']['id']}")).body
    assert set(said["ids"]) == {said["done"]["id"]}
    assert said["done"]["counts"] == counts(total=6, completed=5, failed=1)
    assert (said["done"]["metadata"], said["seen"][-1]) == ({"job": "ä"}, "completed")
    assert (said["unchanged"], said["final"]) == (True, True)
    assert said["all"] == ["a", "b", "c", "d", "e", "bad"]
    assert [[item["id"] for item in page] for page in said["pages"]] == [["a", "b", "c", "d"], ["e", "bad"]]
    for item in [*said["pages"][0], said["pages"][1][0]]:
        assert f"item {item['id']}" in item["text"]
    assert [(item["id"], item["error"]["code"]) for item in said["failed"]["data"]] == [("bad", "invalid_request")]


async def test_a_batch_is_cancelled_and_deleted(target: Target, node: Node) -> None:
    await target.model.script("stuck", [{"stuck": True}])
    said = await node(
        target.api.url,
        """
        const batch = await client.submitBatch({ agent: "workshop", items: [{ input: "[script:stuck]" }] });
        await client.cancelBatch(batch);
        const done = await client.waitBatch(batch);
        await client.deleteBatch(done.id);
        say([
          done.status, done.counts.cancelled,
          await code(client.batch(done)),
          await code(client.batchItems(done)),
          await code(client.cancelBatch("../agents")),
          await code(client.submitBatch({ items: [] })),
          await code(client.batches({ limit: 0 })),
        ]);
        """,
    )
    assert said == [
        "cancelled",
        1,
        [True, "batch_not_found", 404],
        [True, "batch_not_found", 404],
        [True, "not_found", 404],
        [True, "invalid_request", 400],
        [True, "invalid_request", 400],
    ]


async def test_the_failed_items_are_run_again_in_a_batch_of_their_own(target: Target, node: Node) -> None:
    await target.model.script("good", [{"text": "good"}])
    await target.model.script("bad", [{"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}])
    said = await node(
        target.api.url,
        """
        const items = [{ id: "a", input: "[script:good]" }, { id: "b", input: "[script:bad]" }, { id: "c", input: "" }];
        const batch = await client.submitBatch({ agent: "workshop", items });
        await client.waitBatch(batch);
        const nothing = await code(client.retryBatch(batch, { status: ["cancelled", "incomplete"] }));
        const made = await client.retryBatch(batch.id, { key: "again" });
        const same = await client.retryBatch(batch, { key: "again" });
        const done = await client.waitBatch(made);
        const again = [];
        for await (const item of client.items(made)) again.push([item.id, item.status, item.retry_of_index]);
        say({ nothing, of: [batch.id, made.retry_of], same: same.id === made.id, done: done.status, again });
        """,
    )
    assert said["nothing"] == [True, "nothing_to_retry", 409]
    assert said["of"][0] == said["of"][1]
    assert (said["same"], said["done"]) == (True, "completed")
    assert said["again"] == [["b", "failed", 1]]
