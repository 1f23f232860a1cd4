/** Submitted by your server; watched, answered and cancelled at the app itself, with a token for each run. */
import { Dormouse } from "/client/index.js";
import { start } from "/page/page.js";
import { call, isSignedOut, signIn, signOut } from "/page/sign_in.js";

const EARLY_MS = 60_000;
const submitted = new Map(); // what came back, until the run is shown

start({
  async submit(request) {
    const opened = await call("POST", "/runs", request);
    submitted.set(opened.id, opened);
    return opened;
  },
  list: () => call("GET", "/runs"),
  async client(id) {
    const renew = () => call("POST", `/runs/${encodeURIComponent(id)}/token`);
    let opened = submitted.get(id) ?? (await renew());
    submitted.delete(id);
    // For as long as the person is signed in, each request of the client has a token that is still good.
    const token = async () => {
      if (Date.parse(opened.expires_at) - Date.now() < EARLY_MS) opened = await renew();
      return opened.token;
    };
    return new Dormouse({ url: opened.app, token });
  },
  isSignedOut,
  signIn,
  signOut,
});
