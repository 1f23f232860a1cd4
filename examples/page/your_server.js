/** Runs by way of your server, which adds its key and the person to each call. */
import { Dormouse } from "/client/index.js";
import { start } from "/page/page.js";
import { isSignedOut, signIn, signOut } from "/page/sign_in.js";

const dormouse = new Dormouse();

start({
  submit: (request) => dormouse.submit(request),
  list: () => dormouse.list({ limit: 10 }),
  client: async () => dormouse,
  isSignedOut,
  signIn,
  signOut,
});
