// Two or more searches in one plot and one table, and two or more detectors side by side.
import { html } from "htm/preact";
import { useMemo, useState } from "preact/hooks";
import { get, getAll } from "../api.js";
import { useRead } from "../live.js";
import { go } from "../router.js";
import { SERIES } from "../charts/colors.js";
import { Scatter } from "../charts/scatter.js";
import { Card, Legend, Link, Notice, Status, Table, Waiting } from "../components/parts.js";
import { PointTip } from "../components/point_tip.js";
import { breakdownAt, withClassAps } from "../model/breakdowns.js";
import { empty, merged, withGains } from "../model/columns.js";
import { count, duration, giga, mega, milliseconds, percent, points, significant } from "../model/numbers.js";
import { COSTS, accuracyOf, axisChoices, classOf, frontOf, pointsOf } from "../model/pareto.js";
import { Axes } from "./search_results.js";

const listed = (options, key) => (options.get(key) ?? "").split(",").filter(Boolean);

export default function Compare({ options }) {
  const searches = listed(options, "searches");
  const detectors = listed(options, "detectors");
  const change = (part) => go("compare", "", { searches: searches.join(), detectors: detectors.join(), ...part });
  return html`<div class="stack">
    <h1>Compare</h1>
    <${Chooser} chosen=${searches} onChange=${(names) => change({ searches: names.join() })} />
    ${searches.length > 0 && html`<${Searches} key=${searches.join()} names=${searches} />`}
    <${Detectors} ids=${detectors} onChange=${(ids) => change({ detectors: ids.join() })} />
  </div>`;
}

function Chooser({ chosen, onChange }) {
  const { value, error } = useRead(() => getAll("/searches", { limit: 200 }), []);
  const [text, setText] = useState("");
  if (value === null) return html`<${Waiting} error=${error} what="searches" />`;
  const toggle = (name) => onChange(chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name]);
  const found = value.map(({ name }) => name);
  const names = [...chosen.filter((name) => !found.includes(name)), ...found]; // an archived one is chosen by the address
  const shown = names.filter((name) => chosen.includes(name) || name.includes(text.toLowerCase())).slice(0, 30);
  return html`<${Card} title="Searches" aside=${html`<input type="search" aria-label="Filter searches by name" placeholder="Name …" value=${text} onInput=${(event) => setText(event.target.value)} />`}>
    <div class="row">${shown.map((name) => html`<label key=${name} class="row"><input type="checkbox" checked=${chosen.includes(name)} onChange=${() => toggle(name)} /> ${name}</label>`)}</div>
    ${chosen.length >= SERIES.length && html`<p class="small quiet">The plot has colours for ${SERIES.length} searches.</p>`}
  </${Card}>`;
}

async function readSearch(name, className) {
  const query = className === null ? "" : `?${new URLSearchParams({ class_name: className })}`;
  const [search, columns] = await Promise.all([get(`/searches/${name}`), get(`/searches/${name}/columns${query}`)]);
  return { search, trials: withGains(merged(empty(), columns).trials), classes: columns.classes };
}

function Searches({ names }) {
  const [axes, setAxes] = useState({ x: "macs", y: "ap" });
  const className = classOf(axes.y);
  const { value, error } = useRead(() => Promise.all(names.map((name) => readSearch(name, className))), [names.join(), className]);
  const drawn = useMemo(() => (value ? drawing(value, axes) : null), [value, axes]);
  if (value === null) return html`<${Waiting} error=${error} what="trials" />`;
  const fits = new Set(value.map(({ search }) => search.spec.dataset)).size === 1;
  const choices = axisChoices(value.flatMap((each) => each.trials), value.map((each) => each.classes).reduce((one, other) => one.filter((name) => other.includes(name))), null);
  return html`<${Card} title="Accuracy and cost" aside=${html`<${Axes} axes=${axes} choices=${choices} onChange=${setAxes} />`}>
    ${!fits && html`<${Notice} kind="warn"><p>These searches use different data sets: their APs cannot be compared.</p></${Notice}>`}
    <${Scatter} points=${drawn.dots} groups=${drawn.groups} lines=${drawn.lines} xLabel=${COSTS[axes.x].label} yLabel=${accuracyOf(axes.y).label}
      describe=${(point) => html`<${PointTip} search=${point.search} point=${point} axes=${axes} />`}
      onOpen=${(point) => go("detectors", `${point.search.id}-${point.trial.name}`)} label=${`Detectors and fronts of ${names.join(", ")}`} />
    <${Legend} items=${value.map(({ search }, index) => [search.name, `var(--${SERIES[index % SERIES.length]})`])} />
    <${Table} items=${value} keyOf=${({ search }) => search.id} columns=${SEARCH_COLUMNS} />
  </${Card}>`;
}

function drawing(value, { x, y }) {
  const series = value.map(({ search, trials }, index) => ({
    search, color: SERIES[index % SERIES.length],
    points: pointsOf(trials, x, y).map((point) => ({ ...point, search, group: search.id })),
  }));
  return {
    dots: series.flatMap((each) => each.points).sort((one, other) => one.x - other.x),
    groups: series.map((each) => ({ name: each.search.id, color: each.color, faint: true })),
    lines: series.map((each) => ({ name: each.search.id, color: each.color, points: frontOf(each.points), dots: true })),
  };
}

const best = ({ search, trials }) => trials.find((trial) => `${search.id}-${trial.name}` === search.best_trial_id);
const SEARCH_COLUMNS = [
  { title: "Search", cell: ({ search }) => html`<${Link} page="searches" name=${search.name} />` },
  { title: "Status", cell: ({ search }) => html`<${Status} status=${search.status} />` },
  { title: "Data set", cell: ({ search }) => search.spec.dataset },
  { title: "Strategy", cell: ({ search }) => search.spec.strategy.kind },
  { title: "Trials", number: true, cell: ({ trials }) => trials.length.toLocaleString("en") },
  { title: "Best score %", number: true, cell: ({ search }) => percent(search.best_score, 2) },
  { title: "AP %", number: true, cell: (each) => percent(best(each)?.ap) },
  { title: "GMACs", number: true, cell: (each) => giga(best(each)?.macs) },
  { title: "Time of workers", number: true, cell: ({ trials }) => duration(trials.reduce((sum, trial) => sum + trial.busy_s, 0)) },
];

function Detectors({ ids, onChange }) {
  const [text, setText] = useState("");
  const { value, error } = useRead(() => Promise.all(ids.map((id) => get(`/detectors/${id}`))), [ids.join()]);
  const add = (event) => { event.preventDefault(); if (text.trim()) onChange([...new Set([...ids, text.trim()])]); setText(""); };
  return html`<${Card} title="Detectors" aside=${html`<form class="row" onSubmit=${add}>
      <input aria-label="Id of a detector" placeholder="s-7f3k2m-12" value=${text} onInput=${(event) => setText(event.target.value)} /><button>Add</button></form>`}>
    ${ids.length === 0 && html`<p class="quiet">Add detectors by the id of their trial, or by Compare on their page.</p>`}
    ${error && html`<${Notice} kind="bad"><p>${error.message}</p></${Notice}>`}
    ${value?.length > 0 && html`<${DetectorPlot} detectors=${value} /><${SideBySide} detectors=${value} />`}
    ${ids.length > 0 && html`<div class="row small">${ids.map((id) => html`<button key=${id} type="button" class="small" onClick=${() => onChange(ids.filter((each) => each !== id))}>Remove ${id}</button>`)}</div>`}
  </${Card}>`;
}

/** Every detector at every resolution in one plot: a line joins the resolutions of one detector. */
function DetectorPlot({ detectors }) {
  const [axes, setAxes] = useState({ x: "macs", y: "ap" });
  const drawn = useMemo(() => {
    const series = detectors.map((detector, index) => ({
      id: detector.trial_id, color: SERIES[index % SERIES.length],
      points: pointsOf([withClassAps(detector, classOf(axes.y))], axes.x, axes.y).map((point) => ({ ...point, group: detector.trial_id })),
    }));
    return {
      dots: series.flatMap((each) => each.points).sort((one, other) => one.x - other.x),
      groups: series.map((each) => ({ name: each.id, color: each.color })),
      lines: series.map((each) => ({ name: each.id, color: each.color, points: each.points })),
    };
  }, [detectors, axes]);
  const classes = Object.keys(detectors[0].breakdowns[0]?.class_aps ?? {});
  return html`<div class="row"><${Axes} axes=${axes} choices=${axisChoices(detectors, classes, null)} onChange=${setAxes} /></div>
    <${Scatter} points=${drawn.dots} groups=${drawn.groups} lines=${drawn.lines} height=${280} xLabel=${COSTS[axes.x].label} yLabel=${accuracyOf(axes.y).label}
      describe=${({ trial, evaluation, x, y }) => html`<strong>${trial.trial_id} at ${evaluation.resolution}</strong><div>${significant(y)}: ${accuracyOf(axes.y).label}</div><div>${significant(x)}: ${COSTS[axes.x].label}</div>`}
      onOpen=${({ trial }) => go("detectors", trial.trial_id)} label=${`${count(detectors.length, "detector")} at every resolution`} />
    <${Legend} items=${detectors.map(({ trial_id: id }, index) => [id, `var(--${SERIES[index % SERIES.length]})`])} />`;
}

/** Figures as rows, detectors as columns; differences are from the first one. */
function SideBySide({ detectors }) {
  const bestOf = (detector) => detector.evaluations.reduce((one, other) => ((other.score ?? -1) > (one?.score ?? -1) ? other : one), null);
  const figures = detectors.map((detector) => ({ detector, at: bestOf(detector) }));
  const first = figures[0].at;
  const rows = [
    ["Search", ({ detector }) => detector.search],
    ["Best resolution", ({ at }) => at?.resolution ?? "–"],
    ["AP %", ({ at }) => html`${percent(at?.ap)}${at && at !== first ? html` <span class="quiet small">${points(at.ap - first.ap)}</span>` : ""}`],
    ["AP50 %", ({ at }) => percent(at?.ap50)], ["AP75 %", ({ at }) => percent(at?.ap75)],
    ...(figures.some(({ at }) => at?.mask_ap != null) ? [["Mask AP %", ({ at }) => percent(at?.mask_ap)]] : []),
    ["AP small %", ({ at }) => percent(at?.ap_small)], ["AP medium %", ({ at }) => percent(at?.ap_medium)], ["AP large %", ({ at }) => percent(at?.ap_large)],
    ["Score %", ({ detector }) => percent(detector.score, 2)],
    ["GMACs", ({ at }) => html`${giga(at?.macs)}${at && at !== first ? html` <span class="quiet small">${significant(at.macs / first.macs, 2)} x</span>` : ""}`],
    ...classRows(detectors),
    ["M params", ({ detector }) => mega(detector.params)],
    ["Latency ms", ({ at }) => milliseconds(at?.latency_s)],
    ["Backbone", ({ detector }) => html`<span class="mono">${detector.encoding}</span>`],
  ];
  return html`<${Table} items=${rows} keyOf=${([title]) => title} columns=${[
    { title: "", cell: ([title]) => title },
    ...figures.map((each) => ({ title: html`<${Link} page="detectors" name=${each.detector.trial_id} />`, cell: ([, text]) => text(each) })),
  ]} />`;
}

/** A row for each class of the first detector, at the best resolution of each. */
function classRows(detectors) {
  return Object.keys(detectors[0].breakdowns[0]?.class_aps ?? {}).map((name) => [
    `AP of ${name} %`, ({ detector, at }) => percent(breakdownAt(detector, at?.resolution)?.class_aps[name]),
  ]);
}
