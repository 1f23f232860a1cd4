import assert from "node:assert/strict";
import test from "node:test";
import "./globals.mjs";

const { plan, said, scale } = await import("../../../web/timeline.js");

const START = Date.parse("2026-01-01T00:00:00.000Z");
const at = (seconds) => new Date(START + seconds * 1000).toISOString();
const entry = (kind, from, more = {}) => ({ kind, at: at(from), until: null, turn: 1, count: 1, wakes: 0, milliseconds: 0, code: null, by: null, tool: null, ...more });

const RUN = { created_at: at(0), completed_at: at(100) };
const ENTRIES = [
  entry("created", 0),
  entry("turn_started", 0, { until: at(1), wakes: 1, milliseconds: 1000 }),
  entry("looked", 5, { until: at(20), count: 4, wakes: 4, milliseconds: 40 }),
  entry("turn_ended", 30, { wakes: 1, milliseconds: 10 }),
  entry("tools", 31, { until: at(41), wakes: 1, milliseconds: 10_000 }),
  entry("tool", 31, { until: at(41), tool: "one", code: "finished" }),
  entry("tool", 31, { until: at(36), tool: "two", code: "finished" }),
  entry("tool", 37, { until: at(40), tool: "three", code: "finished" }),
  entry("parked", 41),
  entry("answered", 81),
  entry("turn_started", 81, { until: at(82), turn: 2, wakes: 1, milliseconds: 500 }),
  entry("retry", 90, { turn: 2, code: "rate_limited" }),
  entry("turn_started", 95, { until: at(96), turn: 2, wakes: 1, milliseconds: 500 }),
  entry("ended", 100, { code: "completed" }),
];

const lane = (drawn, name) => drawn.lanes.find((each) => each.name === name).bars.map(({ from, to }) => [(from - START) / 1000, (to - START) / 1000]);

test("each lane has the bars of its own", () => {
  const drawn = plan(ENTRIES, RUN, 0);
  assert.deepEqual(lane(drawn, "model"), [[1, 30], [82, 90], [90, 95], [96, 100]]);
  assert.deepEqual(lane(drawn, "person"), [[41, 81]]);
  assert.deepEqual(lane(drawn, "app"), [[0, 1], [5, 20], [30, 30.01], [31, 41], [81, 82], [95, 96]]);
});

test("tools that ran side by side have a row each, and no more", () => {
  const rows = plan(ENTRIES, RUN, 0).lanes.filter(({ bars }) => bars[0].kind.startsWith("tool"));
  assert.deepEqual(rows.map(({ bars }) => bars.map(({ entry }) => entry.tool)), [["one"], ["two", "three"]]);
});

test("to scale, widths are in the ratio of durations", () => {
  const drawn = plan(ENTRIES, RUN, 0);
  const { place, gaps } = scale(drawn, false);
  assert.deepEqual(gaps, []);
  for (const { bars } of drawn.lanes) for (const { from, to } of bars) assert.ok(Math.abs(place(to) - place(from) - (to - from) / 1000) < 1e-9); // 100 s in 100 %
});

test("collapsed, what is idle shrinks, and the rest keeps its order and ratios", () => {
  const drawn = plan(ENTRIES, RUN, 0);
  const { place, gaps } = scale(drawn, true);
  assert.ok(gaps.length >= 3);
  const wide = gaps.map((gap) => place(gap.to) - place(gap.from));
  for (const each of wide) assert.ok(Math.abs(each - wide[0]) < 1e-9);
  const busy = drawn.lanes.flatMap(({ bars }) => bars.filter(({ idle }) => !idle));
  const ratios = busy.map(({ from, to }) => (place(to) - place(from)) / (to - from));
  for (const each of ratios) assert.ok(Math.abs(each - ratios[0]) < 1e-9);
  assert.ok(Math.abs(place(drawn.to) - 100) < 1e-9);
  assert.equal(place(drawn.from), 0);
});

test("a run that is at work reaches to now", () => {
  const drawn = plan(ENTRIES.slice(0, 3), { created_at: at(0), completed_at: null }, START + 25_000);
  assert.deepEqual(lane(drawn, "model"), [[1, 25]]);
  assert.equal(drawn.to, START + 25_000);
});

test("what was handed in for later is drawn from its start on, unless it ended before", () => {
  const submitted = [entry("created", -5000, { wakes: 1, milliseconds: 13 }), ...ENTRIES.slice(1)];
  const drawn = plan(submitted, { created_at: at(-5000), start_at: at(0), completed_at: at(100) }, 0);
  assert.deepEqual([drawn.from, drawn.to], [START, START + 100_000]);
  assert.deepEqual(lane(drawn, "app")[0], [0, 1]);
  const never = plan([submitted[0], entry("ended", -10, { code: "cancelled" })], { created_at: at(-5000), start_at: at(0), completed_at: at(-10) }, 0);
  assert.deepEqual([never.from, never.to], [START - 5_000_000, START - 10_000]);
  assert.deepEqual(lane(never, "app"), [[-5000, -4999.987]]);
});

test("a turn whose start was left out begins after what is left out", () => {
  const drawn = plan([entry("created", 0), entry("omitted", 10, { until: at(50), count: 90, wakes: 90, milliseconds: 900 }), entry("turn_ended", 60, { wakes: 1 })], RUN, 0);
  assert.deepEqual(lane(drawn, "model"), [[50, 60]]);
});

test("every kind of entry has words, and one of a later version its own name", () => {
  const kinds = ["created", "sent", "turn_started", "looked", "no_answer", "turn_ended", "retry", "tools", "tool", "parked", "answered", "waiting", "crashed", "ended", "callback", "omitted"];
  for (const kind of kinds) assert.doesNotMatch(said(entry(kind, 0, { count: 3, code: "why" })), /^line_|\{/);
  assert.equal(said(entry("teleported", 0)), "teleported");
});
