// A pool: losses over its phases, and the AP of its subnets.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Scatter } from "../charts/scatter.js";
import { Download } from "../components/download.js";
import { EpochLosses } from "../components/epoch_losses.js";
import { Card, Table, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";
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
    ${pool.epochs.length > 0 && html`<${Card} title="Training"><${EpochLosses} epochs=${pool.epochs} /></${Card}>`}
    <${Card} title="Spec"><${SpecText} spec=${pool.spec} /></${Card}>
  </div>`;
}

const inWords = (subnet) => `d${subnet.depths.join("-")} w${subnet.widths.join("/")} n${subnet.neck_channels}${(subnet.stem_width ?? 1) === 1 ? "" : ` s${subnet.stem_width}`}`;

function Subnets({ pool }) {
  const dots = useMemo(() => pool.subnets
    .map((each) => ({ x: each.macs / 1e9, y: each.ap * 100, group: "subnet", each }))
    .sort((one, other) => one.x - other.x), [pool.subnets]);
  return html`<${Card} title="Subnets, measured after training">
    <${Scatter} points=${dots} groups=${GROUPS} xLabel="GMACs per image" yLabel="AP, %" height=${300}
      describe=${({ each }) => html`<strong>${inWords(each.subnet)}</strong><div>AP ${percent(each.ap)} % at ${each.resolution}, ${giga(each.macs)} GMACs</div>`}
      label=${`AP of ${count(dots.length, "measured subnet")} by MACs`} />
    <${Table} items=${pool.subnets} columns=${[
      { title: "Subnet", cell: (each) => html`<span class="mono">${inWords(each.subnet)}</span>` },
      { title: "Resolution", cell: (each) => each.resolution },
      { title: "AP %", number: true, cell: (each) => percent(each.ap) },
      { title: "AP50 %", number: true, cell: (each) => percent(each.ap50) },
      { title: "GMACs", number: true, cell: (each) => giga(each.macs) },
      { title: "M params", number: true, cell: (each) => mega(each.params) },
      { title: "Latency ms", number: true, cell: (each) => milliseconds(each.latency_s) },
    ]} />
  </${Card}>`;
}
