// A browser that does what it is told. Takes {unpacked} as JSON, then a line of JSON for each step, and answers each with one:
// {who, open} opens a page for somebody who has cookies of their own; {page, method, args} calls the driver's method of that
// page; {who, cookies: false} takes the cookies away; {who, heard: true} is all that came over the network, as texts.
import { createInterface } from "node:readline";
import { launch } from "./chromium.mjs";

const { unpacked } = JSON.parse(process.argv[2]);
const browser = await launch(unpacked);
const people = new Map();
const pages = [];

async function person(who) {
  if (people.has(who)) return people.get(who);
  const context = await browser.newContext();
  const heard = [];
  context.on("response", async (response) => {
    const place = heard.push("") - 1;
    const headers = JSON.stringify(await response.allHeaders().catch(() => ({})));
    heard[place] = `${response.status()} ${response.url()} ${headers}`;
    heard[place] += await response.text().catch(() => ""); // a redirect has none, nor has a stream that was left
  });
  people.set(who, { context, heard });
  return people.get(who);
}

async function step({ who, open, page, method, args, cookies, heard }) {
  if (open) {
    const { context } = await person(who);
    const made = await context.newPage();
    await made.goto(open);
    return pages.push(made) - 1;
  }
  if (cookies === false) return (await person(who)).context.clearCookies();
  if (heard) return (await person(who)).heard;
  const result = await pages[page][method](...args);
  return ["evaluate", "url", "textContent"].includes(method) ? result : null;
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await step(JSON.parse(line)).then(
    (result) => ({ result: result ?? null }),
    (error) => ({ error: `${error}` }),
  );
  console.log(JSON.stringify(answer));
}
await browser.close();
