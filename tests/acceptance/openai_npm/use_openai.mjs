// OpenAI's own client: `use_openai.mjs … PACKAGE responses|chat`.
import { AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script } from "./steps.mjs";

const [name, face] = MORE;
const { default: OpenAI } = await import(name);
const client = new OpenAI({ baseURL: URL, apiKey: KEY });
const { responses } = client;
const { completions } = client.chat;
const parameters = {
  type: "object", properties: { word: { type: "string" } }, required: ["word"], additionalProperties: false,
};
const TOOL = { name: "lookup", description: "Look a word up.", parameters, strict: true };
const OPTIONS = { temperature: 0.2, top_p: 0.9, user: "u", store: false, parallel_tool_calls: true };

async function text(step, more = {}) {
  return (await responses.create({ model: AGENT, input: script(step), ...more })).output_text;
}

async function helper(step) {
  const runner = responses.stream({ model: AGENT, input: script(step) });
  let heard = "";
  runner.on("response.output_text.delta", (event) => { heard += event.delta; });
  const final = await runner.finalResponse();
  if (final.output_text !== heard) throw new Error(`${heard} is not ${final.output_text}`);
  return final.output_text;
}

const inResponses = {
  text: () => text("text"),
  async stream() {
    let heard = "";
    for await (const event of await responses.create({ model: AGENT, input: script("stream"), stream: true })) {
      if (event.type === "response.output_text.delta") heard += event.delta;
    }
    return heard;
  },
  helper: () => helper("helper"),
  async turns() {
    const first = await responses.create({ model: AGENT, input: script("turns") });
    return [first.output_text, await text("turns2", { previous_response_id: first.id })];
  },
  system: () => text("system", { instructions: PIRATE }),
  options: () => text("options", { max_output_tokens: 900, reasoning: { effort: "low" }, truncation: "auto", ...OPTIONS }),
  async tools() {
    const given = { model: TOOLS_AGENT, tools: [{ type: "function", ...TOOL }] };
    const first = await responses.create({ input: `${script("tools")} ${QUESTION}`, ...given });
    const input = first.output.filter((item) => item.type === "function_call").map((call) => (
      { type: "function_call_output", call_id: call.call_id, output: lookup(JSON.parse(call.arguments)) }
    ));
    return (await responses.create({ input, previous_response_id: first.id, ...given })).output_text;
  },
  async failed() {
    const response = await responses.create({ model: AGENT, input: script("failed") });
    return `status \`${response.status}\`, \`error.code\` \`${response.error.code}\``;
  },
  failed_stream: () => helper("failed_stream"),
  tools_first: () => helper("tools_first"),
  lost: () => text("lost"),
};

const user = (content) => ({ role: "user", content });

async function chatText(step, more = {}, before = []) {
  const completion = await completions.create({ model: AGENT, messages: [...before, user(script(step))], ...more });
  return completion.choices[0].message.content;
}

async function chatHelper(step) {
  return completions.stream({ model: AGENT, messages: [user(script(step))] }).finalContent();
}

const inChat = {
  text: () => chatText("text"),
  async stream() {
    let heard = "";
    const asked = { model: AGENT, messages: [user(script("stream"))], stream: true };
    for await (const chunk of await completions.create(asked)) heard += chunk.choices[0]?.delta.content ?? "";
    return heard;
  },
  helper: () => chatHelper("helper"),
  async turns() {
    const first = await chatText("turns");
    return [first, await chatText("turns2", {}, [user(script("turns")), { role: "assistant", content: first }])];
  },
  system: () => chatText("system", {}, [{ role: "system", content: PIRATE }]),
  options: () => chatText("options", { max_tokens: 900, seed: 1, stop: ["END"], logit_bias: {}, n: 1, ...OPTIONS }),
  async tools() {
    const runner = completions.runTools({
      model: TOOLS_AGENT,
      messages: [user(`${script("tools")} ${QUESTION}`)],
      tools: [{ type: "function", function: { ...TOOL, function: lookup, parse: JSON.parse } }],
    });
    return runner.finalContent();
  },
  failed: () => chatText("failed"),
  failed_stream: () => chatHelper("failed_stream"),
  tools_first: () => chatHelper("tools_first"),
  lost: () => chatText("lost"),
};

await play(name, face === "chat" ? inChat : inResponses);
