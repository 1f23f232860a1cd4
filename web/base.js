// What every view uses: elements, words, times, and small parts of the page.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { language, t } from "./words.js";

export { html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";
export { t } from "./words.js";

export const FINAL = ["completed", "incomplete", "failed", "cancelled"];
export const isFinal = (one) => FINAL.includes(one.status);

// --- numbers and times ---

// The reader's own country, where it speaks the page's language: 23:49 or 11:49 PM.
const locale = navigator.languages.find((each) => each.slice(0, 2) === language.slice(0, 2)) ?? language;
const number = new Intl.NumberFormat(locale);
const tenth = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const exact = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const today = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const before = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const toSecond = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });

export const count = (value) => number.format(value);

/** Seconds as people say them: `17 ms`, `1.4 s`, `6 min 12 s`, `2 h 5 min`. */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (seconds > 0 && seconds < 1) return t("milliseconds", { n: Math.round(seconds * 1000) });
  if (seconds < 10) return t("seconds", { n: tenth.format(Math.max(0, seconds)) });
  if (whole < 60) return t("seconds", { n: whole });
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (days) return t("days", { n: count(days), rest: Math.floor((whole % 86400) / 3600) });
  if (hours) return t("hours", { n: hours, rest: minutes % 60 });
  return t("minutes", { n: minutes, rest: whole % 60 });
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

/** How long ago, or until when. */
export function ago(moment, now = Date.now()) {
  const seconds = (new Date(moment).getTime() - now) / 1000;
  for (const [unit, each] of UNITS) if (Math.abs(seconds) >= each) return relative.format(Math.round(seconds / each), unit);
  return relative.format(Math.trunc(seconds / 10) * 10, "second");
}

/** Day and time, as the reader has them. */
export const dayAndTime = (at) => before.format(new Date(at));

/** When a run began, or is to begin, in milliseconds since 1970. */
export const begins = ({ created_at, start_at }) => Math.max(new Date(created_at).getTime(), new Date(start_at ?? created_at).getTime());

/** Whether a run has yet to begin, at its `start_at`. */
export const isLater = (run, now) => run.status === "queued" && begins(run) > now && Boolean(run.start_at);

/** A moment in the reader's own time, with the exact one on hover. */
export function Time({ at, form = "clock" }) {
  const moment = new Date(at);
  const isToday = moment.toDateString() === new Date().toDateString();
  const shown = form === "ago" ? ago(at) : form === "second" ? toSecond.format(moment) : (isToday ? today : before).format(moment);
  return html`<time dateTime=${at} title=${exact.format(moment)}>${shown}</time>`;
}

/** Now, anew each so many milliseconds while the page is seen; it stands still when `runs` is false. */
export function useNow(every = 1000, runs = true) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!runs) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => document.hidden || setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every, runs]);
  return now;
}

/**
 * Calls `look` now, and again once so many milliseconds have passed since it ended: as many as it gives back, else `every`.
 * At once when the page is seen again, or the device is online again. What it gives back ends it.
 * @param {() => Promise<number | void>} look
 * @param {number} every
 */
export function repeatedly(look, every) {
  let timer, busy, ended;
  async function round() {
    clearTimeout(timer);
    if (busy || ended) return;
    busy = true;
    const pause = await look();
    busy = false;
    if (!ended) timer = setTimeout(round, pause ?? every);
  }
  const seen = () => document.hidden || round();
  document.addEventListener("visibilitychange", seen);
  addEventListener("online", seen);
  round();
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("online", seen);
  };
}

/** @typedef {import("./vendor/dormouse-client.js").DormouseError} DormouseError */

/**
 * What a call brings: `{ data, error, reload }`. A later call overtakes an earlier one.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} call
 * @param {unknown[]} keys
 */
export function useLoad(call, keys) {
  const [state, setState] = useState(/** @type {{ data?: T | undefined, error?: DormouseError, loading?: boolean }} */ ({}));
  const [round, setRound] = useState(0);
  useEffect(() => {
    const ended = new AbortController();
    setState((last) => ({ data: round ? last.data : undefined, loading: true }));
    call(ended.signal).then(
      (data) => ended.signal.aborted || setState({ data }),
      (error) => ended.signal.aborted || setState((last) => ({ data: last.data, error })),
    );
    return () => ended.abort();
  }, [...keys, round]);
  return { ...state, reload: () => setRound((last) => last + 1) };
}

/**
 * A list page by page: `{ pages, error, reload, next }`; `next` reads the page that follows and is undefined after the
 * last. `read({ cursor, signal })` asks for one. After a change of a key the list begins anew, and what was read is shown
 * until then. `reload` reads the first page again and keeps the others behind it: what is in two is newest in the first.
 * @template P
 * @param {(given: { cursor?: string | undefined, signal?: AbortSignal }) => Promise<P & { next_cursor?: string | undefined }>} read
 * @param {unknown[]} keys
 */
export function usePages(read, keys) {
  const [state, setState] = useState(/** @type {{ pages: (P & { next_cursor?: string | undefined })[], error?: DormouseError }} */ ({ pages: [] }));
  const [round, setRound] = useState(0);
  const shown = useRef(round);
  useEffect(() => {
    const ended = new AbortController();
    const again = round !== shown.current;
    shown.current = round;
    read({ signal: ended.signal }).then(
      (page) => ended.signal.aborted || setState((last) => ({ pages: again ? [page, ...last.pages] : [page] })),
      (error) => ended.signal.aborted || setState((last) => ({ ...last, error })),
    );
    return () => ended.abort();
  }, [...keys, round]);
  const cursor = state.pages.at(-1)?.next_cursor;
  async function next() {
    const page = await read({ cursor });
    // Not behind a list that has begun anew.
    setState((last) => (last.pages.at(-1)?.next_cursor === cursor ? { ...last, pages: [...last.pages, page] } : last));
  }
  return { ...state, reload: () => setRound((last) => last + 1), next: cursor ? next : undefined };
}

// --- status ---

const SHAPES = {
  queued: "M12 6v6l4 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  in_progress: "M12 3a9 9 0 1 0 9 9",
  requires_action: "M12 7v6m0 3.5v.5M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  completed: "M8 12.5l3 3 5.5-6.5M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  incomplete: "M8 12h8M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  failed: "M9 9l6 6m0-6l-6 6M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  cancelled: "M6 18L18 6M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
};
SHAPES.pending = SHAPES.queued;
SHAPES.active = SHAPES.in_progress;

export const Icon = ({ status }) =>
  html`<svg class=${`icon is-${status}`} viewBox="0 0 24 24" aria-hidden="true"><path d=${SHAPES[status] ?? SHAPES.queued} /></svg>`;

/** A status as icon and word. */
export const Status = ({ status }) =>
  html`<span class=${`status is-${status}`}><${Icon} status=${status} />${t(`status_${status}`)}</span>`;

// --- parts ---

export const Link = ({ to, children, ...more }) => html`<a href=${`/ui${to}`} ...${more}>${children}</a>`;

/** A button that cannot be pressed twice while its work is done; what goes wrong is told to `onError`. */
export function Button({ onPress, onError, children, ...more }) {
  const [busy, setBusy] = useState(false);
  const alive = useRef(true);
  useEffect(() => () => void (alive.current = false), []);
  async function press() {
    if (busy) return;
    setBusy(true);
    onError?.(undefined);
    try {
      await onPress();
    } catch (error) {
      if (!onError) throw error;
      onError(error);
    } finally {
      if (alive.current) setBusy(false);
    }
  }
  return html`<button type="button" aria-disabled=${busy} onClick=${press} ...${more}>${children}</button>`;
}

/** Copies a text, which may have to be fetched first. */
export function Copy({ text, children }) {
  const [said, setSaid] = useState("");
  async function copy() {
    await navigator.clipboard.writeText(typeof text === "function" ? await text() : text);
    setSaid(t("copied"));
    setTimeout(() => setSaid(""), 2000);
  }
  return html`<${Button} class="quiet" onPress=${copy} onError=${(error) => setSaid(error ? t("not_copied") : "")}>${said || children}<//>`;
}

/** A dialog of the browser's own: it keeps the focus, and Escape closes it. `onClose` takes it away. */
export function Dialog({ title, onClose, children, ...more }) {
  const dialog = useRef(/** @type {any} */ (undefined));
  const left = useRef(false);
  function leave() {
    // A `close` that comes later is not about the dialog that a quick hand has opened since.
    if (!left.current) onClose();
    left.current = true;
  }
  // By itself the browser closes it at once and says so in a task of its own: a key in between would be lost.
  function escaped(event) {
    event.preventDefault();
    leave();
  }
  // Before the next key, which is for the dialog.
  useLayoutEffect(() => {
    const back = /** @type {HTMLElement} */ (document.activeElement);
    const node = dialog.current;
    node.showModal();
    /** @type {HTMLElement} */ (node.querySelector("[data-first]"))?.focus();
    return () => {
      left.current = true;
      node.close(); // what is behind an open one takes no focus
      if (back?.isConnected) back.focus();
    };
  }, []);
  const outside = (event) => event.target === dialog.current && leave();
  return html`<dialog ref=${dialog} aria-label=${title} onCancel=${escaped} onClose=${leave} onClick=${outside} ...${more}>
    <header>
      <h2>${title}</h2>
      <button type="button" class="quiet" aria-label=${t("close")} onClick=${leave}>
        <svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="M6 6l12 12M18 6L6 18" /></svg>
      </button>
    </header>
    ${children}
  </dialog>`;
}

export const Loading = () => html`<p class="empty loading">${t("loading")}</p>`;
export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;
