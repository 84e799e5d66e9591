// Keeps what is typed while this tab is open, whatever happens to the page; saves by Ctrl+Enter or Ctrl+S; marks text.
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

  const body = form.elements.body;
  const bar = document.querySelector(".marks");
  // As if it were typed, so that the browser can undo it.
  const insert = (text, start, end = start) => {
    body.focus();
    body.setSelectionRange(start, end);
    document.execCommand("insertText", false, text);
  };
  const mark = ({ before, after, line }) => {
    const { selectionStart: start, selectionEnd: end, value } = body;
    if (line) {
      insert(line, start && value.lastIndexOf("\n", start - 1) + 1);
      body.setSelectionRange(start + line.length, end + line.length);
      return;
    }
    insert(before + value.slice(start, end) + after, start, end);
    body.setSelectionRange(start + before.length, end + before.length);
  };
  bar.hidden = false;
  bar.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) mark(button.dataset);
  });
  bar.addEventListener("change", ({ target }) => {
    insert(target.value, body.selectionStart, body.selectionEnd);
    target.value = "";
  });
  body.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "b") return;
    event.preventDefault();
    mark(bar.querySelector("button").dataset);
  });
});
