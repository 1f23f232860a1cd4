// @ts-check
/** @typedef {{ id?: string, event?: string, data?: string, retry?: number }} ServerSentEvent */

/**
 * The events of a stream (WHATWG HTML, section 9.2.6).
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard called whenever something came
 * @returns {AsyncGenerator<ServerSentEvent, void, void>}
 */
export async function* messages(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {ServerSentEvent} */
  let message = {};
  for (;;) {
    const { done, value: chunk } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      if (line === "") {
        yield message;
        message = {};
        continue;
      }
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "id" || name === "event") message[name] = value;
      if (name === "data") message.data = message.data === undefined ? value : `${message.data}\n${value}`;
      if (name === "retry" && /^\d+$/.test(value)) message.retry = Number(value);
    }
  }
}
