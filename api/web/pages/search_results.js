// The front of a search, and its trials as a table; a box drawn in the plot chooses rows.
import { html } from "htm/preact";
import { useCallback, useMemo, useState } from "preact/hooks";
import { Scatter } from "../charts/scatter.js";
import { Card, Choice, Legend, Link, Status } from "../components/parts.js";
import { PointTip } from "../components/point_tip.js";
import { VirtualTable, sortedRows } from "../components/virtual_table.js";
import { go } from "../router.js";
import { count, giga, mega, milliseconds, percent, points } from "../model/numbers.js";
import { COSTS, accuracyOf, axisChoices, classOf, frontOf, pointsOf } from "../model/pareto.js";

const GROUPS = [
  { name: "search", color: "accent", faint: true },
  { name: "base", color: "base" },
  { name: "finish", color: "finish" },
  { name: "control", color: "control" },
];
const LEGEND = [
  ["base", "var(--base)"], ["search trials", "var(--accent)"], ["finished: trained to their end", "var(--finish)"],
  ["controls: the base without teacher", "var(--control)"],
];

/** The group of a trial's points: repetitions and confirmations are search trials. */
export const groupOf = ({ role }) => (role.endsWith("control") ? "control" : ["base", "finish"].includes(role) ? role : "search");

/** `classes` have measured APs; `className` is the one whose AP the trials have. */
export function Results({ search, trials, byName, classes, className, axes, onAxes }) {
  const [chosen, setChosen] = useState(null);
  const isThere = [null, className].includes(classOf(axes.y));
  const dots = useMemo(() => (isThere ? pointsOf(trials, axes.x, axes.y) : []).map((point) => ({ ...point, group: groupOf(point.trial) })), [trials, axes, isThere]);
  const front = useMemo(() => frontOf(dots), [dots]);
  const lines = useMemo(() => [{ name: "front", color: "accent", points: front, dots: true }], [front]);
  const choose = useCallback((found) => setChosen(found && new Set(found.map((point) => point.trial.name))), []);
  const onFront = useMemo(() => new Set(front.map((point) => point.trial.name)), [front]);
  const shown = chosen === null ? trials : trials.filter((trial) => chosen.has(trial.name));
  return html`
    <${Card} title="Accuracy and cost" aside=${html`<${Axes} axes=${axes} choices=${axisChoices(trials, classes, search.spec.score?.device)} onChange=${onAxes} />`}>
      ${dots.length === 0 ? html`<p class="quiet">${isThere ? "No trial has these figures yet." : "Reading the AP of the class …"}</p>` : html`
        <${Scatter} points=${dots} groups=${GROUPS} lines=${lines} xLabel=${COSTS[axes.x].label} yLabel=${accuracyOf(axes.y).label}
          describe=${(point) => html`<${PointTip} search=${search} point=${point} axes=${axes} />`}
          onOpen=${(point) => go("detectors", `${search.id}-${point.trial.name}`)} onChoose=${choose}
          label=${`${count(dots.length, "detector")} by ${COSTS[axes.x].label} and ${accuracyOf(axes.y).label}; ${front.length} on the Pareto front. The table below has the same figures.`} />
        <${Legend} items=${LEGEND} />
        <p class="small quiet">Every trained detector at every resolution, on the validation split; the line joins the Pareto front.
          Point at one for its change, click to open it, draw a box to choose rows of the table.</p>`}
    </${Card}>
    <${Card} title="Trials" aside=${chosen !== null && html`<span class="row small">${count(shown.length, "trial")} in the box
      <button type="button" class="small" onClick=${() => setChosen(null)}>Show all</button></span>`}>
      <${TrialTable} search=${search} trials=${shown} byName=${byName} onFront=${onFront} />
    </${Card}>`;
}

export const Axes = ({ axes, choices, onChange }) => html`<div class="row">
  <${Choice} label="Accuracy" value=${axes.y} options=${choices.y} onChange=${(y) => onChange({ ...axes, y })} />
  <${Choice} label="Cost" value=${axes.x} options=${choices.x} onChange=${(x) => onChange({ ...axes, x })} />
</div>`;

function TrialTable({ search, trials, byName, onFront }) {
  const [sorted, setSorted] = useState(null);
  const [text, setText] = useState("");
  const columns = useMemo(() => columnsOf(search, byName, onFront), [search.id, byName, onFront]);
  const rows = useMemo(() => {
    const word = text.trim().toLowerCase();
    const found = word === "" ? trials : trials.filter((trial) => `${trial.name} ${trial.change} ${trial.teacher} ${trial.methods ?? ""} ${trial.status} ${trial.role}`.toLowerCase().includes(word));
    return sortedRows(found, columns, sorted);
  }, [trials, columns, sorted, text]);
  return html`
    <div class="row small"><input type="search" aria-label="Filter trials by name, change, teacher or status" placeholder="Change, teacher, status …" value=${text} onInput=${(event) => setText(event.target.value)} />
      <span class="quiet">${count(rows.length, "trial")}</span></div>
    <${VirtualTable} label="Trials" columns=${columns} rows=${rows} keyOf=${(trial) => trial.name} sorted=${sorted} onSort=${setSorted}
      rowClass=${(trial) => (onFront.has(trial.name) ? "on-front" : "")} />`;
}

function columnsOf(search, byName, onFront) {
  const link = (name) => (name ? html`<${Link} page="detectors" name=${`${search.id}-${name}`}>${name}</${Link}>` : "–");
  const figure = (key, title, text, sort = (trial) => trial[key]) => ({ key, title, number: true, cell: (trial) => text(sort(trial)), sort });
  return [
    { key: "name", title: "Trial", cell: (trial) => html`${link(trial.name)}${onFront.has(trial.name) ? html` <span class="small quiet" title="on the Pareto front">◆<span class="hidden"> on the front</span></span>` : ""}` },
    { key: "status", title: "Status", cell: (trial) => html`<${Status} status=${trial.status} title=${trial.reason ?? undefined} />`, sort: (trial) => trial.status },
    { key: "parent", title: "Parent", cell: (trial) => link(byName.has(trial.parent) ? trial.parent : null) },
    { key: "change", title: "Change", cell: (trial) => html`<span title=${trial.change}>${trial.change}</span>`, sort: (trial) => trial.change },
    { key: "teacher", title: "Teacher", cell: (trial) => html`<span title=${trial.teacher}>${trial.teacher ?? "–"}</span>`, sort: (trial) => trial.teacher },
    ...(search.spec.distillation.search ? [{ key: "methods", title: "Methods", cell: (trial) => html`<span title=${trial.methods}>${trial.methods ?? "–"}</span>`, sort: (trial) => trial.methods }] : []),
    figure("score", "Score %", (value) => percent(value, 2)),
    { ...figure("gain", "Gain", (value) => points(value, 2)), cell: (trial) => html`<span class=${trial.gain > 0 && !trial.withinNoise ? "good" : ""} title=${trial.withinNoise ? "may be chance: within the noise" : undefined}>${points(trial.gain, 2)}${trial.withinNoise ? " ~" : ""}</span>` },
    figure("ap", "AP %", (value) => percent(value)),
    figure("ap50", "AP50 %", (value) => percent(value)),
    { key: "resolution", title: "Resolution", cell: (trial) => trial.resolution ?? "–" },
    figure("macs", "GMACs", giga),
    figure("params", "M params", mega),
    figure("latency_s", "ms", milliseconds),
  ];
}
