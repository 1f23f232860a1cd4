// The same run from a shell and from programs.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @returns {{ name: string, text: string }[]} */
export function snippets(run, input, needsKey) {
  const [first, ...more] = input;
  const given = more.length === 0 && typeof first?.content === "string" ? first.content : input;
  const body = { agent: run.agent, input: given, ...(run.stream && { stream: true }) };
  const app = location.origin;
  const key = needsKey ? ` \\\n  -H "x-functions-key: $DORMOUSE_KEY"` : "";
  // JSON is Python but for three words, which texts hold too: Python reads them from JSON itself.
  const python = typeof given === "string" ? JSON.stringify(given) : `json.loads(${JSON.stringify(JSON.stringify(given))})`;
  return [
    {
      name: "curl",
      text: `curl -s ${app}/api/runs${key} \\\n  -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify(body))}\n`,
    },
    {
      name: "Python",
      text: `${needsKey ? "import os\n" : ""}${typeof given === "string" ? "" : "import json\n"}from dormouse_client import Dormouse

dormouse = Dormouse(${JSON.stringify(app)}${needsKey ? ', key=os.environ["DORMOUSE_KEY"]' : ""})
run = dormouse.submit(${python}, agent=${JSON.stringify(run.agent)})
print(dormouse.wait(run)["text"])
`,
    },
    {
      name: "JavaScript",
      text: `import { Dormouse } from "dormouse-client";

const dormouse = new Dormouse({ url: ${JSON.stringify(app)}${needsKey ? ', headers: { "x-functions-key": process.env.DORMOUSE_KEY }' : ""} });
const run = await dormouse.submit(${JSON.stringify(body, null, 2)});
console.log((await dormouse.wait(run)).text);
`,
    },
  ];
}
