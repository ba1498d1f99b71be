// Losses by epoch, with the learning rate and time of each epoch in a table below.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { Lines } from "../charts/plot.js";
import { SERIES } from "../charts/colors.js";
import { Legend, Table } from "./parts.js";
import { lossColumns } from "../model/detector_figures.js";
import { duration, significant } from "../model/numbers.js";

const SHOWN_TERMS = SERIES.length;

export function EpochLosses({ epochs }) {
  const { names, data } = lossColumns(epochs);
  const [isLog, setLog] = useState(false);
  const shown = names.slice(0, SHOWN_TERMS);
  const drawn = [data[0], ...data.slice(1, SHOWN_TERMS + 1).map((list) => (isLog ? list.map((value) => (value > 0 ? Math.log10(value) : null)) : list))];
  return html`
    ${epochs.length > 1 && html`
      <label class="row small"><input type="checkbox" checked=${isLog} onChange=${(event) => setLog(event.target.checked)} /> logarithm of the loss</label>
      <${Lines} x=${{ label: "epoch", yLabel: isLog ? "log₁₀ of the loss" : "loss" }} data=${drawn} label=${`Losses of ${epochs.length} epochs: ${shown.join(", ")}`}
        series=${shown.map((name, index) => ({ label: name, color: SERIES[index] }))} />
      <${Legend} items=${shown.map((name, index) => [name, `var(--${SERIES[index]})`])} />`}
    <details open=${epochs.length <= 1}>
      <summary class="small">Every epoch</summary>
      <${Table} items=${epochs.map((epoch, index) => ({ ...epoch, index }))} keyOf=${(epoch) => epoch.index} columns=${[
        { title: "Epoch", cell: (epoch) => (epoch.phase ? `${epoch.phase} ${epoch.epoch}` : epoch.epoch) },
        ...names.map((name) => ({ title: name, number: true, cell: (epoch) => significant(epoch.losses[name]) })),
        { title: "Learning rate", number: true, cell: (epoch) => significant(epoch.learning_rate) },
        { title: "Time", number: true, cell: (epoch) => duration(epoch.duration_s) },
      ]} />
    </details>`;
}
