// What the programs here share: each does the steps of one stack, and prints a line of JSON for each.
// `PROGRAM URL KEY PREFIX TOOLS_AGENT …`

import { createRequire } from "node:module";

export const [URL, KEY, PREFIX, TOOLS_AGENT, ...MORE] = process.argv.slice(2);
export const AGENT = "bench";
export const PIRATE = "Be a pirate.";
export const QUESTION = "Where does it sleep?";

/** The text that lets the model play what belongs to a step. */
export const script = (step) => `[script:${PREFIX}-${step}]`;

export const lookup = ({ word }) => `${word}: asleep`;

const nameOf = (error) => (error.constructor.name === "Error" ? error.name : error.constructor.name);

/** Do the steps, in order; each gives what its user sees. */
export async function play(name, steps) {
  const say = (line) => console.log(JSON.stringify(line));
  say({ version: createRequire(import.meta.url)(`./node_modules/${name}/package.json`).version });
  for (const [step, run] of Object.entries(steps)) {
    const said = { step };
    let timer;
    const late = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error("no answer")), 60_000); });
    try {
      said.said = await Promise.race([run(), late]);
    } catch (error) {
      // Some throw an event as it came, which is no Error.
      said.raised = error instanceof Error ? nameOf(error) : `${error.type ?? typeof error} ${error.code ?? ""}`.trim();
      said.trace = `${error.stack} ${error.cause?.stack ?? ""}`.slice(0, 3_000);
    }
    clearTimeout(timer);
    say(said);
  }
}
