// A device: what was measured there, and how far the table's predictions are off.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Scatter } from "../charts/scatter.js";
import { Card, Notice, Table, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";
import { count, milliseconds, percent, points, words } from "../model/numbers.js";

const GROUPS = [{ name: "checked", color: "accent" }];

export default function Device({ name }) {
  const { value: device, error, again } = useRead(() => get(`/devices/${name}`), [name], untilFinal);
  if (device === null) return html`<${Waiting} error=${error} what=${name} />`;
  return html`<div class="stack">
    <${ResourceHead} kind="device" item=${device} onDone=${again} facts=${[
      ["Predictions are off by", device.median_error !== null && `${percent(device.median_error)} %`, true],
      ["at most", device.largest_error !== null && `${percent(device.largest_error)} %`],
      ["Hardware", device.hardware],
      ["Software", device.software],
      ["Machine", device.host],
      ["Layers in the table", device.num_layers],
      ["Measurements", device.num_measured],
      ["Channels are pruned to multiples of", device.round_to],
    ]} />
    ${device.num_noisy > 0 && html`<${Notice} kind="warn"><p>The machine was never quiet during ${count(device.num_noisy, "measurement")}.</p></${Notice}>`}
    ${device.checked.length > 0 && html`<${Checked} checked=${device.checked} />`}
    <${Card} title="Spec"><${SpecText} spec=${device.spec} /></${Card}>
  </div>`;
}

/** Detectors that the table was not fitted to: the nearer to the line, the better the table. */
function Checked({ checked }) {
  const dots = useMemo(() => checked
    .map((each) => ({ x: each.measured.median_s * 1e3, y: each.predicted_s * 1e3, group: "checked", each }))
    .sort((one, other) => one.x - other.x), [checked]);
  const exact = useMemo(() => [{ name: "exact", color: "quiet", points: [0, dots.at(-1).x].map((x) => ({ x, y: x })) }], [dots]);
  return html`<${Card} title="Predicted and measured">
    <${Scatter} points=${dots} groups=${GROUPS} lines=${exact} xLabel="measured, ms per batch" yLabel="predicted, ms per batch" height=${260}
      describe=${({ each }) => html`<strong>${words(each.family)} at ${each.resolution}</strong><div>${milliseconds(each.predicted_s)} ms predicted, ${milliseconds(each.measured.median_s)} ms measured</div><div class="mono quiet">${each.encoding}</div>`}
      label=${`Latency predicted and measured of ${count(dots.length, "detector")} that the table was not fitted to`} />
    <${Table} items=${checked} columns=${[
      { title: "Detector", cell: (each) => html`${words(each.family)}<div class="mono small quiet">${each.encoding}</div>` },
      { title: "Resolution", cell: (each) => each.resolution },
      { title: "Predicted ms", number: true, cell: (each) => milliseconds(each.predicted_s) },
      { title: "Measured ms", number: true, cell: (each) => html`${milliseconds(each.measured.median_s)}${each.measured.quiet ? "" : html` <span class="warn" title="the machine was not quiet">noisy</span>`}` },
      { title: "Error, %", number: true, cell: (each) => points(each.predicted_s / each.measured.median_s - 1) },
    ]} />
    <p class="small quiet">Detectors that the table was not fitted to; on the line, prediction and measurement are equal.</p>
  </${Card}>`;
}
