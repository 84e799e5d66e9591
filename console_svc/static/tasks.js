// Ticks of the list: how many there are, and all of a page at once.
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

document.addEventListener("change", ({ target }) => {
  if (target.id === "tick-all") for (const box of ticks()) box.checked = target.checked;
  if (target.closest("#chosen")) countTicks();
});
document.addEventListener("htmx:after:swap", countTicks);
document.addEventListener("DOMContentLoaded", countTicks);
addEventListener("pageshow", countTicks); // a browser that goes back brings ticks with it
