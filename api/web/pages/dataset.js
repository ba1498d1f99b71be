// A data set: what its check counted and warned of, and some images with their boxes.
import { html } from "htm/preact";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Bar, Card, Notice, Table, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { useSampleImage } from "../components/sample_image.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";

export default function Dataset({ name }) {
  const { value: dataset, error, again } = useRead(() => get(`/datasets/${name}`), [name], untilFinal);
  if (dataset === null) return html`<${Waiting} error=${error} what=${name} />`;
  const found = dataset.summary ?? {};
  const { splits = {}, classes = {} } = found.statistics ?? {};
  const names = Object.keys(splits);
  return html`<div class="stack">
    <${ResourceHead} kind="dataset" item=${dataset} onDone=${again} facts=${[
      ["Classes", found.class_names?.length, true],
      ["Images", names.length > 0 && names.map((split) => `${splits[split].images.toLocaleString("en")} ${split}`).join(", ")],
    ]} />
    ${(found.warnings ?? []).map((text) => html`<${Notice} key=${text} kind="warn"><p>${text}</p></${Notice}>`)}
    ${(found.repairs ?? []).length > 0 && html`<${Card} title="Repaired"><ul class="small">${found.repairs.map((text) => html`<li key=${text}>${text}</li>`)}</ul></${Card}>`}
    ${names.length > 0 && html`<${Splits} splits=${splits} />`}
    ${Object.keys(classes).length > 0 && html`<${Classes} classes=${classes} splits=${names} />`}
    ${dataset.status === "ready" && html`<${Samples} dataset=${dataset} />`}
    <${Card} title="Spec"><${SpecText} spec=${dataset.spec} /></${Card}>
  </div>`;
}

const SIZES = [["small", "below 32 px"], ["medium", "32 to 96 px"], ["large", "above 96 px"]];

function Splits({ splits }) {
  const rows = Object.entries(splits).map(([name, split]) => ({ name, ...split }));
  const range = (values) => (values ? `${values.min} to ${values.max}, median ${values.median}` : "–");
  return html`<${Card} title="Splits and sizes of boxes">
    <${Table} items=${rows} keyOf=${(row) => row.name} columns=${[
      { title: "Split", cell: (row) => row.name },
      { title: "Images", number: true, cell: (row) => row.images.toLocaleString("en") },
      { title: "without objects", number: true, cell: (row) => row.images_without_objects.toLocaleString("en") },
      { title: "Objects", number: true, cell: (row) => row.objects.toLocaleString("en") },
      ...(rows.some((row) => row.sequences) ? [{ title: "Sequences", number: true, cell: (row) => row.sequences.toLocaleString("en") }] : []),
      ...(rows.some((row) => row.masks) ? [{ title: "with mask", number: true, cell: (row) => row.masks.toLocaleString("en") }] : []),
      ...SIZES.map(([size, meaning]) => ({
        title: html`<span title=${meaning}>${size}</span>`,
        cell: (row) => html`<${Bar} share=${row.objects_by_size[size] / Math.max(1, row.objects)} /><span class="small quiet">${row.objects_by_size[size].toLocaleString("en")}</span>`,
      })),
      { title: "Short side of boxes, px", cell: (row) => range(row.box_short_side_px) },
    ]} />
  </${Card}>`;
}

function Classes({ classes, splits }) {
  const rows = Object.entries(classes).map(([name, counts]) => ({ name, counts, sum: Object.values(counts).reduce((a, b) => a + b, 0) }));
  rows.sort((one, other) => other.sum - one.sum);
  const most = Math.max(1, rows[0]?.sum ?? 1);
  return html`<${Card} title="Objects by class">
    <${Table} items=${rows} keyOf=${(row) => row.name} columns=${[
      { title: "Class", cell: (row) => row.name },
      { title: "", cell: (row) => html`<${Bar} share=${row.sum / most} />` },
      ...splits.map((split) => ({ title: split, number: true, cell: (row) => (row.counts[split] ?? 0).toLocaleString("en") })),
    ]} />
  </${Card}>`;
}

function Samples({ dataset }) {
  const { value, error } = useRead(() => get(`/datasets/${dataset.id}/samples`), [dataset.id, dataset.finished_at]);
  return html`<${Card} title="Sample images">
    ${error && html`<p class="quiet">${error.message}</p>`}
    <div class="samples">${(value?.samples ?? []).map((sample) => html`<${Sample} key=${sample.number} dataset=${dataset} sample=${sample} />`)}</div>
  </${Card}>`;
}

/** An image with its boxes, drawn by the service. */
function Sample({ dataset, sample }) {
  const caption = `${sample.split}: ${sample.path.split("/").pop()}, ${sample.num_objects} objects`;
  const image = useSampleImage(dataset.id, sample.number, { boxes: true, key: dataset.finished_at });
  return html`<figure>
    ${image.address && html`<img src=${image.address} alt=${caption} />`}
    ${image.problem && html`<p class="quiet small">${image.problem}</p>`}
    <figcaption>${caption}</figcaption>
  </figure>`;
}
