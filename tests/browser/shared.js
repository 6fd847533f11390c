"use strict";
// What the browser tests share: the browser, a page that records everything suspicious, and the report of problems.
const { chromium } = require("playwright-core");

const PATIENCE_MS = 60000;

async function launch() {
  // Chromium's sandbox does not work for root. The tests open only pages of the tool.
  const sandbox = process.getuid && process.getuid() === 0 ? ["--no-sandbox"] : [];
  const args = [...sandbox, "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run"];
  return chromium.launch({ executablePath: process.env.BACKFILL_TEST_BROWSER, args, headless: true });
}

// The problems that a script has found.
class Problems {
  constructor() {
    this.found = [];
  }

  check(isGood, what) {
    if (!isGood) this.found.push(what);
  }

  equal(actual, expected, what) {
    const [a, e] = [actual, expected].map((value) => JSON.stringify(value));
    this.check(a === e, `${what}: ${a} instead of ${e}`);
  }

  // Ends the process: with exit code 1 if there is a problem.
  end() {
    for (const problem of this.found) console.error(`problem: ${problem}`);
    process.exit(this.found.length === 0 ? 0 : 1);
  }
}

// Opens a page that may send requests only to addresses that begin with `allowed`. A dialog, a script's error, a refusal by
// the content security policy and any other request is a problem.
async function open(browser, problems, url, allowed, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on("dialog", (dialog) => {
    problems.check(false, `${url} opened a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("pageerror", (error) => problems.check(false, `${url}: a script failed: ${error}`));
  page.on("request", (request) => {
    problems.check(request.url().startsWith(allowed), `${url} sent a request to ${request.url()}`);
  });
  page.on("console", (message) => {
    // A browser writes this if the server is gone, which the test of the connection causes on purpose.
    const isLost = /Failed to load resource|ERR_CONNECTION|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE/.test(message.text());
    const isBad = ["error", "warning"].includes(message.type()) && !isLost;
    problems.check(!isBad, `${url}: the console says: ${message.text()}`);
  });
  await page.goto(url);
  return page;
}

// Returns the figures in a part of the page: the rows of its tables with one figure, and its facts, by label.
function figures(page, selector) {
  return page.evaluate((selector) => {
    const found = {};
    const part = document.querySelector(selector);
    for (const name of part.querySelectorAll("dt")) found[name.textContent] = name.nextElementSibling.textContent;
    for (const row of part.querySelectorAll("tbody tr, tfoot tr")) {
      const [label, figure, more] = row.children;
      if (figure && !more) found[label.firstChild.textContent.trim()] = figure.textContent;
    }
    found.segments = String(part.querySelectorAll("svg.heat rect").length);
    return found;
  }, selector);
}

module.exports = { PATIENCE_MS, Problems, figures, launch, open };
