// JSON texts as they are: spread over lines, no number rounded, no key dropped, and no character that cannot be seen.
import { html, t } from "./base.js";

// Control characters, marks that turn the direction of what follows, and characters without a width.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|\udb40[\udc00-\udfff]/g;
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

const escape = (found) =>
  Array.from({ length: found.length }, (_, place) => `\\u${found.charCodeAt(place).toString(16).padStart(4, "0")}`).join("");

/** A text in which what cannot be seen is written as `\u202e`. */
export const visible = (text) => text.replace(UNSEEN, escape);

/** A string of JSON with its escapes resolved, as far as they can be seen. */
function readable(token) {
  try {
    return visible(JSON.stringify(JSON.parse(token)));
  } catch {
    return visible(token);
  }
}

/** The JSON text over lines, token for token as it stands. What is no JSON stays as it is. */
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return visible(text);
  }
  let [result, depth] = ["", 0];
  const tokens = text.match(TOKEN) ?? [];
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, place) => {
    if (token === "{" || token === "[") {
      depth += 1;
      result += tokens[place + 1] === (token === "{" ? "}" : "]") ? token : token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      result += tokens[place - 1] === (token === "}" ? "{" : "[") ? token : line() + token;
    } else if (token === ",") result += token + line();
    else if (token === ":") result += ": ";
    else result += token[0] === '"' ? readable(token) : token;
  });
  return result;
}

export const Json = ({ text, ...more }) => html`<pre class="json" dir="ltr" tabindex="0" ...${more}>${pretty(text)}</pre>`;

// --- a result as tables ---

const isPlain = (value) => value === null || typeof value !== "object";
const isTable = (value) =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((each) => each && !Array.isArray(each) && typeof each === "object" && Object.values(each).every(isPlain));

function Value({ value }) {
  if (value === null) return html`<span class="dim">${t("none")}</span>`;
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (isPlain(value)) return html`<span dir="auto">${visible(String(value))}</span>`;
  if (isTable(value)) {
    const names = [...new Set(value.flatMap(Object.keys))];
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("table")}><table>
      <thead><tr>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${value.map((row) => html`<tr>${names.map((name) => html`<td>${row[name] === undefined ? "" : html`<${Value} value=${row[name]} />`}</td>`)}</tr>`)}</tbody>
    </table></div>`;
  }
  if (Array.isArray(value)) return html`<ol>${value.map((each) => html`<li><${Value} value=${each} /></li>`)}</ol>`;
  return html`<dl class="fields">${Object.entries(value).map(([name, each]) => html`<dt>${name}</dt><dd><${Value} value=${each} /></dd>`)}</dl>`;
}

/** The structured output of a run. */
export const Output = ({ value }) => html`<div class="output"><${Value} value=${value} /></div>`;
