// Ticks of the list: how many there are, and all of a page at once; how far its tasks are; views that were saved.
"use strict";

function ticks() {
  return [...document.querySelectorAll('#chosen input[name="task"]')];
}

function countTicks() {
  const all = document.querySelector("#tick-all");
  if (!all) return;
  const boxes = ticks();
  const ticked = boxes.filter((box) => box.checked).length;
  const whole = document.querySelector('#chosen input[name="all"]').checked;
  const said = document.querySelector("#ticked");
  said.textContent = said.dataset.text.replace("#", ticked);
  all.hidden = false;
  all.checked = ticked > 0 && ticked === boxes.length;
  all.indeterminate = ticked > 0 && ticked < boxes.length;
  for (const button of document.querySelectorAll(".bulk button")) button.disabled = !whole && ticked === 0;
}

// How far a task is, is no move of it: the rows of those that run are asked for.
function askHowFar() {
  const form = document.querySelector("#chosen");
  const running = form && !document.hidden ? [...form.querySelectorAll("tr:has(.state.processing)")] : [];
  if (!running.length) return;
  const ids = running.map((row) => `task=${row.id}`).join("&");
  htmx.ajax("GET", `${form.dataset.rows}&${ids}`, { source: form, swap: "none" });
}
setInterval(askHowFar, 5000);

document.addEventListener("change", ({ target }) => {
  if (target.id === "tick-all") for (const box of ticks()) box.checked = target.checked;
  if (target.closest("#chosen")) countTicks();
});
document.addEventListener("htmx:after:swap", countTicks);
document.addEventListener("DOMContentLoaded", countTicks);
addEventListener("pageshow", countTicks); // a browser that goes back brings ticks with it

// A view is an address with a name in it. This browser keeps them, by name; the page shows them above its filter.
function views() {
  const list = document.querySelector("#views");
  const key = `views ${list.dataset.path}`;
  const kept = new Map(JSON.parse(localStorage.getItem(key) || "[]"));
  const keep = () => localStorage.setItem(key, JSON.stringify([...kept]));
  return { list, kept, keep };
}

function showViews() {
  const { list, kept } = views();
  const item = ([name, query]) => {
    const row = document.createElement("li");
    const link = row.appendChild(document.createElement("a"));
    const button = row.appendChild(document.createElement("button"));
    link.textContent = name;
    link.href = `${list.dataset.path}?${query}`;
    Object.assign(button, { type: "button", value: name, textContent: "×" });
    button.setAttribute("aria-label", list.dataset.remove.replace("#", name));
    return row;
  };
  list.replaceChildren(...[...kept].map(item));
  list.hidden = !kept.size;
}

document.addEventListener("submit", ({ target }) => {
  if (target.id !== "save-view") return;
  const { kept, keep } = views();
  const name = target.elements.view.value.trim();
  kept.set(name, new URLSearchParams(new FormData(target)).toString());
  if (name) keep();
});
document.addEventListener("click", ({ target }) => {
  if (!target.matches("#views button")) return;
  const { kept, keep } = views();
  kept.delete(target.value);
  keep();
  showViews();
});
document.addEventListener("DOMContentLoaded", showViews);
