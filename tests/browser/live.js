"use strict";
// Watches the live page while a run goes on, after it has ended, and while the server is away.
//
// The argument is the address. The script asks its parent for something with a line `want: …`, and waits for a line as the
// answer. At the end it prints the figures of the first run: `figures: {…}`.
const readline = require("node:readline");
const { PATIENCE_MS, Problems, figures, launch, open } = require("./shared.js");

const url = process.argv[2];
const problems = new Problems();
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function want(what) {
  console.log(`want: ${what}`);
  const { value, done } = await answers.next();
  if (done) throw new Error(`no answer to: ${what}`);
  return value;
}

const number = (text) => Number(text.replaceAll(",", ""));
const scanned = async (page) => number((await figures(page, "#run-1"))["items scanned"]);
const status = (page) => page.getByRole("status").textContent();
const time = (page) => page.locator("#live-time").textContent();

async function until(page, what, isMet) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await isMet())) {
    if (Date.now() > end) throw new Error(`not met: ${what}: ${await status(page)} ${await time(page)}`);
    await page.waitForTimeout(100);
  }
}

async function main() {
  const browser = await launch();
  const page = await open(browser, problems, url, url, { viewport: { width: 1000, height: 600 } });
  await until(page, "live", async () => (await status(page)) === "Live.");

  // A person reads the page: the focus is on a link, a text is selected, and the page is scrolled.
  const place = await page.evaluate(() => {
    window.isSameDocument = true;
    window.said = [];
    const live = document.getElementById("live-status");
    const changes = new MutationObserver(() => window.said.push(live.textContent));
    changes.observe(live, { childList: true, characterData: true, subtree: true });
    document.querySelector("main a[href='#run-1']").focus();
    const selected = document.getElementById("h-run-1").firstChild;
    getSelection().setBaseAndExtent(selected, 0, selected, 5);
    // What is at the upper edge of the window must stay there, even if the page above it becomes shorter.
    window.article = document.getElementById("run-1");
    window.article.scrollIntoView();
    return { scroll: scrollY, edge: Math.round(window.article.getBoundingClientRect().top) };
  });
  problems.check(place.scroll > 0, "the page is too short to scroll");
  const first = await scanned(page);
  const began = await time(page);
  let last = first;
  for (let step = 0; step < 2; step += 1) {
    const previous = last;
    await until(page, "new figures during the run", async () => (last = await scanned(page)) > previous);
  }
  const reader = () => page.evaluate(() => ({
    isSameDocument: window.isSameDocument === true,
    focus: document.activeElement.getAttribute("href"),
    selected: String(getSelection()).length,
    edge: Math.round(window.article.getBoundingClientRect().top),
    isSameArticle: window.article === document.getElementById("run-1"),
    said: window.said,
  }));
  const same = { isSameDocument: true, focus: "#run-1", selected: 5, edge: place.edge, isSameArticle: true, said: [] };
  problems.equal(await reader(), same, "the reader's place during the run");
  problems.check((await time(page)) > began, "the time of the figures does not go on");

  // The run ends, and a verification adds a second run.
  await want("the end of the run and a verification");
  await until(page, "the second run", async () => (await page.locator("#run-2").count()) === 1);
  await until(page, "the second run is complete", async () => (await figures(page, "#run-2")).State === "complete");
  problems.equal(await reader(), same, "the reader's place after the run");
  const final = await figures(page, "#run-1");
  problems.equal(await page.locator("#live-time").getAttribute("data-page") !== null, true, "the name of the page");

  // A page that was loaded now has the same content as the page that was kept current.
  const other = await open(browser, problems, url, url);
  const content = (some) => some.evaluate(() => ["stage", "main"].map((id) => document.getElementById(id).outerHTML));
  problems.equal(await content(page), await content(other), "the content of the updated page");
  await other.context().close();

  await want("stop the server");
  await until(page, "not connected", async () => (await status(page)).startsWith("Not connected"));
  const stopped = await time(page);
  problems.check(await page.locator("#live-status.off").isVisible(), "the lost connection is not visible");
  problems.equal(await figures(page, "#run-1"), final, "the figures after the end of the server");
  await page.waitForTimeout(3000);
  problems.equal(await time(page), stopped, "the time of the figures without a server");
  await want("start the server");
  await until(page, "live again", async () => (await status(page)) === "Live." && (await time(page)) > stopped);
  // A screen reader has heard two messages.
  const { said, isSameDocument } = await reader();
  problems.equal(said.length, 2, `messages: ${said}`);
  problems.check(isSameDocument, "the page was loaded again");

  // A hidden page closes its connection, without a message. When the page is visible again, it has new figures.
  const hidden = (state) => page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);
  await hidden("hidden");
  await want("stop the server");
  await page.waitForTimeout(6000);
  problems.equal(await status(page), "Live.", "the status of a hidden page");
  await want("start the server");
  const before = await time(page);
  await hidden("visible");
  await until(page, "new figures of a page that is seen again", async () => (await time(page)) > before);
  await browser.close();
  console.log(`figures: ${JSON.stringify(final)}`);
}

main().catch((error) => problems.check(false, error.stack)).finally(() => problems.end());
