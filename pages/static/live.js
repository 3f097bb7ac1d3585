// Keeps a page true without a reload: on each event the page is fetched again, and every element marked data-live is
// replaced where it changed. What one reads or types stays: the focus, open details, scrolled tables.
"use strict";

const source = document.body.dataset.events;

function keep(old) {
  const open = new Set([...old.querySelectorAll("details[open][id]")].map((one) => one.id));
  const scrolled = [...old.querySelectorAll(".wide")].map((one) => one.scrollLeft);
  const active = old.contains(document.activeElement) ? document.activeElement.id : "";
  return (fresh) => {
    fresh.querySelectorAll("details[id]").forEach((one) => { one.open = one.open || open.has(one.id); });
    fresh.querySelectorAll(".wide").forEach((one, number) => { one.scrollLeft = scrolled[number] || 0; });
    if (active) document.getElementById(active)?.focus({ preventScroll: true });
  };
}

function swap(page) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    const typing = old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    if (!fresh || typing || fresh.innerHTML === old.dataset.seen) continue;
    const restore = keep(old);
    const seen = fresh.innerHTML;
    old.replaceChildren(...fresh.childNodes);
    old.dataset.seen = seen;
    restore(old);
  }
}

let busy = false;
let again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) { location.reload(); return; }
    if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The stream says that the connection is lost, and refreshes once it is back.
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

if (source) {
  for (const one of document.querySelectorAll("[data-live]")) one.dataset.seen = one.innerHTML;
  const state = document.getElementById("live-state");
  const events = new EventSource(source);
  events.addEventListener("changed", refresh);
  events.onopen = () => { state.hidden = true; };
  events.onerror = () => {
    state.hidden = false;
    if (events.readyState === EventSource.CLOSED) refresh(); // turned away for good: the page says why
  };
}

for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => form.querySelectorAll("button").forEach((one) => { one.disabled = true; }));
}
