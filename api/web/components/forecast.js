// What a spec would cost, before it is submitted.
import { html } from "htm/preact";
import { Facts, Notice } from "./parts.js";
import { bytes, significant } from "../model/numbers.js";

const range = (value, unit = "") => {
  if (value === null || value === undefined) return null;
  if (typeof value === "number") return `${significant(value)}${unit}`;
  const [least, most] = [significant(value.least), significant(value.most)];
  return least === most ? `${least}${unit}` : `${least} to ${most}${unit}`;
};

const isNothing = (value) => value === 0 || value?.most === 0;

export function Forecast({ forecast }) {
  return html`
    ${forecast.refusals.map((reason) => html`<${Notice} key=${reason} kind="bad"><p>It would be refused now: ${reason}</p></${Notice}>`)}
    ${forecast.teachers_warning && html`<${Notice} kind="warn"><p>${forecast.teachers_warning}</p></${Notice}>`}
    ${forecast.method_warnings?.map((warning) => html`<${Notice} key=${warning} kind="warn"><p>${warning}</p></${Notice}>`)}
    <${Facts} items=${[
      ["Trials", range(forecast.trials)],
      ["Controls", range(forecast.controls)],
      ["Epochs", forecast.epochs ?? range(forecast.search?.epochs)],
      ["Worker-hours", range(forecast.worker_hours, " h") ?? "not known yet", true],
      ["GPU-hours", isNothing(forecast.gpu_hours) ? null : range(forecast.gpu_hours, " h")],
      ["Disk at most", forecast.disk_bytes === null || forecast.disk_bytes === undefined ? null : bytes(typeof forecast.disk_bytes === "number" ? forecast.disk_bytes : forecast.disk_bytes.most)],
    ]} />
    ${forecast.basis?.length > 0 && html`<p class="small quiet">From ${forecast.basis.join("; ")}.</p>`}
    ${forecast.learning_rates?.length > 0 && html`<p class="small quiet">Learning rates: ${forecast.learning_rates.join("; ")}.</p>`}`;
}
