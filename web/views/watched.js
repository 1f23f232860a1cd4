// What an operator is shown of runs, batches, schedules and deletions that are overdue or put aside, and what can be done with each.
import { Button, Empty, Link, Status, Time, count, html, t, useRef } from "../base.js";
import { visible } from "../json.js";
import { ask } from "../operator.js";

/** @typedef {import("../vendor/dormouse-client.js").WatchedRow & { isGone?: boolean }} Row `isGone`: it has left the list since */

/** @typedef {{ rows: Row[], isMore: boolean, watched: number }} Listed */

/** The first `wanted` of a list, in as few pages as that takes. @returns {Promise<Listed>} */
export async function read(name, wanted, signal) {
  /** @type {Listed} */
  const found = { rows: [], isMore: true, watched: 0 };
  for (let cursor = ""; found.isMore && found.rows.length < wanted; ) {
    const limit = Math.min(100, wanted - found.rows.length);
    const page = await ask("GET", `${name}?limit=${limit}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`, { signal });
    found.rows.push(...page.data);
    found.watched = page.watched;
    cursor = page.next_cursor ?? "";
    found.isMore = cursor !== "";
  }
  return found;
}

/**
 * The list as it is now, with rows that have left it where they stood, as long as they are `held`: something was done with them.
 * `isInUse`: somebody is about to press something in it, so that no row moves.
 * @param {Row[]} shown
 * @param {Row[]} fresh
 * @param {Set<string>} held
 * @returns {Row[]}
 */
export function merged(shown, fresh, held, isInUse = false) {
  const now = new Map(fresh.map((row) => [row.id, row])); // one that moves meanwhile may come twice
  const gone = (row) => ({ ...row, isGone: true });
  if (isInUse) {
    const known = new Set(shown.map(({ id }) => id));
    return [...shown.map((row) => now.get(row.id) ?? gone(row)), ...[...now.values()].filter(({ id }) => !known.has(id))];
  }
  const result = [...now.values()];
  shown.forEach((row, place) => {
    if (!held.has(row.id) || now.has(row.id)) return;
    const before = shown.slice(0, place).map(({ id }) => id);
    const after = result.findLastIndex(({ id }) => before.includes(id));
    result.splice(after + 1, 0, gone(row));
  });
  return result;
}

const ACTIONS = ["wake", "release", "end"];

const isPast = (at) => at !== null && new Date(at).getTime() < Date.now();

function Why({ row }) {
  if (row.isGone) return html`<p><strong>${t("watched_gone")}</strong></p>`;
  const since = row.quarantined ? undefined : [row.wake_at, row.due_at].find(isPast);
  const at = since ?? row.due_at;
  const when = at && html`<span class="dim">${t(since ? "was_to_be_woken" : "next_try")} <${Time} at=${at} form="ago" /></span>`;
  const why = row.quarantined ?? (row.overdue_sweeps ? t("overdue_sweeps", { n: count(row.overdue_sweeps) }) : t("overdue_unswept"));
  return html`<p class="why"><span dir="auto">${visible(why)}</span> ${when}</p>`;
}

const PLACES = { run: "runs", batch: "batches" };

function Name({ row }) {
  const name = html`<code>${row.id}</code>`;
  return row.status && PLACES[row.kind] ? html`<${Link} to=${`/${PLACES[row.kind]}/${row.id}`}>${name}<//>` : name;
}

function Item({ row, onAct, onError }) {
  const known = ["deletion", "schedule"].includes(row.kind) ? `kind_${row.kind}` : "not_there";
  const standing = row.status ? html`<${Status} status=${row.status} />` : t(row.readable ? known : "unreadable");
  const button = (action) =>
    html`<${Button} key=${action} class=${action === "end" ? "danger" : ""} aria-label=${`${t(`ops_${action}`)} ${row.id}`}
      onPress=${() => onAct(row, action)} onError=${(error) => onError(row, action, error)}>${t(`ops_${action}`)}<//>`;
  return html`<li class=${`watched-row ${row.isGone ? "is-gone" : ""}`}>
    <p class="standing"><span>${standing}</span><strong class="title"><${Name} row=${row} /></strong>
      ${row.agent && html`<span class="dim">${row.agent}</span>`}</p>
    <${Why} row=${row} />
    ${PLACES[row.kind] && html`<div class="actions">${ACTIONS.map(button)}</div>`}
  </li>`;
}

/**
 * One of the two lists: `name` is `overdue` or `quarantined`.
 * @param {{ name: string, rows: Row[], isMore: boolean, onMore: Function, onClear: Function, onAct: Function, onError: Function }} given
 */
export function WatchedList({ name, rows, isMore, onMore, onClear, onAct, onError }) {
  const heading = useRef(/** @type {any} */ (undefined));
  const there = rows.filter((row) => !row.isGone).length;
  const clear = () => {
    onClear();
    heading.current.focus();
  };
  return html`<section aria-labelledby=${name} data-list=${name}>
    <header><h2 id=${name} ref=${heading} tabindex="-1">${t(name)} <span class="dim">${count(there)}${isMore ? "+" : ""}</span></h2>
      ${there < rows.length && html`<button type="button" class="quiet" onClick=${clear}>${t("leave_out_gone")}</button>`}</header>
    ${rows.length > 0 && html`<ul class="rows">${rows.map((row) => html`<${Item} key=${row.id} row=${row} onAct=${onAct} onError=${onError} />`)}</ul>`}
    ${!there && html`<${Empty}>${t(`no_${name}`)}<//>`}
    ${isMore && html`<${Button} onPress=${onMore} onError=${(error) => onError(undefined, "more", error)}>${t("load_more")}<//>`}
  </section>`;
}
