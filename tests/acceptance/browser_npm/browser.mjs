// A real browser with pages of several origins, each of which tries everything that a page can on the same addresses.
// Takes {unpacked, pages: [{name, address, requests, served}]} as JSON, each request with its method, its address and, if it is to
// be sent as a page of ours would send it and in no other way, its headers; prints what each page could read, as JSON. A page that
// is `served` is one that somebody else has there.
import { createServer, request } from "node:http";
import { launch } from "./chromium.mjs";

const { unpacked, pages } = JSON.parse(process.argv[2]);
const HTML = "<!doctype html><title>A page</title>";
const EVIL = "127.0.0.2"; // where the name evil.test leads

// Runs in the page. What comes back is everything that it could read, and what loaded.
async function tryAll(requests) {
  const seen = [];
  const soon = (begin) => new Promise((done) => { begin(done); setTimeout(done, 3000, null); });
  const element = (name, address) => soon((done) => {
    const made = document.createElement(name);
    made.onload = () => done("loaded");
    made.onerror = () => done(null);
    made.src = address;
    document.body.append(made);
  });
  const frame = (method, address) => soon((done) => {
    const made = document.createElement("iframe");
    made.name = `frame-${Math.random()}`;
    document.body.append(made);
    made.onload = () => {
      const shown = made.contentDocument; // of another origin: null
      if (shown?.URL !== "about:blank") done(shown && shown.body.textContent);
    };
    const form = document.createElement("form");
    Object.assign(form, { method, action: address, target: made.name, enctype: "text/plain" });
    document.body.append(form);
    form.submit();
  });
  const events = (address) => soon((done) => {
    const source = new EventSource(address);
    source.onopen = () => done("opened");
    source.onerror = () => done(null);
    setTimeout(() => source.close(), 3000);
  });
  const asked = (address, options) => fetch(address, { ...options, signal: AbortSignal.timeout(3000) }).then(
    async (reply) => [reply.status, await reply.text().catch(() => "a stream")], () => [0, null],
  );
  for (const [method, address, own] of requests) {
    const body = method === "GET" ? undefined : "{}";
    const note = (how, text, status = null) => {
      if (text) seen.push({ how, method, address, status, text });
    };
    if (own) {
      const [status, text] = await asked(address, { method, body, headers: own });
      note("fetch with headers of its own", text, status);
      continue;
    }
    for (const type of ["text/plain", "application/json"]) {
      const headers = body === undefined ? {} : { "content-type": type };
      const [status, text] = await asked(address, { method, body, headers });
      note(`fetch ${type}`, text, status);
    }
    if (method === "GET" || method === "POST") {
      const [status, text] = await asked(address, { method, body, mode: "no-cors", credentials: "include" });
      note("fetch no-cors", text, status);
      note("form", await frame(method, address));
    }
    if (method === "POST") navigator.sendBeacon(address, body);
    if (method === "GET") {
      note("image", await element("img", address));
      note("script", await element("script", address));
      note("events", await events(address));
    }
  }
  return seen;
}

// Pages come from their own port of this machine. The name evil.test is one that leads to the attacker for the page, and
// to the server on the same port of 127.0.0.1 for all that the page asks then.
const servers = await Promise.all([...new Set(pages.filter(({ served }) => !served).map(({ address }) => new URL(address).host))].map(async (host) => {
  const { hostname, port } = new URL(`http://${host}`);
  const evil = hostname === "evil.test";
  const server = createServer((asked, reply) => {
    if (!evil || asked.url === "/attack.html") {
      reply.writeHead(200, { "content-type": "text/html" }).end(HTML);
      return;
    }
    const { method, url: path, headers } = asked;
    const passed = request({ host: "127.0.0.1", port, method, path, headers, setHost: false }, (answer) => {
      reply.writeHead(answer.statusCode, answer.headers);
      answer.pipe(reply);
    });
    passed.on("error", () => reply.destroy());
    asked.pipe(passed);
  });
  await new Promise((listening) => server.listen(Number(port), evil ? EVIL : "127.0.0.1", listening));
  return server;
}));
const browser = await launch(unpacked, [`--host-resolver-rules=MAP evil.test ${EVIL}`]);
const seen = {};
for (const { name, address, requests } of pages) {
  const page = await browser.newPage();
  await page.goto(address);
  console.error(name, performance.now());
  seen[name] = await page.evaluate(tryAll, requests);
  await page.close();
}
await browser.close();
for (const server of servers) {
  server.close();
  server.closeAllConnections();
}
console.log(JSON.stringify(seen));
