// What a call sends, and what it says when it fails.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Dormouse, DormouseError } from "../src/index.js";
import { Page, RUN, Server, json, problem, run } from "./stage.js";

const BATCH = `batch_${"0b".repeat(16)}`;
let server, page;

beforeEach(() => {
  server = new Server();
});

afterEach(() => {
  page?.leave();
  page = undefined;
});

const client = (options = {}) => new Dormouse({ url: "https://app.test/", fetch: server.fetch, retries: 0, ...options });
const code = (promise) => promise.then(() => undefined, (error) => (assert.ok(error instanceof DormouseError, error), error.code));

test("a run token opens the routes of its own, and this client asks for nothing else with it", async () => {
  let n = 0;
  const guest = client({ token: async () => `secret-${++n}`, headers: { "X-Mine": "1" } });
  await guest.get(RUN, { wait: 5 });
  await guest.cancel(RUN);
  await guest.answer(RUN, { a: { approve: false } });
  await guest.batch(BATCH);
  const watched = guest.watch(RUN);
  await watched.next();
  await watched.return();
  server.run = run({ status: "completed" });
  await guest.wait(RUN);
  assert.deepEqual(server.paths(), [
    `/api/shared/runs/${RUN}?wait=5`,
    `/api/shared/runs/${RUN}/cancel`,
    `/api/shared/runs/${RUN}/answers`,
    `/api/shared/batches/${BATCH}`,
    `/api/shared/runs/${RUN}/events`,
    `/api/shared/runs/${RUN}`,
  ]);
  assert.deepEqual(server.asked.map((each) => each.headers.Authorization), [1, 2, 3, 4, 5, 6].map((n) => `Bearer secret-${n}`));
  assert.equal(server.asked[0].headers["X-Mine"], "1");
  const others = [
    guest.submit({ input: "x" }), guest.list(), guest.runs().next(), guest.delete(RUN), guest.session("s"), guest.deleteSession("s"),
    guest.submitBatch({ items: [] }), guest.batches(), guest.batchItems(BATCH), guest.items(BATCH).next(), guest.cancelBatch(BATCH),
    guest.deleteBatch(BATCH), guest.agents(), guest.deliveries(RUN), guest.redeliver(RUN), guest.createToken(RUN, { rights: ["read"] }),
    guest.input(RUN), guest.timeline(RUN), guest.toolCall(RUN, "1.0"), guest.retryBatch(BATCH), guest.get(""),
  ];
  assert.deepEqual(new Set(await Promise.all(others.map(code))), new Set(["not_with_a_token"]));
  assert.equal(server.asked.length, 6);
  assert.ok(!server.asked.some((each) => each.path.includes("secret")), "never in an address: those get logged");
});

test("a token is made for a run or a batch", async () => {
  server.answer = () => json({ token: "t", expires_at: "2026-11-28T12:00:00Z" });
  const made = await client().createToken(RUN, { rights: ["read", "cancel"], seconds: 60, label: "Ada" });
  await client().createToken({ id: BATCH }, { rights: ["read"] });
  assert.equal(made.token, "t");
  assert.deepEqual(server.paths(), [`/api/runs/${RUN}/tokens`, `/api/batches/${BATCH}/tokens`]);
  assert.deepEqual(JSON.parse(server.asked[0].init.body), { rights: ["read", "cancel"], seconds: 60, label: "Ada" });
});

test("a server says on whose behalf it calls, and a wrong id is found before anything is sent", async () => {
  await client({ onBehalfOf: "ada@example.com" }).get(RUN);
  assert.equal(server.asked[0].headers["Dormouse-On-Behalf-Of"], "ada@example.com");
  for (const onBehalfOf of ["", "a b", "a,b", "ä", "a\n", "x".repeat(129), null, 7.5 + "\r\nX: y"]) {
    assert.throws(() => client({ onBehalfOf }), (error) => error instanceof DormouseError && error.code === "invalid_user", JSON.stringify(onBehalfOf));
  }
  client({ onBehalfOf: "~".repeat(128) });
});

test("the iterators go from page to page, and ask for a page when it is needed", async () => {
  server.answer = (path) => {
    const { search } = new URL(server.asked.at(-1).path, "https://app.test");
    const cursor = new URLSearchParams(search).get("cursor") ?? "0";
    return json({ data: [{ id: `${path} ${cursor}a` }, { id: `${path} ${cursor}b` }], ...(cursor !== "2" && { next_cursor: `${+cursor + 1}` }) });
  };
  const seen = [];
  for await (const { id } of client().runs({ status: ["completed", "failed"], agent: "novelist", limit: 2 })) seen.push(id);
  assert.deepEqual(seen, ["0a", "0b", "1a", "1b", "2a", "2b"].map((each) => `/api/runs ${each}`));
  assert.equal(server.asked[1].path, "/api/runs?status=completed%2Cfailed&agent=novelist&limit=2&cursor=1");
  for await (const { id } of client().items(BATCH, { status: ["failed"], cursor: "1" })) if (id.endsWith("1b")) break;
  assert.equal(server.asked.length, 4, "no page is asked for that nobody wants");
  assert.equal(server.asked[3].path, `/api/batches/${BATCH}/items?status=failed&cursor=1`);
});

test("what is long, or past, has addresses of its own", async () => {
  const call = { id: "2.1", call_id: "c" };
  await client().input(RUN);
  await client().timeline({ id: RUN });
  await client().toolCall({ id: RUN }, call);
  await client().toolCall(RUN, "1.0");
  await client().toolCall(RUN, "../input");
  assert.deepEqual(server.paths(), ["input", "timeline", "tool_calls/2.1", "tool_calls/1.0", "tool_calls/..%2Finput"].map((end) => `/api/runs/${RUN}/${end}`));
});

test("a retry of a batch has a key that its own tries keep, and says which items", async () => {
  const answers = [problem(503, "busy", { "Retry-After": "0" }), json({ id: BATCH, retry_of: BATCH })];
  server.answer = () => answers.shift() ?? json({ id: BATCH });
  const made = await client({ retries: 1 }).retryBatch(BATCH);
  await client().retryBatch({ id: BATCH }, { status: ["failed", "cancelled"], key: "mine" });
  assert.equal(made.retry_of, BATCH);
  const [first, second, other] = server.asked;
  assert.deepEqual([first.method, first.path], ["POST", `/api/batches/${BATCH}/retry`]);
  assert.equal(first.headers["Idempotency-Key"], second.headers["Idempotency-Key"]);
  assert.match(first.headers["Idempotency-Key"], /^\d+(-\d+){3}$/);
  assert.deepEqual([other.path, other.headers["Idempotency-Key"]], [`/api/batches/${BATCH}/retry?status=failed%2Ccancelled`, "mine"]);
});

test("an option that is not given is no parameter", async () => {
  server.answer = () => json({ data: [] });
  await client().list({ status: [], agent: undefined, cursor: "", limit: 0, signal: undefined });
  await client().get(RUN, { wait: 0 });
  await client().session("s", { cursor: null });
  assert.deepEqual(server.paths(), ["/api/runs?limit=0", `/api/runs/${RUN}?wait=0`, "/api/sessions/s"]);
});

test("deliveries are read and asked for again", async () => {
  server.answer = () => json({ data: [] });
  assert.deepEqual(await client().deliveries(RUN), { data: [] });
  await client().redeliver(RUN);
  await client().redeliver(BATCH);
  assert.deepEqual(server.asked.map(({ method, path }) => `${method} ${path}`), [
    `GET /api/runs/${RUN}/deliveries`, `POST /api/runs/${RUN}/deliveries`, `POST /api/batches/${BATCH}/deliveries`,
  ]);
});

/** A server of another origin that a browser lets a page read only when it allows the page's. */
function strict(reply) {
  return async (url, init = {}) => {
    server.asked.push({ path: new URL(url).pathname, mode: init.mode });
    if (init.mode === "no-cors") return Response.error();
    if (!reply.allows) throw new TypeError("Failed to fetch");
    return json(run());
  };
}

test("an origin that is not allowed is told at once, by every call and by a watch", async () => {
  page = new Page();
  const fetch = strict({ allows: false });
  const error = await client({ fetch, retries: 4 }).get(RUN).catch((error) => error);
  assert.equal(error.code, "origin_not_allowed");
  assert.match(error.message, /https:\/\/app\.test.*https:\/\/page\.test.*CORS/);
  assert.equal(server.asked.length, 2, "one request, and one that reads nothing");
  assert.equal(await code(client({ fetch }).watch(RUN).next()), "origin_not_allowed");
});

test("once an answer could be read, what fails is the network, and nothing is asked besides", async () => {
  page = new Page();
  const reply = { allows: true };
  const one = client({ fetch: strict(reply) });
  await one.get(RUN);
  reply.allows = false;
  assert.equal(await code(one.get(RUN)), "network_error");
  assert.ok(!server.asked.some((each) => each.mode === "no-cors"));
});

test("a server that is down, a device that is offline and a page of the app's own site are no matter of origins", async () => {
  page = new Page();
  server.down = true;
  assert.equal(await code(client().get(RUN)), "network_error");
  assert.equal(server.asked.length, 2);
  assert.equal(await code(client({ url: "https://page.test" }).get(RUN)), "network_error");
  assert.equal(await code(client({ url: "" }).get(RUN)), "network_error");
  assert.equal(server.asked.length, 4);
  navigator.onLine = false;
  assert.equal(await code(client().get(RUN)), "offline");
});

test("a page without an origin gets an error with a code as well", async () => {
  page = new Page({ origin: "null" });
  server.down = true;
  for (const url of ["", "/my-server", "https://", "https://app.test"]) assert.equal(await code(client({ url }).get(RUN)), "network_error");
});

test("in Node.js nothing is asked about origins", async () => {
  server.down = true;
  assert.equal(await code(client().get(RUN)), "network_error");
  assert.equal(server.asked.length, 1);
});

test("answers that are none of Dormouse's have a code too", async () => {
  const replies = [
    [new Response("<html>"), "unexpected_response"], [json(null), "unexpected_response"], [json("run"), "unexpected_response"],
    [new Response("no", { status: 401 }), "http_401"], [json(null, { status: 403 }), "http_403"], [problem(409, "session_busy"), "session_busy"],
  ];
  for (const [reply, expected] of replies) {
    server.answer = () => reply;
    assert.equal(await code(client().get(RUN)), expected);
  }
});

test("an abort while a body is read is an abort", async () => {
  const stop = new AbortController();
  server.answer = (_, { signal }) =>
    new Response(new ReadableStream({ start: (out) => signal.addEventListener("abort", () => out.error(signal.reason)) }));
  const reading = client().get(RUN, { signal: stop.signal });
  setTimeout(() => stop.abort(), 10);
  assert.equal((await reading.catch((error) => error)).name, "AbortError");
});

test("ids are escaped, so that none reaches another address", async () => {
  await code(client().get("../agents?x#y"));
  assert.equal(server.asked[0].path, "/api/runs/..%2Fagents%3Fx%23y");
});
