// Draws each diagram of the page, and again when the reader changes between light and dark.
const diagrams = [...document.querySelectorAll("pre.mermaid")].map((element) => ({ element, text: element.textContent }));

function isDark() {
  const chosen = document.body.dataset.theme;
  return chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

async function draw() {
  mermaid.initialize({ startOnLoad: false, theme: isDark() ? "dark" : "neutral", securityLevel: "strict" });
  for (const [number, { element, text }] of diagrams.entries()) {
    element.innerHTML = (await mermaid.render(`diagram-${number}`, text)).svg;
  }
}

// One after the other: two drawings of the same diagram at once get into each other's way.
let drawn = Promise.resolve();
const drawNext = () => (drawn = drawn.then(draw));

if (diagrams.length) {
  new MutationObserver(drawNext).observe(document.body, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawNext);
  drawNext();
}
