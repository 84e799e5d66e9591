// What htmx leaves to a page of this console. Without scripts every page works, too: rows are in the served HTML.
"use strict";

const text = (name) => document.documentElement.dataset[name];

function news(said) {
  document.querySelector("#news").textContent = said;
}

function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const local = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });
    if (time.textContent === local) continue;
    time.title = time.textContent;
    time.textContent = local;
  }
}

const stale = () => document.querySelector("#main").dispatchEvent(new Event("stale"));

// Rows that the page does not have yet belong to its top: the whole page knows where.
document.addEventListener("htmx:sse:before:message", ({ detail }) => {
  const row = /^<tr id="([\w-]+)"/.exec(detail.message.data.trimStart());
  if (row && !document.getElementById(row[1])) stale();
});
let connected = false;
document.addEventListener("htmx:sse:after:connection", () => {
  news("");
  if (connected) stale();
  connected = true;
});
document.addEventListener("htmx:sse:error", () => news(text("lost")));
document.addEventListener("away", () => news(text("away")));
document.addEventListener("back", () => news(""));
document.addEventListener("htmx:after:swap", localTimes);
document.addEventListener("DOMContentLoaded", localTimes);
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
