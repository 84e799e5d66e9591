// Ticks of the list: how many there are, and all of a page at once; how far its tasks are.
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
