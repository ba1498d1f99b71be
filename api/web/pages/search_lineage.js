// The lineage as a tree: what each edit changed and gained. Branches off the best are closed first.
import { html } from "htm/preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Card, Link, Status } from "../components/parts.js";
import { VirtualTable } from "../components/virtual_table.js";
import { childrenOf, pathTo, visibleRows } from "../model/lineage.js";
import { count, percent, points } from "../model/numbers.js";

const OPEN_BELOW = 400; // a smaller tree is shown whole

export function Lineage({ search, trials, byName }) {
  const best = search.best_trial_id?.replace(`${search.id}-`, "") ?? null;
  const path = useMemo(() => new Set(best ? pathTo(byName, best) : []), [byName, best]);
  const children = useMemo(() => childrenOf(trials), [trials]);
  const [open, setOpen] = useState(null);
  useEffect(() => setOpen(new Set(trials.length <= OPEN_BELOW ? byName.keys() : ["base", ...path])), [search.id, best]);
  const rows = useMemo(() => (open ? visibleRows(children, open) : []), [children, open]);
  const toggle = (name) => setOpen((old) => {
    const changed = new Set(old);
    if (!changed.delete(name)) changed.add(name);
    return changed;
  });
  const aside = html`<span class="row">
    <button type="button" class="small" onClick=${() => setOpen(new Set(byName.keys()))}>Open all</button>
    <button type="button" class="small" onClick=${() => setOpen(new Set(path))}>Path to the best</button>
  </span>`;
  return html`<${Card} title="Lineage" aside=${aside}>
    ${path.size > 1 && html`<p class="small quiet">The best, trial ${best}, is ${count(path.size - 1, "edit")} from the base.</p>`}
    <${VirtualTable} className="tree" label="Lineage tree" rows=${rows} keyOf=${(row) => row.trial.name} columns=${columnsOf(search, toggle)}
      rowClass=${(row) => (path.has(row.trial.name) ? "chosen" : "")} />
    <p class="small quiet">${count(trials.length, "trial")}; shaded: the line of the best. Gains are points of score against the parent; ~ may be chance.</p>
  </${Card}>`;
}

const columnsOf = (search, toggle) => [
  {
    key: "name", title: "Trial",
    style: (row) => ({ "--depth": row.depth }),
    cell: (row) => html`${row.numChildren > 0
      ? html`<button type="button" class="fold" aria-expanded=${row.isOpen} aria-label=${`Children of ${row.trial.name}`} onClick=${() => toggle(row.trial.name)}>${row.isOpen ? "▾" : "▸"}</button>`
      : html`<span class="fold" aria-hidden="true"> · </span>`}
      <${Link} page="detectors" name=${`${search.id}-${row.trial.name}`}>${row.trial.name}</${Link}>
      ${row.numChildren > 0 && !row.isOpen && html` <span class="chip">${row.numChildren}</span>`}`,
  },
  { key: "change", title: "Change", cell: (row) => html`<span title=${row.trial.change}>${row.trial.change}</span>` },
  { key: "status", title: "Status", cell: (row) => html`<${Status} status=${row.trial.status} title=${row.trial.reason ?? undefined} />` },
  { key: "score", title: "Score %", number: true, cell: (row) => percent(row.trial.score, 2) },
  { key: "gain", title: "Gain", number: true, cell: (row) => html`<span class=${row.trial.gain > 0 && !row.trial.withinNoise ? "good" : ""}>${points(row.trial.gain, 2)}${row.trial.withinNoise ? " ~" : ""}</span>` },
  { key: "teacher", title: "Teacher", cell: (row) => html`<span title=${row.trial.teacher}>${row.trial.teacher ?? "–"}</span>` },
  ...(search.spec.distillation.search ? [{ key: "methods", title: "Methods", cell: (row) => html`<span title=${row.trial.methods}>${row.trial.methods ?? "–"}</span>` }] : []),
];
