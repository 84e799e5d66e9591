// Draws the plots of a page from its table of figures, anew whenever htmx has changed the table.
"use strict";

(() => {
  const HEIGHT = 190;
  const PLOTS = {
    counts: [
      // one bar behind the other: the first is as high as both
      { column: "failed", and: "completed", bars: true, color: "--bad" },
      { column: "completed", bars: true, color: "--good" },
      { column: "submitted", color: "--link", dash: [4, 3] },
    ],
    durations: [
      { column: "median", color: "--link" },
      { column: "most", color: "--busy", dash: [4, 3] },
    ],
    cost: [{ column: "cost", bars: true, color: "--link" }],
    score: [{ column: "score", color: "--good" }],
  };
  const drawn = new Map();

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function figures() {
    const table = document.querySelector("table[data-history]");
    if (!table) return null;
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...table.tBodies[0].rows];
    const read = { names: {}, time: rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000) };
    heads.forEach((head, i) => {
      if (!head.dataset.column) return;
      read.names[head.dataset.column] = head.textContent;
      read[head.dataset.column] = rows.map((row) => (row.cells[i].dataset.value === "" ? null : Number(row.cells[i].dataset.value)));
    });
    return read;
  }

  function dataOf(lines, read) {
    return [read.time, ...lines.map(({ column, and }) => (and ? read[column].map((n, i) => n + read[and][i]) : read[column]))];
  }

  function draw(box, read) {
    const lines = PLOTS[box.dataset.plot];
    const step = read.time.length > 1 ? read.time[1] - read.time[0] : 3600;
    const days = step >= 86400; // of UTC, as the scheduler counts them
    const language = document.documentElement.lang;
    const short = new Intl.DateTimeFormat(language, days ? { month: "numeric", day: "numeric", timeZone: "UTC" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const long = new Intl.DateTimeFormat(language, days ? { dateStyle: "medium", timeZone: "UTC" } : { dateStyle: "short", timeStyle: "short", hourCycle: "h23" });
    const axis = { stroke: color("--hint"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
    const series = lines.map(({ column, bars, color: name, dash }) => ({
      label: read.names[column],
      stroke: color(name),
      fill: bars ? color(name) : undefined,
      width: bars ? 0 : 2,
      dash,
      paths: bars ? uPlot.paths.bars({ size: [0.7, 48] }) : undefined,
      points: { show: !bars, size: 5, fill: color(name) },
      value: (plot, _, i, at) => (at === null ? "" : (figures()[lines[i - 1].column][at] ?? "").toLocaleString(language)),
    }));
    const options = {
      width: box.clientWidth,
      height: HEIGHT,
      scales: { x: { range: (_, from, to) => [from - step / 2, to + step / 2] }, y: { range: (_, __, top) => [0, top > 0 ? top * 1.1 : 1] } },
      tzDate: (seconds) => (days ? uPlot.tzDate(new Date(seconds * 1000), "UTC") : new Date(seconds * 1000)),
      axes: [{ ...axis, values: (_, times) => times.map((time) => short.format(time * 1000)) }, { ...axis, size: 56 }],
      series: [{ label: box.dataset.clock, value: (_, time) => (time === null ? "" : long.format(time * 1000)) }, ...series],
      cursor: { drag: { x: false, y: false } },
    };
    box.replaceChildren();
    drawn.set(box, new uPlot(options, dataOf(lines, read), box));
  }

  function drawAll({ anew = false } = {}) {
    const read = figures();
    if (!read) return;
    for (const box of drawn.keys()) if (!box.isConnected) drawn.delete(box);
    for (const box of document.querySelectorAll(".plot[data-plot]")) {
      if (drawn.has(box) && !anew) drawn.get(box).setData(dataOf(PLOTS[box.dataset.plot], read));
      else draw(box, read);
    }
  }

  document.addEventListener("DOMContentLoaded", () => drawAll());
  document.addEventListener("htmx:after:swap", () => drawAll());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll({ anew: true }));
  addEventListener("resize", () => {
    for (const [box, plot] of drawn) plot.setSize({ width: box.clientWidth, height: HEIGHT });
  });
})();
