// The web page: reads the API every two seconds and shows the responses. Texts from the API are
// always set as text, never as HTML.
"use strict";

const API = "api/v1";
const POLL_MS = 2000;
const DATASET = "dataset/"; // start of the part of the address after # that names a data set
const TOKEN = "searchd-token"; // stored until the tab is closed, for this tab alone
const byId = (id) => document.getElementById(id);

async function call(address) {
  const token = sessionStorage.getItem(TOKEN);
  const response = await fetch(address, token === null ? {} : { headers: { Authorization: `Bearer ${token}` } });
  byId("access").hidden = response.status !== 401;
  if (!response.ok) throw new Error((await response.json()).detail);
  return response;
}

async function get(path) {
  return (await call(`${API}${path}`)).json();
}

async function getAll(path) {
  const items = [];
  let token = null;
  do {
    const page = await get(token === null ? path : `${path}?page_token=${token}`);
    items.push(...page.items);
    token = page.next_page_token;
  } while (token !== null);
  return items;
}

function element(name, content = "", attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[content].flat());
  return made;
}

function row(cells, attributes = {}) {
  return element("tr", cells, attributes);
}

const cell = (content) => element("td", content ?? "");
const number = (value, digits) =>
  element("td", value === null || value === undefined ? "" : value.toFixed(digits), { class: "number" });
const significant = (value) =>
  element("td", value ? value.toPrecision(3) : "", { class: "number" });
const status = (text) => element("td", text, { class: `status ${text}` });
const time = (text) => new Date(text).toLocaleString();

function fill(tableId, rows) {
  byId(tableId).tBodies[0].replaceChildren(...rows);
}

function chosenName() {
  return decodeURIComponent(location.hash.slice(1));
}

function showSearches(searches) {
  byId("no-searches").hidden = searches.length > 0;
  fill("searches", searches.map((search) => row(
    [
      cell(element("a", search.name, { href: `#${search.name}` })),
      status(search.status),
      cell(search.status_reason),
      cell(search.spec.dataset),
      cell([search.spec.pool, ...(search.spec.teachers?.registered ?? [])].filter(Boolean).join(", ")),
      cell(time(search.created_at)),
    ],
    search.name === chosenName() ? { class: "chosen" } : {},
  )));
}

function showDistillations(distillations) {
  byId("distillation-list").hidden = distillations.length === 0;
  fill("distillations", distillations.map((distillation) => row([
    cell(distillation.name), status(distillation.status), cell(distillation.status_reason),
    cell(distillation.origin_id ?? "base detector"), cell(time(distillation.created_at)),
  ])));
}

function showTeachers(teachers) {
  byId("teacher-list").hidden = teachers.length === 0;
  fill("teachers", teachers.map((teacher) => row([
    cell(teacher.name), status(teacher.status),
    cell(teacher.status === "training" ? describeProgress(teacher.progress) : teacher.status_reason),
    cell(teacher.source),
    number(teacher.measurement && teacher.measurement.ap * 100, 1),
    significant(teacher.measurement && teacher.measurement.macs / 1e9),
  ])));
}

function describeProgress(progress) {
  if (!progress) return "";
  const phase = progress.phase ?? progress.stage;
  const loss = progress.losses.loss;
  return `${phase}, epoch ${progress.epoch}/${progress.num_epochs}, ` +
    `iteration ${progress.iteration}/${progress.num_iterations}` +
    (loss === undefined ? "" : `, loss ${loss.toFixed(3)}`);
}

function showPools(pools) {
  fill("pools", pools.map((pool) => row([
    cell(pool.name), status(pool.status),
    cell(pool.status === "training" ? describeProgress(pool.progress) : pool.status_reason),
  ])));
}

function showDatasets(datasets) {
  fill("datasets", datasets.map((dataset) => row([
    cell(element("a", dataset.name, { href: `#${DATASET}${dataset.name}` })),
    status(dataset.status), cell(dataset.status_reason),
  ], chosenName() === DATASET + dataset.name ? { class: "chosen" } : {})));
}

// A data set: counts and findings of its check at every refresh, drawings only once.

let drawnDataset = null;

function range(values) {
  return values === null ? "" : `${values.min} to ${values.max}, median ${values.median}`;
}

function showDataset(dataset) {
  byId("dataset").hidden = false;
  byId("dataset-name").textContent = dataset.name;
  byId("dataset-reason").textContent = dataset.status_reason;
  const found = dataset.summary ?? {};
  const { splits, classes } = found.statistics ?? { splits: {}, classes: {} };
  fill("dataset-splits", Object.entries(splits).map(([name, split]) => row([
    cell(name), number(split.images, 0), number(split.images_without_objects, 0),
    number(split.objects, 0), ...["small", "medium", "large"].map((size) => number(split.objects_by_size[size], 0)),
    cell(range(split.box_short_side_px)), cell(dataset.spec[name]?.annotations),
  ])));
  fill("dataset-classes", Object.entries(classes).map(([name, counts]) => row([
    cell(name), cell(Object.entries(counts).map(([split, count]) => `${split} ${count}`).join(", ")),
  ])));
  byId("dataset-findings").replaceChildren(
    ...[...(found.repairs ?? []), ...(found.warnings ?? [])].map((text) => element("li", text)),
  );
}

async function showSamples(dataset) {
  const version = `${dataset.id} ${dataset.finished_at}`;
  if (drawnDataset === version) return;
  drawnDataset = version;
  for (const image of byId("dataset-samples").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("dataset-samples").replaceChildren();
  if (dataset.status !== "ready") return;
  let samples;
  try {
    ({ samples } = await get(`/datasets/${dataset.id}/samples`));
  } catch (error) { // checked by a version that recorded none
    byId("dataset-samples").append(element("p", error.message, { class: "quiet" }));
    return;
  }
  for (const sample of samples) {
    const caption = `${sample.split}: ${sample.path.split("/").pop()}, ${sample.num_objects} objects`;
    let shown;
    try {
      const response = await call(`${API}/datasets/${dataset.id}/samples/${sample.number}/image?max_side=400`);
      shown = element("img", "", { src: URL.createObjectURL(await response.blob()), alt: caption });
    } catch (error) {
      shown = element("p", error.message, { class: "quiet" });
    }
    if (drawnDataset !== version) return;
    byId("dataset-samples").append(element("figure", [shown, element("figcaption", caption)]));
  }
}

function showTrials(trials, front) {
  const names = Object.fromEntries(trials.map((trial) => [trial.id, trial.name]));
  fill("trials", trials.map((trial) => row(
    [
      cell(trial.name),
      cell(names[trial.parent_id]),
      cell(trial.change),
      cell(trial.teacher),
      element("td", [
        element("span", trial.status, { class: `status ${trial.status}`, title: trial.status_reason }),
        element("div", trial.status === "running" ? describeProgress(trial.progress) : "", { class: "quiet" }),
      ]),
      number(trial.best && trial.best.ap * 100, 1),
      number(trial.best && trial.best.ap50 * 100, 1),
      cell(trial.best?.resolution),
      significant(trial.best && trial.best.macs / 1e9),
      significant(trial.params && trial.params / 1e6),
      number(trial.score && trial.score * 100, 2),
      cell(trial.status === "succeeded"
        ? element("a", "student", { href: `${API}/detectors/${trial.id}/artifacts/student` })
        : ""),
    ],
    front.has(trial.id) ? { class: "front", title: "on the Pareto front" } : {},
  )));
}

// The plot

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { left: 55, right: 700, top: 15, bottom: 315 };

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function scale(values, from, to) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const margin = (high - low || Math.abs(high) || 1) * 0.05;
  const span = high - low + 2 * margin;
  return {
    of: (value) => from + ((value - low + margin) / span) * (to - from),
    ticks: [0, 0.25, 0.5, 0.75, 1].map((part) => low - margin + part * span),
  };
}

function axes(x, y) {
  const parts = [
    shape("line", { class: "axis", x1: FRAME.left, x2: FRAME.right, y1: FRAME.bottom, y2: FRAME.bottom }),
    shape("line", { class: "axis", x1: FRAME.left, x2: FRAME.left, y1: FRAME.top, y2: FRAME.bottom }),
    shape("text", { x: (FRAME.left + FRAME.right) / 2, y: 353, "text-anchor": "middle" }, "GMACs per image"),
    shape("text", { x: 14, y: 165, transform: "rotate(-90 14 165)", "text-anchor": "middle" }, "AP (%)"),
  ];
  for (const tick of x.ticks) {
    parts.push(shape("text", { x: x.of(tick), y: FRAME.bottom + 18, "text-anchor": "middle" }, tick.toPrecision(3)));
  }
  for (const tick of y.ticks) {
    parts.push(shape("text", { x: FRAME.left - 6, y: y.of(tick) + 4, "text-anchor": "end" }, tick.toFixed(1)));
  }
  return parts;
}

function showPlot(pareto) {
  const gmacs = (point) => point.evaluation.macs / 1e9;
  const percent = (point) => point.evaluation.ap * 100;
  const points = [...pareto.dominated, ...pareto.front];
  if (points.length === 0) return byId("plot").replaceChildren();
  const x = scale(points.map(gmacs), FRAME.left, FRAME.right);
  const tested = points.filter((point) => point.test !== null && point.test.low !== null);
  const y = scale(
    [...points.map(percent), ...tested.flatMap((point) => [point.test.low * 100, point.test.high * 100])],
    FRAME.bottom, FRAME.top,
  );
  const bars = tested.map((point) => {
    const bar = shape("line", {
      class: "test", x1: x.of(gmacs(point)), x2: x.of(gmacs(point)),
      y1: y.of(point.test.low * 100), y2: y.of(point.test.high * 100),
    });
    bar.append(shape("title", {}, `trial ${point.trial} on the test split: AP ${(point.test.ap * 100).toFixed(1)} %, ` +
      `95 % interval ${interval(point.test.low, point.test.high)}`));
    return bar;
  });
  const line = pareto.front.map((point) => `${x.of(gmacs(point))},${y.of(percent(point))}`).join(" ");
  const front = new Set(pareto.front);
  const dots = points.map((point) => {
    const dot = shape("circle", {
      class: point.role + (front.has(point) ? " on-front" : ""),
      cx: x.of(gmacs(point)), cy: y.of(percent(point)), r: 5,
    });
    dot.append(shape("title", {}, `${point.search}, trial ${point.trial} at ${point.evaluation.resolution}: ` +
      `AP ${percent(point).toFixed(1)} %, ${gmacs(point).toPrecision(3)} GMACs`));
    return dot;
  });
  return byId("plot").replaceChildren(...axes(x, y), shape("polyline", { class: "front", points: line }), ...bars, ...dots);
}

function interval(low, high) {
  return low === null ? "" : `${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)}`;
}

function showReport(report) {
  byId("report").hidden = false;
  byId("report-verdict").textContent = report.verdict;
  fill("report-detectors", report.detectors.map(({ measured, ...each }) => row([
    cell(each.label.replaceAll("_", " ")), cell(each.trial), cell(each.resolution),
    number(measured && measured.ap * 100, 1), cell(measured && interval(measured.low, measured.high)),
    number(each.validation_ap * 100, 1), significant(each.macs / 1e9), number(each.latency_s * 1000, 1),
  ])));
  fill("report-differences", report.differences.map((each) => row([
    cell(each.reference.replaceAll("_", " ")), cell(`${each.resolution} against ${each.reference_resolution}`),
    number(each.ap * 100, 1), cell(interval(each.low, each.high)), number(each.macs_ratio, 2),
    cell(each.conclusion),
  ])));
  byId("report-notes").replaceChildren(...report.notes.map((note) => element("li", note)));
}

async function showSearch(name) {
  const [search, trials, pareto] = await Promise.all([
    get(`/searches/${name}`), getAll(`/searches/${name}/trials`), get(`/searches/${name}/pareto`),
  ]);
  byId("search").hidden = false;
  byId("search-name").textContent = search.name;
  byId("search-status").textContent = search.status;
  byId("search-status").className = search.status;
  byId("search-reason").textContent = search.status_reason;
  byId("search-counts").textContent = "Trials: " +
    (Object.entries(search.trials).map(([key, count]) => `${count} ${key}`).join(", ") || "none yet") +
    (search.best_score === null ? "" : `. Best score ${(search.best_score * 100).toFixed(2)} % (${search.best_trial_id})`) +
    (search.teachers_warning === null ? "" : `. Warning: ${search.teachers_warning}`);
  showTrials(trials, new Set(pareto.front.map((point) => point.trial_id)));
  showPlot(pareto);
  if (search.best_score === null) byId("report").hidden = true;
  else showReport(await get(`/searches/${name}/report`));
}

async function refresh() {
  try {
    const [searches, distillations, teachers, pools, datasets] = await Promise.all(
      ["/searches", "/distillations", "/teachers", "/pools", "/datasets"].map(getAll),
    );
    if (!chosenName() && searches.length > 0) location.replace(`#${searches[0].name}`);
    showSearches(searches);
    showDistillations(distillations);
    showTeachers(teachers);
    showPools(pools);
    showDatasets(datasets);
    if (searches.some((search) => search.name === chosenName())) await showSearch(chosenName());
    else byId("search").hidden = true;
    const dataset = datasets.find((each) => DATASET + each.name === chosenName());
    byId("dataset").hidden = dataset === undefined;
    if (dataset !== undefined) {
      showDataset(dataset);
      await showSamples(dataset);
    }
    byId("connection").textContent = `updated ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    byId("connection").textContent = `cannot read the API: ${error.message}`;
  }
}

function enter(event) {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  return refresh();
}

// A browser sends no token when it follows a link, so with a token, files are fetched here.
async function follow(event) {
  const link = event.target.closest("a");
  if (link === null || link.hash !== "" || sessionStorage.getItem(TOKEN) === null) return;
  event.preventDefault();
  try {
    const response = await call(link.href);
    const file = URL.createObjectURL(await response.blob());
    const name = /filename\*=UTF-8''(.+)/.exec(response.headers.get("Content-Disposition") ?? "");
    element("a", "", { href: file, download: decodeURIComponent(name?.[1] ?? link.pathname.split("/").pop()) }).click();
    setTimeout(() => URL.revokeObjectURL(file), 60_000);
  } catch (error) {
    byId("connection").textContent = `cannot read the API: ${error.message}`;
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, POLL_MS);
}

window.addEventListener("hashchange", refresh);
byId("access").addEventListener("submit", enter);
document.addEventListener("click", follow);
poll();
