// The calendar of the publish pool: dragging, its keys, and a fresh page. Without scripts ✎ does the same.
"use strict";

(() => {
  const FRESH_MS = 15000;
  const MINUTES = "2031-01-31T12:00".length; // a time that is told exactly to the minute is as it was
  const all = (selector) => document.querySelectorAll(selector);
  const entryOf = (event) => event.target.closest?.(".entry[draggable=true]");
  let dragged = null;
  let focused = ""; // the id of the entry that is moved by keys

  function move(entry, day, priority) {
    const form = document.querySelector("#move");
    const was = entry.dataset;
    if (day === was.day && priority === was.priority) return;
    form.elements.content_id.value = was.content;
    form.elements.when_was.value = was.when;
    form.elements.when.value = day === was.day ? was.when.slice(0, MINUTES) : day && day + (was.when.slice(day.length) || "T09:00");
    form.elements.priority_was.value = was.priority;
    form.elements.priority.value = priority;
    form.requestSubmit();
  }

  // To where an entry without a time moves by keys: tomorrow or, in another month or week, its first day.
  function firstDay() {
    const today = document.querySelector("td.today")?.dataset.day;
    return today ? offset(today, 1) : document.querySelector("td[data-day]:not(.other)").dataset.day;
  }

  function offset(day, days) {
    if (!day) return days ? firstDay() : "";
    const date = new Date(`${day}T00:00Z`);
    date.setUTCDate(date.getUTCDate() + days);
    return date.toISOString().slice(0, 10);
  }

  function target(event) {
    return dragged && event.target.closest?.("td[data-day], .tray, .target[data-priority]");
  }

  function mark(chosen) {
    for (const each of all(".over")) if (each !== chosen) each.classList.remove("over");
    chosen?.classList.add("over");
  }

  function show() {
    for (const strip of all(".priorities")) strip.hidden = false;
    if (focused) document.getElementById(focused)?.focus();
    focused = "";
  }

  document.addEventListener("dragstart", (event) => {
    dragged = entryOf(event);
    if (!dragged) return;
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", dragged.dataset.content);
  });
  document.addEventListener("dragover", (event) => {
    const over = target(event);
    mark(over);
    if (over) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    const over = target(event);
    if (!over) return;
    event.preventDefault();
    move(dragged, over.dataset.day ?? dragged.dataset.day, over.dataset.priority ?? dragged.dataset.priority);
  });
  document.addEventListener("dragend", () => {
    dragged = null;
    mark(null);
  });
  document.addEventListener("keydown", (event) => {
    const entry = event.target.matches?.(".entry[draggable=true]") ? event.target : null;
    const days = { ArrowLeft: -1, ArrowRight: 1 }[event.key] ?? 0;
    const steps = { ArrowUp: 1, ArrowDown: -1 }[event.key] ?? 0;
    if (!entry || !event.shiftKey || !(days || steps) || (days < 0 && !entry.dataset.day)) return;
    event.preventDefault();
    focused = entry.id;
    const priority = Math.min(10, Math.max(1, Number(entry.dataset.priority) + steps));
    move(entry, offset(entry.dataset.day, days), String(priority));
  });
  document.addEventListener("htmx:after:swap", show);
  document.addEventListener("DOMContentLoaded", show);
  setInterval(() => {
    if (document.hidden || dragged || document.querySelector(":popover-open, #sure") || document.activeElement?.form) return;
    htmx.trigger("#main", "stale");
  }, FRESH_MS);
})();
