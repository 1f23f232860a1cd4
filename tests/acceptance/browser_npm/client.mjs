// The JavaScript client in pages of a real browser. Between them and the app is a server that counts the streams, cuts
// them and plays dead. Takes {unpacked, app, port, client, story, run, token} as JSON; prints what was seen, a line of JSON
// for each part, and waits for a line on its input where the run is to go on.
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { launch } from "./chromium.mjs";

const { unpacked, app, port, client, story, run, token } = JSON.parse(process.argv[2]);
const say = (what) => console.log(JSON.stringify(what));
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
const streams = new Set();
const sockets = new Set();
let [down, most, opened] = [false, 0, 0];

const server = createServer((asked, reply) => {
  const { method, url } = asked;
  const { origin, ...headers } = asked.headers; // to the app, this server is a program
  if (url.startsWith("/api/")) {
    if (down) return reply.destroy();
    const isStream = url.endsWith("/events");
    const passed = request(app + url, { method, headers: { ...headers, host: new URL(app).host } }, (answer) => {
      reply.writeHead(answer.statusCode, answer.headers).flushHeaders();
      answer.pipe(reply);
    });
    if (isStream) {
      streams.add(reply);
      [most, opened] = [Math.max(most, streams.size), opened + 1];
    }
    reply.on("close", () => (streams.delete(reply), passed.destroy()));
    passed.on("error", () => reply.destroy());
    return asked.pipe(passed);
  }
  const file = url.startsWith("/client/") ? join(client, url.slice(8)) : url === "/story.js" ? story : null;
  reply.writeHead(200, { "content-type": file ? "text/javascript" : "text/html" });
  reply.end(file ? readFileSync(file) : `<!doctype html><p id="story"></p>${url.startsWith("/story") ? '<script type="module" src="/story.js"></script>' : ""}`);
});
server.on("connection", (socket) => (sockets.add(socket), socket.on("close", () => sockets.delete(socket))));
await new Promise((listening) => server.listen(port, "127.0.0.1", listening));
const own = `http://127.0.0.1:${port}`;

const browser = await launch(unpacked);
const until = async (what, seconds = 60) => {
  for (const end = Date.now() + seconds * 1_000; !(await what()); await sleep(0.1)) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
  }
};

/** Runs in the page. */
async function begin([run, options]) {
  const { Dormouse } = await import("/client/index.js");
  const seen = (window.seen = { texts: [], states: [], over: null, last: null });
  const onConnection = ({ state }) => seen.states.push(state);
  (async () => {
    for await (const view of new Dormouse(options).watch(run, { onConnection })) {
      seen.last = view;
      if (view.event === "delta") seen.texts.push(view.text);
    }
  })().then(() => (seen.over = "ended"), (error) => (seen.over = `${error.code ?? error}`));
}

const seenBy = (page) => page.evaluate(() => window.seen);
async function open(context, options = {}) {
  const page = await context.newPage();
  await page.goto(own);
  await page.evaluate(begin, [run, options]);
  await page.waitForFunction(() => window.seen.last);
  return page;
}
/** The driver shows every page: what a page is told of it is played. */
const show = (page, state) =>
  page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);

// Eight tabs of one browser.
const context = await browser.newContext();
const pages = [];
for (let n = 0; n < 8; n++) pages.push(await open(context));
await until(() => streams.size === 1);
say({ part: "tabs", most, streams: streams.size });

// The first one, which leads, is closed.
await pages.shift().close();
await until(() => streams.size === 1 && opened === 2);
say({ part: "closed", streams: streams.size });
most = streams.size; // the next leader's may have come before the end of the last one's was noticed here

// An outage.
down = true;
for (const each of sockets) each.destroy();
await sleep(45);
const lost = await Promise.all(pages.map(async (page) => { const { last, over } = await seenBy(page); return [last.connection.state, over]; }));
down = false;
await until(() => streams.size === 1);
await until(async () => (await Promise.all(pages.map(seenBy))).every(({ last }) => last.connection.state === "open"));
say({ part: "outage", lost, most });

// A page that people do not look at. Its context is another browser, as far as tabs go.
const before = streams.size;
const hidden = await open(await browser.newContext());
await until(() => streams.size === before + 1);
await show(hidden, "hidden");
await until(async () => (await seenBy(hidden)).states.at(-1) === "polling", 40);
const left = streams.size - before;
await show(hidden, "visible");
await until(async () => streams.size === before + 1 && (await seenBy(hidden)).states.at(-1) === "open", 5);
say({ part: "hidden", left, states: (await seenBy(hidden)).states });

// A page of another origin, which the app does not name; and an address where nobody is.
const foreign = await browser.newPage();
await foreign.goto(`http://localhost:${port}/`);
const codes = await foreign.evaluate(async ([app, run]) => {
  const { Dormouse } = await import("/client/index.js");
  const code = (promise) => promise.then(() => "nothing", (error) => error.code);
  const begun = performance.now();
  const codes = [
    await code(new Dormouse({ url: app }).get(run)),
    await code(new Dormouse({ url: app }).submit({ input: "x" })),
    await code(new Dormouse({ url: app, token: "t" }).watch(run).next()),
  ];
  const seconds = (performance.now() - begun) / 1_000;
  return { codes, seconds, nobody: await code(new Dormouse({ url: "http://127.0.0.1:1", retries: 0 }).get(run)) };
}, [app, run]);
say({ part: "foreign", ...codes });

// A page with a run token, on the app itself: nothing of it passes through the server between.
const guest = await open(await browser.newContext(), { url: app, token });
await guest.waitForFunction(() => window.seen.last.connection.state === "open");
const more = await guest.evaluate(async ([app, token, run]) => {
  const { Dormouse } = await import("/client/index.js");
  const one = new Dormouse({ url: app, token });
  const first = await one.get(run);
  return { status: first.status, unchanged: (await one.get(first)) === first, cancel: await one.cancel(run).catch((error) => error.code) };
}, [app, token, run]);
say({ part: "token", ...more, streams: streams.size - before });

// A component. It is taken away before the end, and its stream with it.
const shown = await (await browser.newContext()).newPage();
await shown.goto(`${own}/story?${run}`);
await shown.waitForFunction(() => document.querySelector("#story").textContent.startsWith("in_progress"));
await until(() => streams.size === before + 2);
await shown.evaluate(() => window.unmount());
await until(() => streams.size === before + 1);
await shown.evaluate(() => window.mount());
say({ part: "react" });

// The run goes on to its end.
await input.next();
const all = [...pages, hidden, guest];
await until(async () => (await Promise.all(all.map(seenBy))).every(({ over }) => over), 60);
await shown.waitForFunction(() => document.querySelector("#story").textContent.startsWith("completed"));
say({
  part: "end",
  over: (await Promise.all(all.map(seenBy))).map(({ over }) => over),
  texts: (await Promise.all(all.map(seenBy))).map(({ last }) => last.text),
  twice: (await Promise.all(all.map(seenBy))).some(({ texts }) => new Set(texts).size !== texts.length),
  story: await shown.evaluate(() => document.querySelector("#story").textContent),
});
await browser.close();
process.exit(); // the input is still open
