/** Runs at the app's own origin, as whom the platform has signed in. */
import { Dormouse } from "/client/index.js";
import { say, start } from "/page/page.js";

const dormouse = new Dormouse();
const LEFT = "left-to-sign-in";

start({
  submit: (request) => dormouse.submit(request),
  async list() {
    const page = await dormouse.list({ limit: 10 });
    sessionStorage.removeItem(LEFT);
    return page;
  },
  client: async () => dormouse,
  isSignedOut: (error) => error.status === 401,
  signIn() {
    const hasBeenThere = sessionStorage.getItem(LEFT) !== null;
    sessionStorage.removeItem(LEFT);
    if (hasBeenThere) {
      say("You are back from the sign-in, and the app still does not know you. Look again, or ask who runs it.");
      return false; // else the two would send people to each other for ever
    }
    sessionStorage.setItem(LEFT, "1");
    const here = location.pathname + location.search + location.hash;
    location.assign(`/.auth/login/aad?post_login_redirect_uri=${encodeURIComponent(here)}`);
    return true;
  },
  async signOut() {
    location.assign("/.auth/logout?post_logout_redirect_uri=/");
  },
});
