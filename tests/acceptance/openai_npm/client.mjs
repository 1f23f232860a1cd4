// The unmodified `openai` package against /api/v1, as its documentation uses it. Prints what it saw, as JSON.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const model = "bench";
const seen = {};

async function polled(response) {
  while (response.status === "queued" || response.status === "in_progress") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    response = await client.responses.retrieve(response.id);
  }
  return response;
}

// background, and a poll loop
let response = await client.responses.create({ model, input: "[script:three]", background: true });
seen.accepted = response.status;
response = await polled(response);
seen.polled = [response.status, response.output_text];

// the conversation goes on
const next = await client.responses.create({ model, input: "[script:short]", previous_response_id: response.id });
seen.next = [next.status, next.output_text];

// stream, break off after every third event, come back with its number
let text = "";
let cursor = null;
let name = null;
let over = false;
seen.connections = 0;
while (!over) {
  const stream = name === null
    ? await client.responses.create({ model, input: "[script:three]", background: true, stream: true })
    : await client.responses.retrieve(name, { stream: true, starting_after: cursor });
  let heard = 0;
  seen.connections += 1;
  for await (const event of stream) {
    cursor = event.sequence_number;
    name ??= event.response.id;
    if (event.type === "response.output_text.delta") text += event.delta;
    over = event.type === "response.completed";
    heard += 1;
    if (heard === 3) break;
  }
}
seen.streamed = text;

// the helper that accumulates
const runner = client.responses.stream({ model, input: "[script:three]" });
let deltas = "";
runner.on("response.output_text.delta", (event) => { deltas += event.delta; });
const final = await runner.finalResponse();
seen.helper = [final.status, final.output_text, deltas === final.output_text];
const again = client.responses.stream({ response_id: final.id, starting_after: 0 });
seen.replayed = (await again.finalResponse()).output_text;

// a run that begins with tools, one that is refused, and one that fails
const toolsFirst = await client.responses.stream({ model, input: "[script:tools-first]" }).finalResponse();
seen.toolsFirst = [toolsFirst.output.length, toolsFirst.output_text];
const refusal = await client.responses.stream({ model, input: "[script:refusal]" }).finalResponse();
seen.refusal = refusal.output.map((item) => item.content[0].refusal);
seen.failed = await client.responses.stream({ model, input: "[script:failed]" }).finalResponse()
  .then(() => "an answer", (error) => [error.constructor.name, error.code]);

// cancel, delete
const slow = await client.responses.create({ model, input: "[script:slow]", background: true });
seen.cancelled = (await client.responses.cancel(slow.id)).status;
await client.responses.delete(slow.id);
seen.deleted = await client.responses.retrieve(slow.id).then(() => "there", (error) => [error.constructor.name, error.code]);

// the rest of the face
const items = [];
for await (const item of client.responses.inputItems.list(response.id)) items.push(item.content[0].text);
seen.items = items;
const models = [];
for await (const each of client.models.list()) models.push(each.id);
seen.models = models;
const completion = await client.chat.completions.create({ model, messages: [{ role: "user", content: "[script:short]" }] });
seen.chat = completion.choices[0].message.content;
const refused = client.responses.create({ model, input: "x", tools: [{ type: "web_search" }] });
seen.refused = await refused.then(() => "taken", (error) => [error.constructor.name, error.code, error.param]);
const stranger = new OpenAI({ baseURL, apiKey: "nobody" });
seen.stranger = await stranger.models.list().then(() => "let in", (error) => [error.constructor.name, error.code]);

console.log(JSON.stringify(seen));
