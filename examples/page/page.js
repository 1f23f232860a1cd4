/**
 * The page of all three examples: submit, live text, approve, cancel, list. Only how it gets at runs differs among them.
 *
 * @typedef {object} Access
 * @property {(request: object) => Promise<{ id: string }>} submit
 * @property {() => Promise<{ data: object[] }>} list the latest runs of who has signed in
 * @property {(id: string) => Promise<Dormouse>} client that may watch, answer and cancel this run
 * @property {(error: DormouseError) => boolean} isSignedOut whether the error is for want of a sign-in
 * @property {(begin: () => void) => boolean} signIn let the person sign in and then begin; false where that is no use
 * @property {() => Promise<void>} signOut and leave the page: nothing of this person's is to stay on it
 */

const FINAL = ["completed", "incomplete", "failed", "cancelled"];
export const element = (id) => document.getElementById(id);
const shownId = () => location.hash.slice(1);

/** Say this sentence, with a button that looks again; or nothing. */
export function say(sentence) {
  element("message").textContent = sentence;
  element("again").hidden = !sentence;
}

/** @param {Access} access */
export function start(access) {
  let watching = new AbortController();
  let client; // of the run that is shown
  let questions = ""; // that are shown: their buttons stay while they are pressed

  /** Do it, and answer with whether it was done. Where it was not, say why, and let the person sign in if that is it. */
  async function attempt(work) {
    try {
      await work();
      return true;
    } catch (error) {
      say(error.message);
      if (access.isSignedOut(error) && access.signIn(begin)) element("again").hidden = true;
      return false;
    }
  }

  /** The same for a button, which cannot be pressed twice. */
  async function press(button, work) {
    button.disabled = true;
    say("");
    await attempt(work);
    button.disabled = false;
  }

  async function list() {
    const { data } = await access.list();
    element("runs").replaceChildren(...data.map(({ id, title, status }) => item(link(id, title), ` ${status}`)));
  }

  function clear() {
    watching.abort();
    watching = new AbortController();
    for (const id of ["title", "status", "waiting", "connection", "questions", "calls", "text"]) element(id).textContent = "";
    element("run").hidden = true;
    element("cancel").hidden = true;
    questions = "";
    say("");
  }

  /** Show the run that the address names, as it goes on, to its end. */
  async function watch() {
    clear();
    const [id, { signal }] = [shownId(), watching];
    if (!id) return;
    const work = async () => {
      try {
        client = await access.client(id);
        for await (const view of client.watch(id, { signal })) show(view);
      } catch (error) {
        if (!signal.aborted) throw error; // else another run is shown by now
      }
    };
    if ((await attempt(work)) && !signal.aborted) await attempt(list);
  }

  function show({ run, text, connection }) {
    element("run").hidden = false;
    element("title").textContent = run.title;
    element("status").textContent = run.status;
    element("waiting").textContent = run.error?.message ?? run.waiting_text;
    element("connection").textContent = connection.error?.message ?? "";
    element("text").textContent = text;
    element("cancel").hidden = FINAL.includes(run.status);
    const said = ({ result, error, state }) => result ?? error?.message ?? state;
    element("calls").replaceChildren(...run.tool_calls.map((call) => item(`${call.name} ${call.arguments}: ${said(call)}`)));
    const asked = run.required_action?.calls ?? [];
    if (questions === JSON.stringify(asked)) return;
    questions = JSON.stringify(asked);
    element("questions").replaceChildren(...asked.map((call) => question(run, call)));
  }

  function question(run, { id, name, arguments: given, reason }) {
    const answers = Object.entries({ Approve: true, Refuse: false }).map(([label, approve]) => {
      const button = document.createElement("button");
      button.textContent = label;
      button.onclick = () => press(button, () => client.answer(run, { [id]: { approve } }));
      return button;
    });
    return item(`${name} ${given} ${reason ?? ""} `, ...answers);
  }

  async function begin() {
    clear();
    element("runs").replaceChildren();
    if (await attempt(list)) await watch();
  }

  element("ask").onsubmit = (event) => {
    event.preventDefault();
    const { input, agent } = Object.fromEntries(new FormData(element("ask")));
    press(event.submitter, async () => {
      const { id } = await access.submit({ input, agent, stream: true });
      location.hash = id; // the event below shows it; so does a reload
      await list();
    });
  };
  element("cancel").onclick = () => press(element("cancel"), () => client.cancel(shownId()));
  element("again").onclick = begin;
  element("sign-out").onclick = () => press(element("sign-out"), access.signOut);
  window.addEventListener("hashchange", watch);
  begin();
}

function item(...parts) {
  const made = document.createElement("li");
  made.append(...parts);
  return made;
}

function link(id, title) {
  const made = document.createElement("a");
  return Object.assign(made, { href: `#${id}`, textContent: title });
}
