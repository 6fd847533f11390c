// Keeps the page of `backfill report --serve` current. Without this script, the page works but must be reloaded by hand.
//
// The server's events name the page that is current and the time of its figures. If the page has changed, the script
// requests it, and changes only the parts of this document that differ. So the focus, the scroll positions and a
// selection stay. The script never turns text into markup: it copies nodes of a document that the browser has parsed
// without running scripts.
"use strict";
(() => {
  // The server sends an event at least every 5 s.
  const SILENCE_MS = 15000;
  const RETRY_MS = 2000;
  // A short interruption is not worth a message.
  const GRACE_MS = 4000;
  const LOAD_MS = 20000;
  const OFFLINE = "Not connected, trying again. The figures no longer change.";

  const byId = (id) => document.getElementById(id);
  const status = byId("live-status");
  let shown = byId("live-time").dataset.page;
  let wanted = shown;
  let source = null;
  let loading = null;
  let silence = 0;
  let retry = 0;
  let grace = 0;

  // Screen readers announce each change of the status. So the text changes only if the connection or the problem does.
  const say = (text, isGood) => {
    if (status.textContent !== text) status.textContent = text;
    status.className = isGood ? "on" : "off";
  };

  const showTime = (at) => {
    const time = byId("live-time");
    time.textContent = at;
    time.dateTime = at;
  };

  const isSameKind = (have, want) =>
    have.nodeType === want.nodeType && have.nodeName === want.nodeName && (have.id || "") === (want.id || "");

  const syncAttributes = (have, want) => {
    for (const { name } of [...have.attributes]) if (!want.hasAttribute(name)) have.removeAttribute(name);
    for (const { name, value } of want.attributes) if (have.getAttribute(name) !== value) have.setAttribute(name, value);
  };

  // Makes the children of `have` equal to those of `want`, and keeps every node that is still right.
  const syncChildren = (have, want) => {
    let at = have.firstChild;
    for (const next of want.childNodes) {
      // The oldest run may disappear from the beginning of the list. Find the node of the same run, so that the other
      // nodes stay.
      if (next.id && at && at.id !== next.id) {
        const known = byId(next.id);
        if (known && known.parentNode === have) {
          while (at && at !== known) {
            const gone = at;
            at = at.nextSibling;
            gone.remove();
          }
        }
      }
      if (at && isSameKind(at, next)) {
        sync(at, next);
        at = at.nextSibling;
      } else {
        have.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const sync = (have, want) => {
    if (have.nodeType === Node.ELEMENT_NODE) {
      syncAttributes(have, want);
      syncChildren(have, want);
    } else if (have.data !== want.data) {
      have.data = want.data;
    }
  };

  // Focuses the element that replaces the one that had the focus.
  const restoreFocus = (old) => {
    if (document.contains(old)) return;
    const name = (element) => element.getAttribute("href") || element.getAttribute("aria-label");
    const same = [...document.querySelectorAll("main a[href], main [tabindex]")].find((e) => name(e) === name(old));
    if (same) same.focus({ preventScroll: true });
  };

  const show = (page) => {
    const focused = document.activeElement;
    for (const id of ["stage", "main"]) sync(byId(id), page.getElementById(id));
    if (focused && focused !== document.body) restoreFocus(focused);
    const time = page.getElementById("live-time");
    shown = time.dataset.page;
    showTime(time.textContent);
  };

  // Requests the page. XMLHttpRequest parses it as a document, and runs no script of it.
  const load = () => {
    if (loading || shown === wanted) return;
    loading = new XMLHttpRequest();
    loading.open("GET", "/");
    loading.responseType = "document";
    loading.timeout = LOAD_MS;
    loading.onload = () => {
      const page = loading.status === 200 && loading.response;
      if (page && page.getElementById("live-time") && page.getElementById("main")) show(page);
    };
    // After an error or a newer page, the next event tries again.
    loading.onloadend = () => { loading = null; };
    loading.send();
  };

  const disconnect = () => {
    if (source) source.close();
    source = null;
    clearTimeout(silence);
    clearTimeout(retry);
  };

  const lost = () => {
    disconnect();
    if (!grace) grace = setTimeout(() => say(OFFLINE, false), GRACE_MS);
    retry = setTimeout(connect, RETRY_MS);
  };

  const heard = (event) => {
    clearTimeout(silence);
    clearTimeout(grace);
    grace = 0;
    silence = setTimeout(lost, SILENCE_MS);
    const { page, at, trouble } = JSON.parse(event.data);
    wanted = page;
    // The figures are as current as the event only if this document already shows its page.
    if (shown === wanted) showTime(at);
    say(trouble || "Live.", !trouble);
    load();
  };

  const connect = () => {
    disconnect();
    source = new EventSource("/events");
    source.addEventListener("figures", heard);
    source.onerror = lost;
    silence = setTimeout(lost, SILENCE_MS);
  };

  // A browser opens only a few connections to one server, so a hidden page closes its connection.
  const follow = () => {
    if (document.visibilityState === "visible") {
      connect();
    } else {
      disconnect();
      clearTimeout(grace);
      grace = 0;
    }
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
  follow();
})();
