// Addresses below /ui: which view, and how to get from one to another without loading the page again.
import { useEffect, useState } from "./base.js";

const changed = new EventTarget();

/** Go to this view. `state` is what it may begin with, until its own question is answered. */
export function navigate(path, state, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", `/ui${path}`);
  changed.dispatchEvent(new CustomEvent("change", { detail: state }));
  scrollTo(0, 0);
}

/** Where the reader is: `{ path, state }`. */
export function useAddress() {
  const here = () => location.pathname.replace(/^\/ui(?=\/|$)/, "").replace(/\/+$/, "") || "/";
  const [address, setAddress] = useState(() => /** @type {{ path: string, state?: any }} */ ({ path: here() }));
  useEffect(() => {
    const moved = (event) => setAddress({ path: here(), state: event.detail });
    const clicked = (event) => {
      const link = event.target.closest?.("a[href^='/ui']");
      if (
        !link ||
        link.target ||
        event.defaultPrevented ||
        event.button ||
        event.metaKey ||
        event.ctrlKey ||
        event.shiftKey ||
        event.altKey
      )
        return;
      event.preventDefault();
      navigate(link.getAttribute("href").slice(3));
    };
    changed.addEventListener("change", moved);
    addEventListener("popstate", moved);
    document.addEventListener("click", clicked);
    return () => {
      changed.removeEventListener("change", moved);
      removeEventListener("popstate", moved);
      document.removeEventListener("click", clicked);
    };
  }, []);
  return address;
}
