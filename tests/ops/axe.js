// Looks at a page with axe-core in jsdom: node axe.js FOLDER_OF_NODE_MODULES PAGE. Prints what is wrong, as JSON.
// What needs a picture, such as contrast, is looked at by test_report.py itself.
const [modules, page] = process.argv.slice(2);
const { createRequire } = require("node:module");
const from = createRequire(modules + "/");
const { JSDOM } = from("jsdom");
const axe = require("node:fs").readFileSync(from.resolve("axe-core/axe.min.js"), "utf-8");
const { window } = new JSDOM(require("node:fs").readFileSync(page, "utf-8"), { runScripts: "outside-only" });
window.eval(axe);
window.axe.run(window.document, { rules: { "color-contrast": { enabled: false } } }).then(({ violations }) =>
  console.log(JSON.stringify(violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => html) })))));
