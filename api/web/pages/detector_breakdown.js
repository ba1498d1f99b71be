// What lies behind the AP of a detector: AP by class and kinds of error, beside its base.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { Bar, Card, Choice, Legend, Table } from "../components/parts.js";
import { breakdownAt, classesBesideBase, errorsBesideBase } from "../model/breakdowns.js";
import { count, percent, points } from "../model/numbers.js";

/** `detector` and `base` (or null) as the API answers them. */
export function Breakdown({ detector, base, resolution }) {
  const [chosen, setChosen] = useState(resolution);
  const own = breakdownAt(detector, chosen);
  if (own === null) return html`<p class="small quiet">AP by class and kinds of error were not kept for this detector; an earlier version trained it.</p>`;
  const other = base && breakdownAt(base, chosen);
  const aside = detector.breakdowns.length > 1 && html`<${Choice} label="at" value=${chosen} onChange=${setChosen}
    options=${detector.breakdowns.map((each) => [each.resolution, each.resolution])} />`;
  return html`<div class="columns">
    <${Classes} own=${own} base=${other} aside=${aside} />
    <${Errors} own=${own} base=${other} />
  </div>`;
}

function Classes({ own, base, aside }) {
  const rows = classesBesideBase(own, base);
  return html`<${Card} title="AP by class" aside=${aside}>
    <${Table} items=${rows} keyOf=${(row) => row.name} columns=${[
      { title: "Class", cell: (row) => row.name },
      { title: "", cell: (row) => html`${base && html`<${Bar} share=${row.base} color="var(--base)" />`}<${Bar} share=${row.own} />` },
      { title: "AP %", number: true, cell: (row) => percent(row.own) },
      ...(base ? [
        { title: "base %", number: true, cell: (row) => percent(row.base) },
        { title: "against base", number: true, cell: (row) => (row.own < 0 || row.base < 0 ? "–" : html`<span class=${row.own > row.base ? "good" : ""}>${points(row.own - row.base)}</span>`) },
      ] : []),
    ]} />
    ${base && html`<${Legend} items=${[["base", "var(--base)"], ["this detector", "var(--accent)"]]} />`}
    <p class="small quiet">On the validation split at ${own.resolution}${base ? "; what lost most against the base comes first" : ""}.</p>
  </${Card}>`;
}

function Errors({ own, base }) {
  const rows = errorsBesideBase(own, base);
  const most = Math.max(0.01, ...rows.flatMap((row) => [row.own.lost_ap, row.base?.lost_ap ?? 0]));
  return html`<${Card} title="Kinds of error (TIDE)">
    <${Table} items=${rows} keyOf=${(row) => row.kind} columns=${[
      { title: "Error", cell: (row) => html`${row.kind}<div class="small quiet">${row.meaning}</div>` },
      { title: "", cell: (row) => html`${base && html`<${Bar} share=${row.base.lost_ap / most} color="var(--base)" />`}<${Bar} share=${row.own.lost_ap / most} color="var(--bad)" />` },
      { title: "costs AP50", number: true, cell: (row) => percent(row.own.lost_ap) },
      { title: "times", number: true, cell: (row) => row.own.count.toLocaleString("en") },
      ...(base ? [{ title: "base: costs · times", number: true, cell: (row) => `${percent(row.base.lost_ap)} · ${row.base.count.toLocaleString("en")}` }] : []),
    ]} />
    <p class="small quiet">Points of AP50 that repairing one kind of error alone would gain, and how often it occurs, on ${count(own.num_error_images, "image")} of the validation split.</p>
  </${Card}>`;
}
