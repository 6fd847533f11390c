"use strict";
// Checks finished pages in a browser: their figures, their layout in several widths and both colour schemes, the keyboard,
// the landmarks, axe, print, and that hostile text does nothing.
//
// The argument is a JSON object: `pages` (addresses), `live` (which of them is served), `expected` (selector, label, value) and
// `shots` (a folder for pictures, or null).
const fs = require("node:fs");
const path = require("node:path");
const { Problems, figures, launch, open } = require("./shared.js");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [360, 768, 1280, 1600];
const SCHEMES = ["light", "dark"];
// A4 in CSS pixels.
const PAPER = { width: 794, height: 1123 };

const input = JSON.parse(process.argv[2]);
const problems = new Problems();

// Returns every element that is wider than the window. `isPrinted`: also inside regions that scroll on a screen.
function tooWide(isPrinted) {
  const width = document.documentElement.clientWidth;
  const found = [];
  if (document.documentElement.scrollWidth > width) found.push(`the document: ${document.documentElement.scrollWidth}`);
  for (const element of document.body.querySelectorAll("*")) {
    const region = element.closest(".scroll");
    if (region && region !== element && !isPrinted) continue;
    if (element.closest(".skip") || (element.closest("svg") && element.nodeName !== "svg")) continue;
    const { left, right, width: own } = element.getBoundingClientRect();
    if (own > 0 && (right > width + 1 || left < -1)) found.push(`${element.nodeName} .${element.className}: ${left} to ${right}`);
  }
  return found.slice(0, 5);
}

async function checkFigures(page, url) {
  const parts = new Map();
  for (const { part, label, value } of input.expected) {
    if (!parts.has(part)) parts.set(part, await figures(page, part));
    problems.equal(parts.get(part)[label], value, `${url}: ${part}: ${label}`);
  }
}

async function checkStructure(page, url) {
  for (const role of ["banner", "navigation", "main", "contentinfo"]) {
    problems.equal(await page.getByRole(role).count(), 1, `${url}: landmarks of role ${role}`);
  }
  const wrong = await page.evaluate(() => {
    const wrong = [];
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((heading) => Number(heading.nodeName[1]));
    if (levels[0] !== 1 || levels.filter((level) => level === 1).length !== 1) wrong.push(`headings begin with ${levels}`);
    levels.slice(1).forEach((level, at) => {
      if (level > levels[at] + 1) wrong.push(`heading ${at + 1} skips a level: ${levels}`);
    });
    for (const table of document.querySelectorAll("table")) {
      const name = table.caption && table.caption.textContent.trim();
      if (!name) wrong.push("a table has no caption");
      if (!table.querySelector("thead th[scope=col]")) wrong.push(`${name}: no headers of columns`);
      const rows = [...table.querySelectorAll("tbody tr")];
      if (rows.some((row) => !row.querySelector("th[scope=row]"))) wrong.push(`${name}: a row has no header`);
    }
    for (const drawing of document.querySelectorAll("svg")) {
      const text = drawing.getAttribute("aria-label") || "";
      if (drawing.getAttribute("aria-hidden") !== "true" && !text) wrong.push("a drawing has no text");
    }
    if (!document.title || document.documentElement.lang !== "en") wrong.push("no title or language");
    return wrong;
  });
  for (const what of wrong) problems.check(false, `${url}: ${what}`);
}

// Presses Tab until the focus leaves the page. Every element that a person can use must get the focus, in order, visibly.
async function checkKeyboard(page, url) {
  const mark = () => page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], button, summary, input, select, textarea, [tabindex='0']")];
    all.forEach((element, at) => { element.dataset.tab = at; });
    return all.length;
  });
  const count = await mark();
  problems.check(count > 10, `${url}: only ${count} elements for the keyboard`);
  const visited = [];
  for (let presses = 0; presses < count; presses += 1) {
    await page.keyboard.press("Tab");
    const { tab, isVisible, text } = await page.evaluate(() => {
      const active = document.activeElement;
      const style = getComputedStyle(active);
      const { left, top, right, bottom } = active.getBoundingClientRect();
      const isInside = right > 0 && bottom > 0 && left < innerWidth && top < innerHeight;
      const isVisible = isInside && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      return { tab: active.dataset.tab, isVisible, text: active.outerHTML.slice(0, 80) };
    });
    problems.check(isVisible, `${url}: the focus is not visible on ${text}`);
    visited.push(Number(tab));
  }
  problems.equal(visited, [...Array(count).keys()], `${url}: the order of the focus`);
  // The first element skips to the content.
  await page.reload();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  problems.check(await page.evaluate(() => Boolean(document.activeElement.closest("main"))), `${url}: the skip link`);
}

async function checkAxe(browser, url) {
  for (const colorScheme of SCHEMES) {
    for (const width of [360, 1280]) {
      // The policy of the page forbids foreign scripts, so this check must bypass it.
      const options = { bypassCSP: true, colorScheme, viewport: { width, height: 900 } };
      const page = await open(browser, problems, url, url, options);
      await page.evaluate(axe);
      const { violations, passes } = await page.evaluate(() => window.axe.run(document));
      problems.check(passes.length > 20, `${url}: axe checked only ${passes.length} rules`);
      for (const { id, help, nodes } of violations) {
        const where = nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.failureSummary})`);
        problems.check(false, `${url}, ${colorScheme}, ${width}: axe: ${id}: ${help}: ${where.join("; ")}`);
      }
      await page.context().close();
    }
  }
}

async function checkLayout(browser, url, name) {
  for (const colorScheme of SCHEMES) {
    const page = await open(browser, problems, url, url, { colorScheme });
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const isDark = background.match(/\d+/g).slice(0, 3).every((part) => Number(part) < 64);
    problems.equal(isDark, colorScheme === "dark", `${url}: a dark background in ${colorScheme}`);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      for (const what of await page.evaluate(tooWide, false)) {
        problems.check(false, `${url}, ${colorScheme}, ${width} px: too wide: ${what}`);
      }
      if (input.shots && [360, 1280].includes(width)) {
        await page.screenshot({ path: path.join(input.shots, `${name}-${colorScheme}-${width}.png`), fullPage: true });
      }
    }
    await page.context().close();
  }
}

async function checkPrint(browser, url, name) {
  const page = await open(browser, problems, url, url, { colorScheme: "dark", viewport: PAPER });
  await page.emulateMedia({ media: "print" });
  for (const what of await page.evaluate(tooWide, true)) problems.check(false, `${url}: too wide for paper: ${what}`);
  const colours = await page.evaluate(() => {
    const { color, backgroundColor } = getComputedStyle(document.body);
    const isShown = (selector) => [...document.querySelectorAll(selector)].some((e) => e.getClientRects().length > 0);
    return { color, backgroundColor, nav: isShown("nav"), main: isShown("main") };
  });
  const expected = { color: "rgb(0, 0, 0)", backgroundColor: "rgb(255, 255, 255)", nav: false, main: true };
  problems.equal(colours, expected, `${url}: print`);
  const pdf = await page.pdf({ format: "A4", printBackground: true });
  problems.check(pdf.subarray(0, 5).toString() === "%PDF-" && pdf.length > 20000, `${url}: a PDF of ${pdf.length} bytes`);
  if (input.shots) fs.writeFileSync(path.join(input.shots, `${name}.pdf`), pdf);
  await page.context().close();
}

// Without scripts, the live page shows the same figures, and says that it does not update.
async function checkWithoutScripts(browser, url) {
  const page = await open(browser, problems, url, url, { javaScriptEnabled: false });
  const status = await page.getByRole("status").textContent();
  problems.check(status.startsWith("Not live"), `${url}: without scripts, the status is ${status}`);
  problems.check(await page.locator("#run-1").isVisible(), `${url}: without scripts, there are no runs`);
  await page.context().close();
}

async function main() {
  if (input.shots) fs.mkdirSync(input.shots, { recursive: true });
  const browser = await launch();
  for (const url of input.pages) {
    const isLive = url === input.live;
    const name = isLive ? "live" : "file";
    const page = await open(browser, problems, url, url);
    await checkFigures(page, url);
    await checkStructure(page, url);
    problems.equal(await page.getByRole("status").count(), isLive ? 1 : 0, `${url}: status`);
    await checkKeyboard(page, url);
    // The page shows the hostile texts as text. They have not become elements.
    const text = await page.locator("body").textContent();
    problems.check(text.includes("<script>alert(1)</script><img src=x onerror=alert(2)>"), `${url}: no hostile text`);
    problems.equal(await page.locator("img, iframe, object, form, main script").count(), 0, `${url}: foreign elements`);
    await page.context().close();
    await checkAxe(browser, url);
    await checkLayout(browser, url, name);
    await checkPrint(browser, url, name);
    if (isLive) await checkWithoutScripts(browser, url);
  }
  await browser.close();
}

main().catch((error) => problems.check(false, error.stack)).finally(() => problems.end());
