// Several watches of one run in pages that have Web Locks and BroadcastChannel: one stream for all of them.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Dormouse } from "../src/index.js";
import { Page, RUN, Server, freezeClock, move, problem, run, settle, sse, viewsOf } from "./stage.js";

let server, page, stops;

beforeEach(() => {
  freezeClock();
  page = new Page({ origin: "https://app.test" });
  server = new Server();
  stops = [];
});

afterEach(async () => {
  for (const each of stops) each.abort();
  await settle();
  page.leave();
  mock.timers.reset();
});

/** A tab of its own, with a client of its own. */
function tab(run = RUN, options = {}) {
  const stop = new AbortController();
  stops.push(stop);
  const client = new Dormouse("https://app.test", { fetch: server.fetch });
  return { client, stop, seen: viewsOf(client.watch(run, { signal: stop.signal, ...options })) };
}

async function tabs(count) {
  const made = Array.from({ length: count }, () => tab());
  await move(1);
  return made;
}

/** What each shows last. */
async function texts(made) {
  await settle(40);
  return made.map(({ seen }) => seen.views.at(-1)?.text);
}

const say = (n, text) => server.last.send(sse("delta", { text }, `1.1.${n}`));

test("twelve tabs have one stream, each sees every letter once, and the end", async () => {
  const made = await tabs(12);
  assert.equal(server.streams.length, 1);
  for (const [n, letter] of [..."dormouse"].entries()) say(n + 1, letter);
  assert.deepEqual(await texts(made), Array(12).fill("dormouse"));
  for (const { seen } of made) {
    const shown = seen.views.filter((view) => view.event === "delta").map((view) => view.text);
    assert.deepEqual(shown, ["d", "do", "dor", "dorm", "dormo", "dormou", "dormous", "dormouse"]);
  }
  server.last.send(sse("end", run({ status: "completed", text: "dormouse" }), "end"));
  await settle(40);
  assert.ok(made.every(({ seen }) => seen.isOver && seen.error === undefined && seen.views.at(-1).event === "end"));
  assert.equal(server.streams.length, 1);
  await move(60);
  assert.equal(server.streams.length, 1, "nobody asks for what is over");
});

test("the token that came with a submit is told to no other tab", async () => {
  const said = [];
  new BroadcastChannel(`dormouse-client 1 https://app.test ${RUN}`).onmessage = ({ data }) => said.push(JSON.stringify(data));
  const client = new Dormouse("https://app.test", { fetch: server.fetch });
  server.run = run({ token: { token: "secret", expires_at: "2026-11-28T12:00:00Z" } });
  const made = await client.submit({ input: "x", token: { rights: ["cancel"] } });
  assert.equal(made.token.token, "secret");
  server.run = run();
  stops.push(new AbortController());
  const seen = viewsOf(client.watch(made, { signal: stops[0].signal }));
  const other = tab();
  await move(1);
  assert.equal(server.streams.length, 1);
  assert.ok(said.some((each) => each.includes("sync")));
  assert.ok(!said.some((each) => each.includes("secret")));
  for (const { views } of [seen, other.seen]) assert.ok(!views.some((view) => view.run.token));
});

test("a tab that comes later has all that was said", async () => {
  const [first] = await tabs(1);
  say(1, "A dor");
  await settle();
  const late = tab();
  await move(2);
  say(2, "mouse");
  assert.deepEqual(await texts([first, late]), ["A dormouse", "A dormouse"]);
  assert.equal(server.streams.length, 1);
});

test("when the leader is closed another goes on exactly there", async () => {
  const made = await tabs(3);
  say(1, "A dor");
  await settle(40);
  made[0].stop.abort();
  await move(1);
  assert.equal(server.streams.length, 2);
  assert.equal(server.open.length, 1);
  assert.equal(server.asked.at(-1).headers["Last-Event-ID"], "1.1.1");
  say(2, "mouse");
  assert.deepEqual(await texts(made.slice(1)), ["A dormouse", "A dormouse"]);
});

test("a reader that stopped half-way does not keep the others from going on", async () => {
  const client = new Dormouse("https://app.test", { fetch: server.fetch });
  const stuck = client.watch(RUN);
  await stuck.next();
  const [other] = await tabs(1);
  say(1, "A dormouse");
  assert.deepEqual(await texts([other]), ["A dormouse"]);
  await stuck.return();
});

test("a leader whose tab is frozen loses the lead to a tab that people look at", async () => {
  const frozen = new AbortController();
  const name = `dormouse-client 1 https://app.test ${RUN}`;
  let stolen;
  navigator.locks.request(name, {}, () => new Promise((resolve) => frozen.signal.addEventListener("abort", resolve)))
    .catch((error) => (stolen = error.name));
  await settle();
  const made = [tab(), tab()];
  await move(4);
  assert.equal(server.streams.length, 0);
  await move(8);
  assert.equal(stolen, "AbortError");
  assert.equal(server.open.length, 1);
  say(1, "A dormouse");
  assert.deepEqual(await texts(made), ["A dormouse", "A dormouse"]);
  await move(120);
  assert.ok(server.streams.length <= 5, `${server.streams.length} streams: only silence opens one`);
  frozen.abort();
});

test("hidden tabs together have no stream, and one of them asks", async () => {
  page.show("hidden");
  const made = await tabs(6);
  const before = server.asked.length;
  await move(600, 1);
  assert.equal(server.streams.length, 0);
  assert.ok(server.asked.length - before <= 21, `${server.asked.length - before} polls in ten minutes`);
  page.show("visible");
  await move(1);
  assert.equal(server.open.length, 1);
  say(1, "A dormouse");
  assert.deepEqual(await texts(made), Array(6).fill("A dormouse"));
});

test("a tab that may not read the run learns so itself, whatever the others see", async () => {
  await tabs(2);
  server.answer = () => problem(404, "run_not_found");
  const stranger = tab();
  await move(1);
  assert.equal(stranger.seen.error.code, "run_not_found");
  assert.equal(stranger.seen.views.length, 0);
});

test("a refusal of the leader does not end what the others may see", async () => {
  const made = await tabs(2);
  server.answer = () => problem(401, "token_expired");
  server.last.cut();
  await move(1);
  assert.equal(made[0].seen.error.code, "token_expired");
  assert.equal(made[1].seen.error.code, "token_expired", "which asked for itself");
  assert.deepEqual(server.paths("/events").length, 3);
});

test("an answer in one tab is seen by all at once", async () => {
  server.run = run({ status: "requires_action", retry_after: 30 });
  const made = await tabs(3);
  await move(30);
  assert.equal(server.open.length, 0);
  server.run = run({ turn: 2 });
  await made[2].client.answer(RUN, { a: { approve: true } });
  await settle(40);
  assert.deepEqual(made.map(({ seen }) => seen.views.at(-1).run.turn), [2, 2, 2]);
  assert.equal(server.open.length, 1);
});

test("an outage is told in every tab, and only the leader asks", async () => {
  const made = await tabs(3);
  server.down = true;
  server.last.cut();
  await move(600, 1);
  const tries = server.paths("/events").length;
  assert.ok(tries < 40, `${tries} tries`);
  assert.deepEqual(made.map(({ seen }) => seen.views.at(-1).connection.state), ["lost", "lost", "lost"]);
  server.down = false;
  while (server.open.length === 0) await move(1);
  await settle();
  say(1, "A dormouse");
  assert.deepEqual(await texts(made), Array(3).fill("A dormouse"));
  assert.deepEqual(made.map(({ seen }) => seen.views.at(-1).connection.state), ["open", "open", "open"]);
});

test("other runs, and watches that do not share, have streams of their own", async () => {
  tab();
  tab(RUN.replace(/1$/, "2"));
  tab(RUN, { share: false });
  await move(1);
  assert.equal(server.open.length, 3);
});
