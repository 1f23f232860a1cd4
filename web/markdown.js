// Text of a model as Markdown, as it grows. Elements are built one by one: nothing of the text is ever read as HTML.
import { html, useLayoutEffect, useRef } from "./base.js";
import * as smd from "./vendor/markdown.js";

/** More than this is shown as it is: building its elements would hold up the page. */
const MOST = 300_000;

const SAFE = /^(?:https?:|mailto:)/i;

/** The address of a link, if it leads anywhere that a text may lead to. */
export function safeAddress(value) {
  try {
    return SAFE.test(new URL(value, location.origin).protocol) && SAFE.test(value.trim()) ? value.trim() : undefined;
  } catch {
    return undefined;
  }
}

/** The library's renderer, but a link leads only to the web or to mail, and an image is a link: nothing is loaded. */
function renderer(root) {
  const usual = smd.default_renderer(root);
  return {
    ...usual,
    add_token(data, type) {
      usual.add_token(data, type === smd.IMAGE ? smd.LINK : type);
    },
    end_token(data) {
      const node = data.nodes[data.index];
      usual.end_token(data);
      // To the library `[1]` is a link that leads nowhere; to a reader it is what it says.
      if (node.localName === "a" && !node.href) node.replaceWith("[", ...node.childNodes, "]");
    },
    set_attr(data, type, value) {
      if (type !== smd.HREF && type !== smd.SRC) return usual.set_attr(data, type, value);
      const address = safeAddress(value);
      if (address === undefined) return;
      usual.set_attr(data, smd.HREF, address);
      const link = data.nodes[data.index];
      link.title = address;
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
    },
  };
}

export function Markdown({ text: given, ended }) {
  const text = given.replace(/\r\n?/g, "\n");
  const root = useRef(/** @type {any} */ (undefined));
  const written = useRef({ text: "", parser: /** @type {any} */ (undefined), ended: false });
  // Before the browser draws: a status "Completed" and the last letters of the text are seen together.
  useLayoutEffect(() => {
    if (text.length > MOST) return;
    const last = written.current;
    if (!last.parser || !text.startsWith(last.text) || last.ended) {
      if (last.ended && last.text === text) return;
      root.current.replaceChildren();
      Object.assign(last, { text: "", parser: smd.parser(renderer(root.current)), ended: false });
    }
    if (text.length > last.text.length) smd.parser_write(last.parser, text.slice(last.text.length));
    last.text = text;
    if (ended) {
      smd.parser_end(last.parser);
      last.ended = true;
    }
  }, [text, ended]);
  if (text.length > MOST) return html`<pre class="plain" dir="auto">${text}</pre>`;
  return html`<div class="markdown" dir="auto" ref=${root}></div>`;
}
