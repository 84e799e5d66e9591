// Keeps what is typed while this tab is open, whatever happens to the page; saves by Ctrl+Enter or Ctrl+S.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("#edit");
  const key = `draft-${form.dataset.draft}`;
  const texts = () => [...form.querySelectorAll("textarea, input:not([type=hidden])")];
  const fill = (values) => {
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
    form.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const stored = Object.fromEntries(texts().map((element) => [element.name, element.value]));
  const changed = () => Object.fromEntries(texts().filter(({ name, value }) => value !== stored[name]).map(({ name, value }) => [name, value]));

  const kept = JSON.parse(sessionStorage.getItem(key) || "null");
  const notice = document.querySelector("#draft");
  if (kept && !("typed" in form.dataset) && Object.entries(kept.values).some(([name, value]) => value !== stored[name])) {
    fill(kept.values);
    form.elements.etag.value = kept.etag; // of the text that it changes: a newer one is not overwritten
    notice.hidden = false;
    notice.querySelector("button").addEventListener("click", () => {
      sessionStorage.removeItem(key);
      form.elements.etag.value = form.dataset.etag;
      fill(stored);
      sessionStorage.removeItem(key);
      notice.hidden = true;
    });
  }
  form.addEventListener("input", () => sessionStorage.setItem(key, JSON.stringify({ etag: form.elements.etag.value, values: changed() })));
  document.querySelector("[data-drop]").addEventListener("click", () => sessionStorage.removeItem(key));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && (event.key === "Enter" || event.key === "s")) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
});
