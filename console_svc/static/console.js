// What htmx leaves to a page of this console. Without scripts every page works, too: rows are in the served HTML.
"use strict";

const text = (name) => document.documentElement.dataset[name];

function news(said) {
  document.querySelector("#news").textContent = said;
}

// As the reader's country writes it, if the page is in the reader's language.
const page = document.documentElement.lang;
const locale = navigator.languages.find((it) => it.slice(0, 2) === page.slice(0, 2)) || page;

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

function ago(time) {
  const seconds = (time - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || ["second", 1];
  const said = relative.format(Math.trunc(seconds / length), unit);
  return said.replace(/(\d)(?=\p{Script=Han})/u, "$1 ");
}

function exact(time) {
  const today = time.toDateString() === new Date().toDateString();
  return time.toLocaleString(locale, today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}

function localTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    const said = "exact" in element.dataset ? exact(time) : ago(time);
    if (element.textContent !== said) element.textContent = said;
    element.title = time.toLocaleString(locale, { dateStyle: "full", timeStyle: "medium" });
  }
}
setInterval(localTimes, 10000);

// On a phone a row of a list is a card: its cells say what they are.
function labelCells() {
  for (const table of document.querySelectorAll(".wide > table:not([data-history])")) {
    const labels = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    table.classList.add("stacked");
    table.setAttribute("role", "table");
    for (const row of table.querySelectorAll("tr")) row.setAttribute("role", "row");
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, i) => {
        cell.setAttribute("role", cell.tagName === "TH" ? "rowheader" : "cell");
        if (i && labels[i]) cell.dataset.label = labels[i];
      });
    }
  }
}

// Where a row belongs that the page does not have yet, only the whole page knows; and a page that is being loaded may
// have been made before the row.
document.addEventListener("htmx:sse:before:message", ({ detail }) => {
  const main = document.querySelector("#main");
  const row = /^<tr id="([\w-]+)"( data-known)?/.exec(detail.message.data.trimStart());
  const missing = row && !row[2] && !document.getElementById(row[1]);
  if (missing || (row && main.matches(".htmx-request"))) htmx.trigger(main, "stale");
});
document.addEventListener("htmx:sse:after:connection", () => news(""));
document.addEventListener("htmx:sse:error", ({ detail }) => {
  if (detail.status === 401) location.reload(); // the session has ended
  else news(text("lost"));
});
document.addEventListener("away", () => news(text("away")));
document.addEventListener("back", () => news(""));
// The page that comes does not know what somebody has opened.
htmx.registerExtension("opened", {
  htmx_before_morph_attr: (element, { attrName }) => !(attrName === "open" && element.matches("details")),
});
for (const event of ["DOMContentLoaded", "htmx:after:swap"]) {
  document.addEventListener(event, localTimes);
  document.addEventListener(event, labelCells);
}
// What stands in a page when it is loaded, no reader of screens says.
document.addEventListener("DOMContentLoaded", () => {
  const notices = document.querySelector("#notices");
  const said = [...notices.children];
  notices.replaceChildren();
  setTimeout(() => notices.replaceChildren(...said), 100);
});
document.addEventListener("click", ({ target }) => {
  for (const pick of document.querySelectorAll(".pick[open]")) if (!pick.contains(target)) pick.open = false;
});
document.addEventListener("DOMContentLoaded", () => {
  for (const zone of document.querySelectorAll("[data-zone]")) {
    const input = zone.querySelector("input");
    input.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
    zone.querySelector("span").textContent = input.value;
  }
});
