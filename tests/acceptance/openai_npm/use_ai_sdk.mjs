// Vercel's AI SDK: `use_ai_sdk.mjs … PACKAGE PROVIDER responses|chat`.
import { z } from "zod";

import { AGENT, KEY, MORE, PIRATE, QUESTION, TOOLS_AGENT, URL, lookup, play, script } from "./steps.mjs";

const [name, provider, face] = MORE;
const { generateText, stepCountIs, streamText, tool } = await import(name);
const { createOpenAI } = await import(provider);
const openai = createOpenAI({ baseURL: URL, apiKey: KEY });
const named = (agent) => (face === "chat" ? openai.chat(agent) : openai(agent));
const model = named(AGENT);
const user = (content) => ({ role: "user", content });

async function text(step, more = {}) {
  return (await generateText({ model, prompt: script(step), ...more })).text;
}

async function streamed(step) {
  let heard = "";
  let failure = null;
  const result = streamText({ model, prompt: script(step), onError: ({ error }) => { failure = error; } });
  for await (const delta of result.textStream) heard += delta;
  if (failure !== null) throw failure;
  return [heard, await result.text];
}

async function helper(step) {
  const [heard, whole] = await streamed(step);
  if (heard !== whole) throw new Error(`${heard} is not ${whole}`);
  return whole;
}

/** Two turns with the whole history, in which the provider refers back to what was stored, where it may. */
async function turns(step, providerOptions) {
  const messages = [user(script(step))];
  const first = await generateText({ model, messages, providerOptions });
  messages.push(...first.response.messages, user(script(`${step}2`)));
  return [first.text, (await generateText({ model, messages, providerOptions })).text];
}

const steps = {
  text: () => text("text"),
  stream: async () => (await streamed("stream"))[0],
  helper: () => helper("helper"),
  turns: () => turns("turns", undefined),
  turns_unstored: () => turns("turns_unstored", { openai: { store: false } }),
  system: () => text("system", { system: PIRATE }),
  options: () => text("options", { temperature: 0.2, topP: 0.9, maxOutputTokens: 900, seed: 1, stopSequences: ["END"] }),
  async tools() {
    const tools = {
      lookup: tool({
        description: "Look a word up.",
        inputSchema: z.object({ word: z.string() }),
        execute: async (given) => lookup(given),
      }),
    };
    const asked = { model: named(TOOLS_AGENT), prompt: `${script("tools")} ${QUESTION}`, tools };
    return (await generateText({ ...asked, stopWhen: stepCountIs(3) })).text;
  },
  failed: () => text("failed"),
  failed_stream: () => helper("failed_stream"),
  tools_first: () => helper("tools_first"),
  lost: () => text("lost"),
  lost_key: () => text("lost_key", { headers: { "Idempotency-Key": script("lost_key") } }),
};
if (face === "chat") delete steps.turns_unstored;

await play(name, steps);
