// Runs in a page that frames the one to be looked at, and writes what is seen of that into #seen (browser.py).
// AXE stands for the source of axe-core, "" when it is not at hand.
const frame = document.querySelector("iframe");
frame.addEventListener("load", async () => {
  const page = frame.contentWindow;
  const { scrollWidth: width, scrollHeight: height } = page.document.documentElement;
  const mode = page.matchMedia("(prefers-color-scheme:dark)").matches ? "dark" : "light";
  let violations = null;
  const axe = AXE;
  if (axe) {
    page.eval(axe);
    const found = await page.axe.run(page.document);
    violations = found.violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => html) }));
  }
  document.querySelector("#seen").textContent = JSON.stringify({ mode, width, height, violations });
});
