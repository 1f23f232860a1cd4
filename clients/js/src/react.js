// @ts-check
import { useEffect, useState } from "react";
import { DormouseError } from "./errors.js";

/** @typedef {import("./contract.js").Run} Run */
/** @typedef {import("./view.js").Connection} Connection */
/** @typedef {import("./client.js").Dormouse} Dormouse */

/**
 * What a component shows of a run. `run` is undefined until it is known, `text` is the whole text so far, `stale` says
 * that it does not grow for now. `error` is the refusal that ended the watch; what may pass is in `connection`.
 * @typedef {object} Watched
 * @property {Run | undefined} run
 * @property {string} text
 * @property {boolean} stale
 * @property {Connection} connection
 * @property {DormouseError | undefined} error
 * @property {boolean} ended
 */

/** @type {Watched} */
const NOTHING = { run: undefined, text: "", stale: false, connection: { state: "connecting" }, error: undefined, ended: false };
const FRAME_MS = 16;

/**
 * Watch a run for as long as the component is shown: live text, tools, connection, to the end. Without a run it does
 * nothing. Make the client once, outside of the component.
 * @param {Dormouse} client
 * @param {Run | string | null | undefined} run the run, or its id; another id begins anew
 * @returns {Watched}
 */
export function useRun(client, run) {
  const id = typeof run === "string" ? run : run?.id;
  const [shown, setShown] = useState({ id, watched: NOTHING });
  useEffect(() => {
    if (id === undefined) return undefined;
    const stop = new AbortController();
    let watched = NOTHING;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const show = (/** @type {Partial<Watched>} */ news) => {
      watched = { ...watched, ...news };
      // Many deltas may come between two frames.
      timer ??= setTimeout(() => {
        timer = undefined;
        setShown({ id, watched });
      }, FRAME_MS);
    };
    const follow = async () => {
      const onConnection = (/** @type {Connection} */ connection) => show({ connection });
      for await (const view of client.watch(run ?? id, { signal: stop.signal, onConnection })) {
        const { run, text, stale, connection } = view;
        show({ run, text, stale, connection, ended: view.event === "end" });
      }
      show({ ended: true });
    };
    follow().catch((error) => {
      if (!stop.signal.aborted) show({ error });
    });
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
    // The run as it was at first is only a beginning: it is the same watch as long as the id is.
  }, [client, id]);
  return shown.id === id ? shown.watched : NOTHING;
}
