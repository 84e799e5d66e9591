// Buttons that copy what an element says. Browsers let pages copy on loopback and by https only.
"use strict";

function showCopyButtons() {
  if (navigator.clipboard) for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
}

document.addEventListener("click", async ({ target }) => {
  if (!target.dataset?.copy) return;
  await navigator.clipboard.writeText(document.getElementById(target.dataset.copy).textContent);
  const label = target.textContent;
  if (label === target.dataset.done) return;
  target.textContent = target.dataset.done;
  setTimeout(() => (target.textContent = label), 1500);
});
document.addEventListener("htmx:after:swap", showCopyButtons);
document.addEventListener("DOMContentLoaded", showCopyButtons);
