// What is asked before a search is extended or its detectors are finished, or something is renamed.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { Dialog } from "./dialog.js";

const LIMITS = [
  ["max_trials", "Search trials at most, those already done included"],
  ["patience", "Trials in a row without a better score, after which it ends"],
  ["max_worker_hours", "Worker-hours at most, those already spent included"],
  ["max_gpu_hours", "GPU-hours at most, those already spent included"],
  ["max_wall_hours", "Hours at most since it first started"],
];

export function Extend({ item, onExtend, onClose }) {
  const budget = item.budget ?? item.spec.budget ?? {};
  const [values, setValues] = useState({});
  const change = (name) => (event) => setValues({ ...values, [name]: event.target.value === "" ? undefined : Number(event.target.value) });
  return html`<${Dialog} title=${`Extend ${item.name}`} onClose=${onClose}>
    <p class="quiet small">What you leave empty keeps its value. A search that has ended is queued again and continues from its trials.</p>
    ${LIMITS.map(([name, help]) => html`<div class="field" key=${name}>
      <label for=${`extend-${name}`}>${help}</label>
      <input id=${`extend-${name}`} type="number" min="0" step=${name.startsWith("max_t") || name === "patience" ? 1 : "any"}
        placeholder=${budget[name] ?? "no limit"} onInput=${change(name)} />
    </div>`)}
    <${Answers} verb="Extend" onClose=${onClose} onAnswer=${() => onExtend(values)} />
  </${Dialog}>`;
}

/** Which detectors of a search that has ended are improved, and how: each becomes a distillation. */
export function Finish({ item, onFinish, onClose }) {
  const [detectors, setDetectors] = useState("knee");
  const [kind, setKind] = useState("fine_tune");
  const [epochs, setEpochs] = useState(16);
  const [sampled, setSampled] = useState(3);
  const method = kind === "fine_tune" ? { kind, epochs } : { kind, num_sampled_teachers: sampled };
  const choose = (set) => (event) => set(event.target.value);
  return html`<${Dialog} title=${`Finish detectors of ${item.name}`} onClose=${onClose}>
    <p class="quiet small">Each detector becomes a distillation of its own, whose students join the front of this search.</p>
    <div class="field"><label for="finish-detectors">Detectors</label>
      <select id="finish-detectors" onChange=${choose(setDetectors)}>
        <option value="knee">the knee of the Pareto front</option><option value="all">the whole Pareto front</option>
      </select></div>
    <div class="field"><label for="finish-method">How</label>
      <select id="finish-method" onChange=${choose(setKind)}>
        <option value="fine_tune">train on under the teacher that the search found</option><option value="distil">teach by several teachers in turn</option>
      </select></div>
    ${kind === "fine_tune"
      ? html`<${NumberField} id="finish-epochs" label="Epochs" value=${epochs} onChange=${setEpochs} />`
      : html`<${NumberField} id="finish-teachers" label="Subnets of the pool to choose teachers from" value=${sampled} onChange=${setSampled} />`}
    <${Answers} verb="Finish" onClose=${onClose} onAnswer=${() => onFinish({ detectors, method })} />
  </${Dialog}>`;
}

export function Rename({ item, onRename, onClose }) {
  const [name, setName] = useState(item.name);
  return html`<${Dialog} title=${`Rename ${item.name}`} onClose=${onClose}>
    <p class="quiet small">Everything that uses it refers to the new name.</p>
    <div class="field"><label for="rename">New name</label>
      <input id="rename" value=${name} onInput=${(event) => setName(event.target.value)} /></div>
    <${Answers} verb="Rename" onClose=${onClose} onAnswer=${() => onRename({ name })} />
  </${Dialog}>`;
}

const NumberField = ({ id, label, value, onChange }) => html`<div class="field"><label for=${id}>${label}</label>
  <input id=${id} type="number" min="1" value=${value} onInput=${(event) => onChange(Number(event.target.value))} /></div>`;

const Answers = ({ verb, onClose, onAnswer }) => html`<div class="row">
  <button type="button" onClick=${onClose}>Back</button>
  <button type="button" class="primary" onClick=${onAnswer}>${verb}</button>
</div>`;
