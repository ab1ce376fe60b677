"use strict";
// What the pages do with scripts: the reader's own time zone, charts, keys, and a word when refreshing fails.

const zoned = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});

function localise() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    const words = zoned.format(moment);
    if (time.textContent !== words) {
      time.textContent = words;
      time.title = moment.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
    }
  }
}

// --- charts: one lane for each stream, on one time axis, under one cursor -------------------------------------------

const drawn = new Map(); // container -> {lanes: [uPlot], names}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

function marksPlugin(marks) {
  return {hooks: {draw: chart => {
    const {ctx, bbox} = chart;
    ctx.save();
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const mark of marks()) {
      const x = Math.round(chart.valToPos(mark.at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = colour(mark.kind === "page" ? "--needs" : "--quiet");
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }}};
}

// Local time, 24 hours, with the ISO date below the first label of each day.
const day = "\n{YYYY}-{MM}-{DD}";
const hours = [
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", day, null, day, null, null, null, 1],
  [0.001, "{HH}:{mm}:{ss}", day, null, day, null, null, null, 1],
];

// The last value of every stretch is a dot: the line of a short stretch is not seen, and that of one value is none.
function stretchEnds(chart, row) {
  const values = chart.data[row];
  return values.flatMap((value, place) => value != null && values[place + 1] == null ? [place] : []);
}

function laneOptions(container, state, last) {
  const axis = {stroke: () => colour("--quiet"), grid: {stroke: () => colour("--rule"), width: 1}, ticks: {show: false}};
  const label = {values: hours, space: 90}; // as wide as a date
  return {
    width: container.clientWidth, height: last ? 110 : 74,
    cursor: {sync: {key: "time"}, y: false, drag: {x: false, y: false}},
    legend: {show: false}, padding: [6, 40, last ? 0 : 8, 0], plugins: [marksPlugin(() => state.marks)],
    scales: {x: {range: () => [state.since, state.until]}, y: {range: [0, 1.05]}},
    axes: [{...axis, ...label, show: last}, {...axis, size: 40, splits: () => [0, 0.5, 1]}],
    series: [{}, {stroke: () => colour("--line"), width: 1.5, spanGaps: true,
              points: {show: false, filter: stretchEnds, size: 6, fill: () => colour("--line")}},
             {stroke: () => colour("--needs"), width: 1, dash: [4, 3], points: {show: false}}],
    hooks: {setCursor: [chart => {
      const index = chart.cursor.idx;
      const value = index == null ? null : chart.data[1][index];
      chart.root.previousSibling.lastChild.textContent = value == null ? "" :
        `${value.toFixed(2)} at ${zoned.format(new Date(chart.data[0][index] * 1000))}`;
    }]},
  };
}

function laneData(series, stream) {
  // the first step begins before the range; the page line needs both ends, also where a stream said nothing
  const placed = series.times.map(at => Math.max(at, series.since));
  const times = [...new Set([series.since, ...placed, series.until])];
  const values = new Map(placed.map((at, place) => [at, stream.evidence[place]]));
  return [times, times.map(at => values.get(at) ?? null), times.map(() => 1)];
}

function build(container, series) {
  const names = series.streams.map(one => one.stream).join("\n");
  const old = drawn.get(container);
  const state = old && old.names === names ? old : {names, lanes: []};
  Object.assign(state, {since: series.since, until: series.until, marks: series.marks});
  drawn.set(container, state);
  if (state === old) {
    old.lanes.forEach((lane, place) => lane.setData(laneData(series, series.streams[place])));
    return;
  }
  container.replaceChildren();
  if (!series.streams.length) container.textContent = "No evidence in this range yet.";
  series.streams.forEach((stream, place) => {
    const lane = document.createElement("div");
    const title = document.createElement("h3");
    title.append(document.createElement("span"), document.createElement("span"));
    title.firstChild.textContent = stream.words;
    title.title = [stream.stream, ...series.marks.map(mark => `${zoned.format(new Date(mark.at * 1000))}: ${mark.words}`)].join("\n");
    lane.className = "lane";
    lane.append(title);
    container.append(lane);
    state.lanes.push(new uPlot(laneOptions(container, state, place === series.streams.length - 1), laneData(series, stream), lane));
  });
}

async function refreshCharts() {
  for (const container of document.querySelectorAll("[data-series]")) {
    const answer = await fetch(container.dataset.series).catch(() => null);
    if (answer && answer.ok) build(container, await answer.json());
  }
}

function resizeCharts() {
  for (const [container, {lanes}] of drawn) {
    for (const lane of lanes) lane.setSize({width: container.clientWidth, height: lane.height});
  }
}

// --- keys ------------------------------------------------------------------------------------------------------------

let before = "";
let chosen = -1;

function move(step) {
  const rows = [...document.querySelectorAll("a.row")];
  if (!rows.length) return;
  chosen = Math.min(Math.max(chosen + step, 0), rows.length - 1);
  for (const row of document.querySelectorAll("tr.chosen")) row.classList.remove("chosen");
  rows[chosen].closest("tr")?.classList.add("chosen");
  rows[chosen].focus();
}

const keys = {
  "/": () => document.getElementById("filter")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  a: () => document.getElementById("acknowledge")?.focus(), // the person still presses Enter
  o: () => { if (before === "g") location.assign("/"); },
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key in keys) {
    event.preventDefault();
    keys[event.key]();
  }
  before = event.key;
});

// --- refreshing ------------------------------------------------------------------------------------------------------

const stale = document.getElementById("stale");
for (const name of ["htmx:response:error", "htmx:error"]) {
  document.addEventListener(name, () => { stale.hidden = false; });
}
document.addEventListener("htmx:after:swap", () => {
  stale.hidden = true;
  refreshCharts();
});
// An observer runs before the browser paints, so that nobody sees the server's UTC between two refreshes.
new MutationObserver(localise).observe(document.getElementById("live").parentElement, {childList: true, subtree: true, characterData: true});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const {lanes} of drawn.values()) for (const lane of lanes) lane.redraw();
});
addEventListener("resize", resizeCharts);
localise();
refreshCharts();
