// @ts-check
/** @typedef {Record<string, string>} ServerSentEvent its fields: `id`, `event`, `data`, `retry` and whatever may come */

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
      const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      message[name] = name === "data" && name in message ? `${message[name]}\n${value}` : value;
    }
  }
}
