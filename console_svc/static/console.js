// What htmx leaves to a page of this console. Without scripts every page works, too: rows are in the served HTML.
"use strict";

const text = (name) => document.documentElement.dataset[name];

function news(said) {
  document.querySelector("#news").textContent = said;
}

// As the reader's country writes it, if the page is in the reader's language.
const page = document.documentElement.lang;
const locale = navigator.languages.find((it) => it.slice(0, 2) === page.slice(0, 2)) || page;

function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const local = new Date(time.dateTime).toLocaleString(locale, { dateStyle: "medium", timeStyle: "medium" });
    if (time.textContent === local) continue;
    time.title = time.textContent;
    time.textContent = local;
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
document.addEventListener("htmx:after:swap", localTimes);
document.addEventListener("DOMContentLoaded", localTimes);
document.addEventListener("DOMContentLoaded", () => {
  for (const zone of document.querySelectorAll("[data-zone]")) {
    const input = zone.querySelector("input");
    input.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
    zone.querySelector("span").textContent = input.value;
  }
});
