// The review desk by keys: `data-key` says which key an element has.
"use strict";

(() => {
  const typing = (element) => element.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

  function press(element) {
    if (element.matches("input[type=checkbox]")) element.click();
    else if (element.matches("summary")) {
      const details = element.parentElement;
      const open = !details.open;
      closeAll();
      details.open = open;
      if (open) (details.querySelector("textarea, input:not([type=hidden])") || element).focus();
    } else element.click();
  }

  function closeAll() {
    for (const details of document.querySelectorAll(".acts details[open]")) details.open = false;
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      closeAll();
      document.activeElement.blur();
      return;
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
      event.preventDefault();
      event.target.form.requestSubmit();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
    const element = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!element) return;
    event.preventDefault();
    press(element);
  });

  // What is ticked stays so over J and K, and over news of the queue, while this tab is open: each as it was shown.
  const KEY = "ticks";
  const ticked = () => new Set(JSON.parse(sessionStorage.getItem(KEY) || "[]"));
  const keep = (ticks) => sessionStorage.setItem(KEY, JSON.stringify([...ticks]));
  function showTicks() {
    const ticks = ticked(), boxes = document.querySelectorAll("input[name=tick]");
    for (const box of boxes) box.checked = ticks.has(box.value);
    const count = [...boxes].filter((box) => box.checked).length, output = document.querySelector("#ticked");
    if (output) output.textContent = count || "";
  }
  document.addEventListener("change", ({ target }) => {
    if (target.name !== "tick") return;
    const ticks = ticked();
    if (target.checked) ticks.add(target.value);
    else ticks.delete(target.value);
    keep(ticks);
    showTicks();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "ticks" && !event.defaultPrevented) keep([]);
  });
  document.addEventListener("htmx:after:swap", showTicks);
  document.addEventListener("DOMContentLoaded", showTicks);

  // A time that many want, by the browser's clock: so many days from now, or next Monday.
  function timeOf(name) {
    const [days, clock] = name.split("T"), date = new Date();
    date.setDate(date.getDate() + (days === "mon" ? (8 - date.getDay()) % 7 || 7 : Number(days)));
    const two = (number) => String(number).padStart(2, "0");
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${clock}`;
  }
  document.addEventListener("click", ({ target }) => {
    if (target.dataset?.at) target.form.elements.at.value = timeOf(target.dataset.at);
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const quick of document.querySelectorAll(".quick")) quick.hidden = false;
  });

  document.addEventListener("DOMContentLoaded", () => {
    // What was missed concerns the queue: the article stays as it was read, and what is being typed, too.
    document.querySelector("#live")?.addEventListener("stale", (event) => {
      event.stopPropagation();
      const queue = document.querySelector("#queue");
      if (queue) htmx.trigger(queue, "refresh");
    });
    const list = document.querySelector(".waiting"), current = document.querySelector(".current");
    if (current && list.scrollHeight > list.clientHeight) list.scrollTop = current.offsetTop - list.offsetTop - 80;
  });

  // Whoever leaves an article holds it no longer. A claim that was made since has another end, and stays.
  addEventListener("pagehide", () => {
    const claim = document.querySelector("#claim[data-release]");
    if (claim) navigator.sendBeacon(claim.dataset.release, new URLSearchParams({ csrf: claim.querySelector("input").value, until: claim.dataset.until }));
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
