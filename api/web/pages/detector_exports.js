// Exports of a detector: asked for here, with their figures, files and model card.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { get, post, remove } from "../api.js";
import { useRead } from "../live.js";
import { Confirm } from "../components/dialog.js";
import { Download } from "../components/download.js";
import { Card, Choice, Facts, Status } from "../components/parts.js";
import { tell } from "../components/toasts.js";
import { isFinal } from "../model/lifecycle.js";
import { bytes, milliseconds, percent, significant } from "../model/numbers.js";

export function Exports({ trial }) {
  const path = `/detectors/${trial.id}/exports`;
  const { value: exports, again } = useRead(() => get(path), [trial.id], (items) => (items?.every((each) => isFinal(each.status)) ? null : 3000));
  return html`<${Card} title="Exports" aside=${html`<${Ask} path=${path} trial=${trial} onDone=${again} />`}>
    ${!exports?.length && html`<p class="quiet">None yet. An export is a file that runs without this service; it is compared with the detector before it is ready.</p>`}
    ${(exports ?? []).map((each) => html`<${Export} key=${each.id} path=${path} item=${each} onDone=${again} />`)}
  </${Card}>`;
}

const FORMATS = [["onnx", "ONNX"], ["openvino", "OpenVINO"], ["torchscript", "TorchScript"], ["mmdet", "mmdet"], ["tensorrt", "TensorRT"]];
const PRECISIONS = [["fp32", "32 bits"], ["fp16", "16 bits"], ["int8", "8 bits"]];

function Ask({ path, trial, onDone }) {
  const sizes = ["dynamic", ...trial.evaluations.map((each) => each.resolution)];
  const [wanted, setWanted] = useState({ format: "onnx", precision: "fp32", input: "dynamic" });
  const choose = (name) => (value) => setWanted({ ...wanted, [name]: value });
  const ask = async () => {
    try {
      await post(path, wanted);
      onDone();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  };
  return html`<div class="row">
    <${Choice} label="Format" value=${wanted.format} options=${FORMATS} onChange=${choose("format")} />
    <${Choice} label="in" value=${wanted.precision} options=${PRECISIONS} onChange=${choose("precision")} />
    <${Choice} label="for images of" value=${wanted.input} options=${sizes.map((size) => [size, size === "dynamic" ? "any size" : size])} onChange=${choose("input")} />
    <button type="button" onClick=${ask}>Export</button>
  </div>`;
}

function Export({ path, item, onDone }) {
  const measured = item.measurement;
  const file = (name) => `${path}/${item.id}/files/${name}`;
  return html`<div class="group">
    <div class="row"><strong>${item.spec.format} ${item.spec.precision}, ${item.spec.input}</strong><${Status} status=${item.status} /><span class="quiet small">${item.status_reason}</span>
      ${isFinal(item.status) && html`<${Deletion} item=${item} onDone=${onDone} />`}</div>
    ${measured && html`<${Facts} items=${[
      ["AP", `${percent(measured.ap)} %`],
      ["AP in torch", `${percent(measured.torch_ap)} %`],
      ...(measured.mask_ap == null ? [] : [
        ["Mask AP", `${percent(measured.mask_ap)} %`],
        ["Mask AP in torch", `${percent(measured.torch_mask_ap)} %`],
      ]),
      ["Largest difference of a box", `${significant(measured.box_difference, 2)} px`],
      ["Latency", `${milliseconds(measured.latency_s)} ms at ${measured.resolution}`],
      ["95 % below", `${milliseconds(measured.latency_p95_s)} ms`],
      ["Measured on", measured.device],
      ["Size", bytes(measured.size_bytes)],
    ]} />`}
    ${item.files.length > 0 && html`<div class="row">${item.files.map((each) => html`
      <${Download} key=${each.name} path=${file(each.name)} label=${`Download ${each.name} ${bytes(each.size_bytes)} of the export`}>${each.name} <span class="quiet">${bytes(each.size_bytes)}</span></${Download}>`)}</div>`}
    ${item.files.some((each) => each.name === "card") && html`<${ModelCard} path=${file("card")} />`}
  </div>`;
}

function Deletion({ item, onDone }) {
  const [isAsked, setAsked] = useState(false);
  const act = async () => {
    setAsked(false);
    try {
      await remove(`/exports/${item.id}`);
      onDone();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  };
  return html`<button type="button" class="small danger" aria-label=${`Delete the export ${item.name}`} onClick=${() => setAsked(true)}>Delete</button>
    ${isAsked && html`<${Confirm} title="Delete this export?" verb="Delete" onConfirm=${act} onClose=${() => setAsked(false)}
      warning="Its files are removed for good. The detector stays, and can be exported again." />`}`;
}

/** The model card as its file has it, read when it is opened. */
function ModelCard({ path }) {
  const [card, setCard] = useState(null);
  const open = async (event) => {
    if (event.currentTarget.open && card === null) {
      setCard(await get(path).catch((problem) => ({ "Not read": problem.message })));
    }
  };
  return html`<details onToggle=${open}><summary class="small">Model card</summary>
    ${card && html`<${Facts} items=${Object.entries(card).filter(([, value]) => typeof value !== "object").map(([name, value]) => [name, String(value)])} />
    <pre tabindex="0" class="small">${JSON.stringify(Object.fromEntries(Object.entries(card).filter(([, value]) => typeof value === "object")), null, 2)}</pre>`}
  </details>`;
}
