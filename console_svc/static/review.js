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
