// A pool: losses over its phases, and the AP of its subnets.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Lines } from "../charts/plot.js";
import { Scatter } from "../charts/scatter.js";
import { Download } from "../components/download.js";
import { EpochLosses } from "../components/epoch_losses.js";
import { Card, Legend, Table, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";
import { phaseEnds } from "../model/pool_phases.js";
import { bytes, count, giga, mega, milliseconds, percent } from "../model/numbers.js";

const GROUPS = [{ name: "subnet", color: "accent" }];

export default function Pool({ name }) {
  const { value: pool, error, again } = useRead(() => get(`/pools/${name}`), [name], untilFinal);
  if (pool === null) return html`<${Waiting} error=${error} what=${name} />`;
  const best = pool.subnets.reduce((most, each) => Math.max(most, each.ap), -1);
  return html`<div class="stack">
    <${ResourceHead} kind="pool" item=${pool} onDone=${again} facts=${[
      ["Best subnet", best >= 0 ? `AP ${percent(best)} %` : null, true],
      ["Epochs", pool.epochs.length || null],
      ["Phases", pool.spec.phases?.map((phase) => phase.name).join(", ")],
      ["Weights", pool.supernet && html`${bytes(pool.supernet.size_bytes)} <${Download} path=${`/pools/${pool.id}/supernet`} label="Download the supernet" />`],
    ]} />
    ${pool.subnets.length > 0 && html`<${Subnets} pool=${pool} />`}
    <${Phases} ends=${phaseEnds(pool)} />
    ${pool.epochs.length > 0 && html`<${Card} title="Training"><${EpochLosses} epochs=${pool.epochs} /></${Card}>`}
    <${Card} title="Spec"><${SpecText} spec=${pool.spec} /></${Card}>
  </div>`;
}

const MEASURED = [
  { title: "Subnet", cell: (each) => html`<span class="mono">${inWords(each.subnet)}</span>` },
  { title: "Resolution", cell: (each) => each.resolution },
  { title: "AP %", number: true, cell: (each) => percent(each.ap) },
  { title: "AP50 %", number: true, cell: (each) => percent(each.ap50) },
  { title: "GMACs", number: true, cell: (each) => giga(each.macs) },
  { title: "M params", number: true, cell: (each) => mega(each.params) },
  { title: "Latency ms", number: true, cell: (each) => milliseconds(each.latency_s) },
];
const inWords = (subnet) => `d${subnet.depths.join("-")} w${subnet.widths.join("/")} n${subnet.neck_channels}${(subnet.stem_width ?? 1) === 1 ? "" : ` s${subnet.stem_width}`}`;

const SERIES = [["largest subnet", "accent"], ["smallest subnet of the phase", "base"]];

function Phases({ ends }) {
  if (ends.length === 0) return null;
  const aps = (which) => ends.map((end) => (end[which] ? end[which].ap * 100 : null));
  const rows = ends.flatMap(({ phase, largest, smallest }) => [largest, smallest].filter(Boolean).map((each) => ({ ...each, phase })));
  return html`<${Card} title="Subnets at the end of each phase">
    ${ends.length > 1 && html`<${Lines} x=${{ label: "epoch", yLabel: "AP, %" }} data=${[ends.map((end) => end.epoch), aps("largest"), aps("smallest")]}
      series=${SERIES.map(([label, color]) => ({ label, color, points: true }))}
      label=${`AP of the largest and the smallest subnet after ${ends.map((end) => end.phase).join(", ")}`} />
    <${Legend} items=${SERIES.map(([label, color]) => [label, `var(--${color})`])} />`}
    <${Table} items=${rows} keyOf=${(each) => `${each.phase} ${inWords(each.subnet)}`} columns=${[
      { title: "After", cell: (each) => each.phase },
      ...MEASURED,
    ]} />
  </${Card}>`;
}

function Subnets({ pool }) {
  const dots = useMemo(() => pool.subnets
    .map((each) => ({ x: each.macs / 1e9, y: each.ap * 100, group: "subnet", each }))
    .sort((one, other) => one.x - other.x), [pool.subnets]);
  return html`<${Card} title="Subnets, measured after training">
    <${Scatter} points=${dots} groups=${GROUPS} xLabel="GMACs per image" yLabel="AP, %" height=${300}
      describe=${({ each }) => html`<strong>${inWords(each.subnet)}</strong><div>AP ${percent(each.ap)} % at ${each.resolution}, ${giga(each.macs)} GMACs</div>`}
      label=${`AP of ${count(dots.length, "measured subnet")} by MACs`} />
    <${Table} items=${pool.subnets} columns=${MEASURED} />
  </${Card}>`;
}
