// What a watch does over time: outages, hidden tabs, parked runs. The clock is the tests'.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Dormouse } from "../src/index.js";
import { Page, RUN, Server, freezeClock, json, move, problem, run, settle, sse, viewsOf } from "./stage.js";

let server, client, page, stop;

beforeEach(() => {
  freezeClock();
  server = new Server();
  client = new Dormouse("https://app.test", { fetch: server.fetch });
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await settle();
  page?.leave();
  page = undefined;
  mock.timers.reset();
});

const watch = (options = {}) => viewsOf(client.watch(RUN, { signal: stop.signal, ...options }));
const states = (told) => told.map((each) => each.state);

test("an outage of two hours is lived through, and nothing is lost", async () => {
  const told = [];
  const seen = watch({ onConnection: (connection) => told.push(connection) });
  await settle();
  server.last.send(sse("delta", { text: "A dor" }, "1.1.1"));
  await settle();
  server.down = true;
  server.last.cut();
  const before = server.asked.length;
  await move(7_200, 5);
  assert.equal(seen.isOver, false);
  const tries = server.asked.length - before;
  assert.ok(tries > 100 && tries < 350, `${tries} tries`);
  assert.equal(told.at(-1).state, "lost");
  assert.equal(told.at(-1).error.code, "network_error");
  assert.ok(told.at(-1).retryIn <= 45);
  server.down = false;
  while (server.open.length === 0) await move(1);
  assert.equal(server.asked.at(-1).headers["Last-Event-ID"], "1.1.1");
  server.last.send(sse("delta", { text: "mouse." }, "1.1.2"), sse("end", run({ status: "completed", text: "A dormouse." }), "end"));
  await settle();
  assert.equal(seen.error, undefined);
  assert.equal(seen.isOver, true);
  const { event, text, run: last, connection } = seen.views.at(-1);
  assert.deepEqual([event, text, last.status, connection.state], ["end", "A dormouse.", "completed", "open"]);
  assert.deepEqual([...new Set(states(told))], ["open", "lost"]);
  assert.ok(seen.views.some((view) => view.event === "connection" && view.connection.state === "lost"));
});

test("a busy server is asked after the time that it says, a refusal ends the watch with its code", async () => {
  const answers = [problem(503, "busy", { "Retry-After": "40" }), problem(500, "internal"), new Response("<html>"), problem(404, "run_not_found")];
  server.answer = () => answers.shift();
  const seen = watch();
  await move(39);
  assert.equal(server.asked.length, 1);
  await move(30);
  assert.equal(server.asked.length, 4);
  assert.equal(seen.error.code, "run_not_found");
  assert.equal(seen.views.length, 0);
});

test("a stream that breaks each time before it brings anything new is asked for more and more seldom", async () => {
  const seen = watch();
  for (let n = 0; n < 600; n++) {
    await move(1, 1);
    for (const each of server.open) each.cut();
  }
  assert.equal(seen.isOver, false);
  assert.ok(server.streams.length < 40, `${server.streams.length} streams`);
});

test("a stream that ends in good time is opened again, and nobody is told", async () => {
  const told = [];
  watch({ onConnection: (connection) => told.push(connection) });
  await settle();
  server.last.end();
  await move(2);
  assert.equal(server.streams.length, 2);
  assert.deepEqual(states(told), ["open"]);
});

test("a connection that has gone silent is given up", async () => {
  watch();
  await move(46);
  assert.equal(server.streams.length, 2);
  assert.equal(server.streams[0].isOpen, false);
});

test("tool events are merged into tool_calls, unknown events and fields do no harm", async () => {
  const seen = watch();
  await settle();
  const call = { id: "1.0", call_id: "c", name: "work", turn: 1, state: "started", progress: null };
  server.last.send(
    sse("tool_started", call),
    sse("a_new_event", "anything"),
    "event: another\ndata: no JSON\n\n",
    sse("tool_progress", { ...call, progress: { message: "half", fraction: 0.5 } }),
    sse("tool_started", { ...call, id: "2.0", turn: 2 }),
    sse("tool_finished", { ...call, state: "finished", result: "fine", colour: "red" }),
    sse("wake", { wakes: 7, wake_at: "2026-11-28T12:00:00Z" }),
  );
  await settle();
  const { run: last } = seen.views.at(-1);
  assert.deepEqual(last.tool_calls.map((each) => [each.turn, each.state, each.result]), [[1, "finished", "fine"], [2, "started", undefined]]);
  assert.equal(last.progress.fraction, 0.5);
  assert.deepEqual([last.wakes, last.wake_at, last.id], [7, "2026-11-28T12:00:00Z", RUN]);
  assert.deepEqual(
    seen.views.map((view) => view.event),
    ["state", "tool_started", "tool_progress", "tool_started", "tool_finished", "wake"],
  );
  assert.equal(seen.views[1].call.state, "started");
  assert.equal(seen.views[1].run.tool_calls[0].state, "started", "a view that was given is not changed later");
});

test("calls that have an id are told apart by it", async () => {
  const seen = watch();
  await settle();
  const call = { id: "1.0", call_id: "c", name: "work", turn: 1, state: "started", progress: null };
  server.last.send(...["1.0", "1.1"].map((id) => sse("tool_started", { ...call, id })), sse("tool_finished", { ...call, id: "1.1", state: "finished" }));
  await settle();
  assert.deepEqual(seen.views.at(-1).run.tool_calls.map((each) => [each.id, each.state]), [["1.0", "started"], ["1.1", "finished"]]);
});

const search = (status, more = {}) => ({ id: "ws", type: "web_search_call", status, summary: "mice", error: null, turn: 1, ...more });
const cited = (url) => ({ type: "url_citation", url, start_index: 0, end_index: 1 });
const beside = ({ run: { annotations, hosted_calls, reasoning } }) => [annotations.map((each) => each.url), hosted_calls.map((each) => `${each.turn} ${each.status}`), reasoning];

test("citations, hosted calls and reasoning of the turn are in the run as they come, over whatever happens", async () => {
  const seen = watch();
  await settle();
  server.last.send(
    sse("snapshot", { text: "", annotations: [], hosted_calls: [], reasoning: "" }, "1.1.0"),
    sse("reasoning", { text: "First " }, "1.1.1"),
    sse("reasoning", { text: "I look." }, "1.1.2"),
    sse("hosted_call", { hosted_call: search("in_progress") }, "1.1.3"),
    sse("hosted_call", { hosted_call: search("completed") }, "1.1.4"),
    sse("delta", { text: "A dormouse" }, "1.1.5"),
    sse("annotation", { annotation: cited("a") }, "1.1.6"),
  );
  await settle();
  const all = [["a"], ["1 completed"], [{ turn: 1, text: "First I look." }]];
  assert.deepEqual(beside(seen.views.at(-1)), all);
  assert.deepEqual(seen.views.slice(1).map((view) => view.event), ["snapshot", "reasoning", "reasoning", "hosted_call", "hosted_call", "delta", "annotation"]);
  assert.deepEqual(beside(seen.views[2]), [[], [], [{ turn: 1, text: "First " }]], "a view that was given is not changed later");

  server.last.send(sse("status", run({ provider_status: "in_progress" })));
  server.last.cut();
  await move(2);
  assert.equal(server.streams.length, 2);
  assert.deepEqual(beside(seen.views.at(-1)), all, "the run from the app has nothing of a turn that is being made");
  assert.equal(seen.views.at(-1).text, "A dormouse");

  // The turn is over, and the run has it, without a call that the provider took back.
  const kept = { hosted_calls: [search("failed")], reasoning: [{ turn: 1, text: "Kept." }] };
  server.last.send(sse("status", run(kept)));
  await settle();
  assert.deepEqual(beside(seen.views.at(-1)), [["a"], ["1 failed"], [{ turn: 1, text: "Kept." }]]);
  server.last.send(sse("status", run({ turn: 2, ...kept })), sse("snapshot", { text: "", annotations: [], hosted_calls: [], reasoning: "Now" }, "2.1.0"));
  server.last.send(sse("hosted_call", { hosted_call: search("completed", { turn: 2 }) }, "2.1.1"));
  await settle();
  assert.deepEqual(beside(seen.views.at(-1)), [[], ["1 failed", "2 completed"], [{ turn: 1, text: "Kept." }, { turn: 2, text: "Now" }]]);

  // Another attempt at that turn begins anew; the end is the run's.
  server.last.send(sse("snapshot", { text: "", annotations: [cited("x")], hosted_calls: [], reasoning: "" }, "2.2.0"));
  await settle();
  assert.deepEqual(beside(seen.views.at(-1)), [["x"], ["1 failed"], [{ turn: 1, text: "Kept." }]]);
  server.last.send(sse("end", run({ status: "completed", turn: 2, text: "Done.", annotations: [cited("b")] }), "end"));
  await settle();
  assert.deepEqual(beside(seen.views.at(-1)), [["b"], [], []]);
  assert.equal(seen.isOver, true);
});

test("the second of two calls of a provider that has one id in two turns does not take the place of the first", async () => {
  const seen = watch({ after: "2.1.4", text: "A dor" });
  await settle();
  server.last.send(sse("hosted_call", { hosted_call: search("completed") }, "2.1.5"), sse("hosted_call", { hosted_call: search("in_progress", { turn: 2 }) }, "2.1.6"));
  await settle();
  assert.deepEqual(beside(seen.views.at(-1))[1], ["1 completed", "2 in_progress"]);
  assert.equal(seen.views.at(-1).text, "A dor");
});

test("an event that should have JSON and has none breaks only that connection", async () => {
  const seen = watch();
  await settle();
  server.last.send("id: 1.1.1\nevent: delta\ndata: no JSON\n\n");
  await move(1);
  assert.equal(server.streams.length, 2);
  assert.equal(seen.isOver, false);
  assert.equal("Last-Event-ID" in server.asked.at(-1).headers, false);
});

test("a hidden tab asks now and then, and goes on exactly where it was when it is seen again", async () => {
  page = new Page({ locks: false });
  const told = [];
  const seen = watch({ onConnection: (connection) => told.push(connection) });
  await settle();
  server.last.send(sse("delta", { text: "A dor" }, "1.1.1"));
  page.show("hidden");
  await move(10);
  assert.equal(server.open.length, 1, "a tab that is left for a moment keeps its stream");
  await move(15);
  assert.equal(server.open.length, 0);
  const before = server.asked.length;
  await move(600, 1);
  const polls = server.asked.slice(before);
  assert.ok(polls.length >= 15 && polls.length <= 21, `${polls.length} polls in ten minutes`);
  assert.deepEqual([...new Set(polls.map((each) => each.path))], [`/api/runs/${RUN}`]);
  page.show("visible");
  await settle();
  assert.equal(server.open.length, 1);
  assert.equal(server.asked.at(-1).headers["Last-Event-ID"], "1.1.1");
  server.last.send(sse("delta", { text: "mouse" }, "1.1.2"));
  await settle();
  assert.equal(seen.views.at(-1).text, "A dormouse");
  assert.deepEqual(states(told), ["open", "polling", "open"]);
});

test("a run that ends while the tab is hidden ends the watch, with the text", async () => {
  page = new Page({ locks: false });
  page.show("hidden");
  const seen = watch();
  await move(5);
  assert.equal(server.streams.length, 0, "a tab that was opened in the background opens no stream");
  server.run = run({ status: "completed", text: "Done." });
  await move(31);
  assert.equal(seen.isOver, true);
  assert.deepEqual([seen.views.at(-1).event, seen.views.at(-1).text], ["end", "Done."]);
});

test("a parked run is polled, and answered at once where the answer is given", async () => {
  page = new Page({ locks: false });
  const seen = watch();
  await settle();
  server.run = run({ status: "requires_action", retry_after: 30 });
  server.last.send(sse("status", server.run));
  await move(12);
  assert.equal(server.open.length, 1, "the answer may come soon");
  await move(10);
  assert.equal(server.open.length, 0);
  const before = server.asked.length;
  await move(300, 1);
  assert.ok(server.asked.length - before <= 10, `${server.asked.length - before} polls in five minutes`);
  server.run = run({ turn: 2 });
  await client.answer(RUN, { a: { approve: true } });
  await settle();
  assert.equal(server.open.length, 1);
  assert.equal(seen.views.at(-1).run.turn, 2);
});

test("a 304 tells nothing new", async () => {
  page = new Page({ locks: false });
  page.show("hidden");
  server.answer = (path, { headers }) => (headers["If-None-Match"] === '"a"' ? new Response(null, { status: 304 }) : json(run(), { ETag: '"a"' }));
  const seen = watch();
  await move(200, 1);
  assert.ok(server.asked.length > 4);
  assert.deepEqual(seen.views.map((view) => view.event), ["state"]);
});

test("coming back online, or into sight, ends a pause", async () => {
  page = new Page({ locks: false });
  server.down = true;
  watch();
  await move(300, 1);
  server.down = false;
  const before = server.streams.length;
  window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(server.streams.length, before + 1);
});

test("whoever stops looking closes the connection, and a slow reader misses nothing", async () => {
  const watched = client.watch(RUN);
  await watched.next();
  server.last.send(...[1, 2, 3].map((n) => sse("delta", { text: `${n}` }, `1.1.${n}`)));
  await move(5);
  const texts = [await watched.next(), await watched.next(), await watched.next()].map(({ value }) => value.text);
  assert.deepEqual(texts, ["1", "12", "123"]);
  await watched.return();
  assert.equal(server.open.length, 0);
});

test("a wait goes on through an outage once the run was read", async () => {
  const waiting = client.wait(RUN, { hold: 0, signal: stop.signal });
  await settle();
  server.down = true;
  await move(3_600, 5);
  server.down = false;
  server.run = run({ status: "completed", text: "Done." });
  await move(60);
  assert.equal((await waiting).text, "Done.");
  assert.ok(server.asked.length < 200, `${server.asked.length} requests`);
});
