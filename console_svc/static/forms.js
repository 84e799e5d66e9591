// Sends the forms of a session: whatever happens on the way, the page stays, with what was typed. Without scripts the
// browser sends them itself.
"use strict";

(() => {
  const undone = (...nodes) => document.querySelector("#undone").replaceChildren(...nodes);

  // What has come back: where to go on, or a page. null: the console does not answer.
  async function answerTo(form, submitter) {
    const data = new FormData(form, submitter);
    const body = form.enctype === "multipart/form-data" ? data : new URLSearchParams(data);
    const headers = { "HX-Request": "form" };
    if (!("inPlace" in form.dataset)) headers["HX-Boosted"] = "true"; // else the page that follows is swapped in
    try {
      const response = await fetch(form.getAttribute("action") || location.href, { method: "POST", body, headers });
      return { next: response.headers.get("HX-Redirect"), html: await response.text() };
    } catch {
      return null;
    }
  }

  // Pages that answer a form have the scripts and styles of its own.
  async function show(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const failed = page.querySelector("#failed") || (page.querySelector("#main") ? null : page.body);
    if (failed) {
      undone(...failed.childNodes);
      return;
    }
    const swap = { target: "#main", select: "#main", swap: "outerMorph", sourceElement: document.querySelector("#main") };
    await htmx.swap({ text: html, ...swap });
    document.querySelector("#notices").replaceChildren(...page.querySelector("#notices").children);
    for (const input of document.querySelectorAll("#main input[type=file]")) input.value = "";
  }

  async function send(form, submitter) {
    form.dataset.sent = "yes"; // once: a second press would decide on nothing, or on what comes next
    undone();
    const answer = await answerTo(form, submitter);
    if (answer?.next) {
      location.assign(answer.next);
      return;
    }
    if (answer) await show(answer.html);
    else undone(text("unsent"));
    delete form.dataset.sent;
  }

  let undoEnds;
  function endUndo() {
    const undo = document.querySelector("#undo[data-seconds]");
    if (!undo) return;
    clearTimeout(undoEnds);
    undoEnds = setTimeout(() => undo.remove(), 1000 * undo.dataset.seconds);
    delete undo.dataset.seconds; // only a page that has it anew begins anew
  }

  document.addEventListener("DOMContentLoaded", endUndo);
  document.addEventListener("htmx:after:swap", endUndo);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = form.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
    if (event.defaultPrevented || !form.elements.csrf) return;
    event.preventDefault();
    if (!form.dataset.sent) send(form, event.submitter);
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent; // whoever came back may send it
  });
})();
