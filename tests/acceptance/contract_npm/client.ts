// A caller with nothing but the types that openapi-typescript makes of the contract, and openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./contract.js";

type Run = components["schemas"]["Run"];

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });
const FINAL: ReadonlySet<Run["status"]> = new Set(["completed", "incomplete", "failed", "cancelled"] as const);

async function submit(body: paths["/api/runs"]["post"]["requestBody"]["content"]["application/json"]): Promise<Run> {
  const { data, error } = await client.POST("/api/runs", { body });
  if (data === undefined) throw new Error(error?.detail ?? "refused by the platform");
  return data;
}

async function ended(run: Run): Promise<Run> {
  for (;;) {
    const params = { path: { run_id: run.id }, query: { wait: 10 } };
    const { data, error } = await client.GET("/api/runs/{run_id}", { params });
    if (data === undefined) throw new Error(error?.detail ?? "refused by the platform");
    if (FINAL.has(data.status)) return data;
  }
}

const begun = await submit({ input: "A dormouse in space." });
const done = await ended(begun);
const told = await submit({ input: "[script:stuck]", agent: "workshop", metadata: { case: "12" }, stream: true });
const path = { run_id: told.id };
const cancelled = await client.POST("/api/runs/{run_id}/cancel", { params: { path } });
const head = await client.HEAD("/api/runs/{run_id}", { params: { path } });
const events = await client.GET("/api/runs/{run_id}/events", { params: { path }, parseAs: "text" });
const text: string = events.data ?? "";
const page = await client.GET("/api/runs", { params: { query: { status: ["cancelled", "completed"], limit: 2 } } });
const refused = await client.POST("/api/runs", { body: { input: "" } });
// @ts-expect-error a field that the contract does not have
const wrong = await client.POST("/api/runs", { body: { inputs: "x" } });
const response = await client.POST("/api/v1/responses", {
  body: { model: "analyst", input: "How is tea doing?", background: true },
  headers: { Authorization: `Bearer ${process.argv[3]}` },
});

console.log(
  JSON.stringify({
    begun: begun.id,
    done: [done.status, done.text, done.tool_calls.map((call) => call.state)],
    cancelled: [cancelled.data?.status, cancelled.data?.metadata["case"]],
    // Not that of the cancel: the wake that tells the provider is counted when it has been.
    head: [head.response.status, /^"\w+"$/.test(head.response.headers.get("etag") ?? "")],
    kinds: [...text.matchAll(/^event: (\w+)$/gm)].map((found) => found[1]),
    page: page.data?.data.map((run) => run.id),
    refused: [refused.error?.code, refused.error?.errors?.[0]?.field, wrong.error?.code],
    response: typeof response.data === "object" ? response.data.output.length : response.data,
  }),
);
