// What happened to a run, drawn: the model thinking, our wakes, each tool, a person. And the same as a list, with its sums.
import { Time, begins, count, duration, html, t, useMemo, useState } from "./base.js";

const time = (moment) => new Date(moment).getTime();
// Where there is no room for the drawing the steps are open.
const narrow = matchMedia("(max-width: 640px)");
const end = (entry) => (entry.until ? time(entry.until) : time(entry.at));

/** @typedef {{ kind: string, from: number, to: number, entry: any, idle?: boolean }} Bar */

/**
 * The bars of each lane, in milliseconds since 1970. `now` stands for the end of what is not over.
 * @returns {{ from: number, to: number, lanes: { name: string, bars: Bar[] }[] }} `idle` marks bars in which nothing of ours ran
 */
export function plan(entries, run, now) {
  const { created_at, completed_at } = run;
  const [model, app, tools, person] = /** @type {Bar[][]} */ ([[], [], [], []]);
  const last = completed_at ? time(completed_at) : now;
  let thinking, asked, failed;
  let before = time(created_at);
  // What was handed in for later is drawn from its start on, unless it ended before that.
  const from = begins(run) <= last ? begins(run) : before;
  const close = (bars, open, to, more) =>
    open && bars.push({ idle: true, from: open.from, to: Math.max(open.from, to), entry: open.entry, ...more });
  for (const entry of entries) {
    const at = time(entry.at);
    if (entry.kind === "tool") {
      tools.push({ kind: `tool is-${entry.code}`, from: at, to: entry.until ? end(entry) : last, entry });
      continue;
    }
    if (["sent", "turn_started"].includes(entry.kind)) {
      close(model, failed, at, { kind: "retry" });
      failed = undefined;
      if (entry.kind === "turn_started" || !thinking) thinking = { from: end(entry), entry };
    }
    if (["turn_ended", "retry", "ended"].includes(entry.kind)) {
      // What stood before may have been left out.
      const open = thinking ?? (entry.kind === "turn_ended" ? { from: before, entry } : undefined);
      close(model, open, at, { kind: "model" });
      thinking = undefined;
      if (entry.kind === "retry") failed = { from: at, entry };
    }
    if (entry.kind === "parked") asked = { from: at, entry };
    if (["answered", "ended"].includes(entry.kind)) {
      close(person, asked, at, { kind: "person" });
      asked = undefined;
    }
    if (entry.wakes || entry.milliseconds) {
      const idle = entry.count > 1;
      app.push({
        kind: idle ? "looks" : entry.kind === "crashed" ? "work is-failed" : "work",
        idle,
        from: at,
        to: entry.until ? end(entry) : at + entry.milliseconds,
        entry,
      });
    }
    before = end(entry);
  }
  close(model, thinking, last, { kind: "model" });
  close(model, failed, last, { kind: "retry" });
  close(person, asked, last, { kind: "person" });
  const lanes = [
    { name: "model", bars: model },
    { name: "app", bars: app },
    ...rowsOf(tools).map((bars, row) => ({ name: row ? "" : "tools", bars })),
    { name: "person", bars: person },
  ]
    .map(({ name, bars }) => ({ name, bars: bars.filter(({ to }) => to >= from) }))
    .filter(({ bars }) => bars.length);
  const ends = lanes.flatMap(({ bars }) => bars.map(({ to }) => to));
  return { from, to: Math.max(last, ...ends), lanes };
}

/** Bars that run side by side, in as few rows as they need. */
function rowsOf(bars) {
  /** @type {Bar[][]} */
  const rows = [];
  for (const bar of bars) {
    const row = rows.find((each) => each[each.length - 1].to <= bar.from);
    if (row) row.push(bar);
    else rows.push([bar]);
  }
  return rows;
}

/** Where a moment is drawn, in percent. Collapsed: each span in which nothing of ours ran is a narrow gap. */
export function scale({ from, to, lanes }, collapsed) {
  const whole = Math.max(1, to - from);
  const straight = (moment) => ((moment - from) / whole) * 100;
  const gaps = collapsed ? idleOf(from, to, lanes) : [];
  const idle = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  if (!gaps.length || idle >= whole) return { place: straight, gaps: [] };
  const wide = Math.min(3, 40 / gaps.length);
  const rest = (100 - wide * gaps.length) / (whole - idle);
  const place = (moment) => {
    let x = (moment - from) * rest;
    for (const gap of gaps) {
      if (moment <= gap.from) break;
      const share = Math.min(1, (moment - gap.from) / (gap.to - gap.from));
      x += share * (wide - (gap.to - gap.from) * rest);
    }
    return x;
  };
  return { place, gaps };
}

function idleOf(from, to, lanes) {
  const busy = lanes.flatMap(({ bars }) => bars.filter(({ idle }) => !idle)).sort((one, other) => one.from - other.from);
  const gaps = [];
  let reached = from;
  for (const bar of [...busy, { from: to, to }]) {
    if (bar.from - reached > Math.max(500, (to - from) / 100)) gaps.push({ from: reached, to: bar.from });
    reached = Math.max(reached, bar.to);
  }
  return gaps;
}

/** What an entry was, in words. */
export function said({ kind, turn, count: times, code, by, tool }) {
  const known = { turn: turn ?? 0, count: count(times), code: code ?? "", by: by ?? t("somebody"), tool: tool ?? "" };
  const name =
    kind === "ended" && t.has(`status_${code}`)
      ? "ended_as"
      : times > 1 && t.has(`line_${kind}_many`)
        ? `line_${kind}_many`
        : `line_${kind}`;
  if (name === "ended_as") return t("line_ended_as", { status: t(`status_${code}`) });
  return t.has(name) ? t(name, known) : kind;
}

function Bar({ bar, place }) {
  const [left, right] = [place(bar.from), place(bar.to)];
  const text = `${said(bar.entry)} · ${duration((bar.to - bar.from) / 1000)}`;
  const label =
    bar.kind === "model"
      ? t("bar_model", { turn: bar.entry.turn })
      : bar.kind === "person"
        ? t("bar_person")
        : bar.kind === "retry"
          ? t("bar_retry")
          : text;
  const title = label === text ? text : `${label} · ${duration((bar.to - bar.from) / 1000)}`;
  const name = bar.entry.tool ?? "";
  const style = { left: `${left}%`, width: `${right - left}%` };
  return html`<span class=${`bar ${bar.kind}`} title=${title} data-ms=${bar.to - bar.from} style=${style}>
    ${name && right - left > 12 && html`<span>${name}</span>`}
  </span>`;
}

function Gap({ gap, place }) {
  const style = { left: `${place(gap.from)}%`, width: `${place(gap.to) - place(gap.from)}%` };
  return html`<span class="gap" title=${t("idle", { time: duration((gap.to - gap.from) / 1000) })} style=${style}></span>`;
}

function Drawing({ drawn, collapsed }) {
  const { place, gaps } = useMemo(() => scale(drawn, collapsed), [drawn, collapsed]);
  return html`<div class="lanes" aria-hidden="true">
    ${drawn.lanes.map(
      ({ name, bars }, row) => html`<div class="lane" key=${row}>
        <span class="name">${name && t(`lane_${name}`)}</span>
        <div class=${`track lane-${name || "tools"}`}>
          ${bars.map((bar, place_) => html`<${Bar} key=${place_} bar=${bar} place=${place} />`)}
          ${gaps.map((gap, number) => html`<${Gap} key=${number} gap=${gap} place=${place} />`)}
        </div>
      </div>`,
    )}
    <div class="lane axis">
      <span class="name"></span>
      <div class="track">${[drawn.from, drawn.to].map((each) => html`<${Time} at=${new Date(each).toISOString()} form="second" />`)}</div>
    </div>
  </div>`;
}

function Row({ entry }) {
  const long = entry.until ? end(entry) - time(entry.at) : 0;
  return html`<tr>
    <td><${Time} at=${entry.at} form="second" /></td>
    <td>${said(entry)}</td>
    <td class="figure" data-label=${t("took")}>${long > 0 ? duration(long / 1000) : ""}</td>
    <td class="figure" data-label=${t("wakes")} data-wakes=${entry.wakes}>${entry.wakes ? count(entry.wakes) : ""}</td>
    <td class="figure" data-label=${t("worked")} data-ms=${entry.milliseconds}>${entry.milliseconds ? duration(entry.milliseconds / 1000) : ""}</td>
  </tr>`;
}

/** The timeline of a run, as `GET …/timeline` has it. */
export function Timeline({ timeline, run, now }) {
  const [collapsed, setCollapsed] = useState(false);
  const drawn = useMemo(() => plan(timeline.data, run, now), [timeline, run, now]);
  return html`<section class="timeline" aria-labelledby="timeline">
    <header><h2 id="timeline">${t("timeline")}</h2>
      <label class="toggle"><input type="checkbox" checked=${collapsed} onChange=${(event) => setCollapsed(event.target.checked)} />${t("collapse")}</label></header>
    <${Drawing} drawn=${drawn} collapsed=${collapsed} />
    <details open=${narrow.matches}>
      <summary>${timeline.data.length === 1 ? t("one_step") : t("all_steps", { n: count(timeline.data.length) })}</summary>
      <div class="scroll" tabindex="0" role="region" aria-label=${t("timeline")}><table>
        <thead><tr><th>${t("when")}</th><th>${t("what")}</th><th class="figure">${t("took")}</th><th class="figure">${t("wakes")}</th><th class="figure">${t("worked")}</th></tr></thead>
        <tbody>${timeline.data.map((entry, place) => html`<${Row} key=${place} entry=${entry} />`)}</tbody>
        <tfoot><tr><td></td><th scope="row">${t("sum")}</th><td class="figure" data-label=${t("took")}>${duration((drawn.to - drawn.from) / 1000)}</td>
          <td class="figure" data-label=${t("wakes")}>${count(timeline.wakes)}</td><td class="figure" data-label=${t("worked")}>${duration(timeline.active_seconds)}</td></tr></tfoot>
      </table></div>
    </details>
  </section>`;
}
