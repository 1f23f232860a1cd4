/** The sign-in of the two examples that have a server, and the calls of that server. */
import { DormouseError } from "/client/index.js";
import { element, say } from "/page/page.js";

export const isSignedOut = (error) => error.code === "signed_out";

/** Show the form, and begin once a name was taken. */
export function signIn(begin) {
  const form = element("sign-in");
  form.hidden = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await call("POST", "/sign-in", { name: new FormData(form).get("name") });
      form.hidden = true;
      begin();
    } catch (error) {
      say(error.message);
    }
  };
  return true;
}

export async function signOut() {
  await call("POST", "/sign-out");
  location.assign("/");
}

/** A call of this page's own server, and the object that it answers; fails with a `DormouseError`, as calls of the app do. */
export async function call(method, path, body) {
  const reply = await fetch(path, { method, ...(body && { body: JSON.stringify(body) }) }).catch((cause) => {
    throw new DormouseError("network_error", "The server does not answer. Try again in a moment.", { cause });
  });
  const said = await reply.json().catch(() => ({}));
  if (reply.ok) return said;
  const sentence = said.detail ?? `The server answered ${reply.status}.`;
  throw new DormouseError(said.code ?? `http_${reply.status}`, sentence, { status: reply.status });
}
