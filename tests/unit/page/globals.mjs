// What a browser has and the page asks for as it loads.
globalThis.localStorage = { getItem: () => null, setItem() {} };
globalThis.matchMedia = () => ({ matches: false });
Object.defineProperty(globalThis, "navigator", { value: { languages: ["en"] }, configurable: true });
globalThis.location = { origin: "https://app.example" };
globalThis.sessionStorage = { getItem: () => null, setItem() {}, removeItem() {} };
