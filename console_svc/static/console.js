// Keeps a page fresh. Without it every page works, too: rows are in the served HTML.
"use strict";

const AGAIN_MS = 1000; // a page that is loaded anew as a whole is so once a second at most

function replaceMain() {
  return fetch(location.href, { headers: { accept: "text/html" } })
    .then((answer) => answer.text())
    .then((text) => {
      const loaded = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      if (loaded && !document.querySelector("main").contains(document.activeElement)) {
        document.querySelector("main").replaceChildren(...loaded.childNodes);
        localTimes();
      }
    });
}

let waiting = false;
function replaceSoon() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    replaceMain().catch(() => {});
  }, AGAIN_MS);
}

function showRow(html, states) {
  const body = document.querySelector("#rows");
  if (!body) return replaceSoon();
  const template = document.createElement("template");
  template.innerHTML = html;
  const row = template.content.querySelector("tr");
  const old = document.getElementById(row.id);
  if (old) old.replaceWith(row);
  else if (states.length === 0 || states.some((state) => row.querySelector(`.state.${state}`))) body.prepend(row);
  localTimes();
}

function lost(isLost) {
  const shown = document.querySelector(".lost");
  if (!isLost) return shown && shown.remove();
  if (shown) return;
  const line = document.createElement("div");
  line.className = "lost";
  line.setAttribute("role", "status");
  line.textContent = document.documentElement.lang.startsWith("zh") ? "连接已断开，正在重试……" : "Not live at present. Trying again …";
  document.body.prepend(line);
}

function follow(element) {
  const states = (element.dataset.states || "").split(" ").filter(Boolean);
  const source = new EventSource(element.dataset.live);
  let opened = false;
  source.onopen = () => {
    if (opened) replaceSoon();
    opened = true;
    lost(false);
  };
  source.onerror = () => lost(true);
  source.addEventListener("reload", replaceSoon);
  source.addEventListener("task", (event) => (element.dataset.whole ? replaceSoon() : showRow(event.data, states)));
}

function localTimes() {
  for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "medium" });
  }
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.addEventListener("DOMContentLoaded", () => {
  localTimes();
  document.querySelectorAll("[data-live]").forEach(follow);
  document.querySelectorAll("[data-reload-after]").forEach((element) => {
    setTimeout(() => location.reload(), 1000 * element.dataset.reloadAfter);
  });
});
