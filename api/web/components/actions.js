// The buttons of a resource: pause, resume, cancel, kill, extend, delete, clone.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { call, post, remove } from "../api.js";
import { go, href } from "../router.js";
import { KINDS, actionsOf } from "../model/lifecycle.js";
import { Confirm, Dialog } from "./dialog.js";
import { tell } from "./toasts.js";

const DONE = { pause: "is asked to pause", resume: "resumes", cancel: "is asked to end", kill: "ends", recheck: "is checked again", delete: "was deleted" };

/** Buttons for what can be done with `item` now; `onDone` reads it again. */
export function Actions({ kind, item, onDone, small = false }) {
  const [asked, setAsked] = useState(null);
  const ask = (action) => (action.warning || action.verb === "extend" ? setAsked(action) : act(action.verb));
  async function act(verb, body) {
    setAsked(null);
    try {
      await send(kind, item, verb, body);
      tell(verb === "extend" ? `${item.name} has more budget` : `${item.name} ${DONE[verb]}`);
      if (verb === "delete") go("home");
      onDone?.();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  }
  const size = small ? "small" : "";
  return html`<div class="row">
    ${actionsOf(kind, item.status).map((action) => html`
      <button key=${action.verb} type="button" class="${size} ${["kill", "delete"].includes(action.verb) ? "danger" : ""}"
        onClick=${() => ask(action)} aria-label=${small ? `${title(action.verb)} ${item.name}` : undefined}>${title(action.verb)}</button>`)}
    ${!small && html`<a class="button" href=${href("submit", kind, { from: item.name })}>Clone</a>`}
    ${asked && asked.verb !== "extend" && html`<${Confirm} title=${`${title(asked.verb)} ${item.name}?`} warning=${asked.warning}
      verb=${title(asked.verb)} onConfirm=${() => act(asked.verb)} onClose=${() => setAsked(null)} />`}
    ${asked && asked.verb === "extend" && html`<${Extend} kind=${kind} item=${item} onExtend=${(body) => act("extend", body)} onClose=${() => setAsked(null)} />`}
  </div>`;
}

const title = (verb) => verb[0].toUpperCase() + verb.slice(1);

function send(kind, item, verb, body) {
  const path = `/${KINDS[kind].list}/${item.id}`;
  if (verb === "delete") return remove(path);
  if (verb === "extend" && kind === "search") return post(`${path}/extend`, body);
  return call(`${path}/${verb}`, { method: "POST" });
}

const LIMITS = [
  ["max_trials", "Search trials at most, those already done included"],
  ["patience", "Trials in a row without a better score, after which it ends"],
  ["max_worker_hours", "Worker-hours at most, those already spent included"],
  ["max_gpu_hours", "GPU-hours at most, those already spent included"],
  ["max_wall_hours", "Hours at most since it first started"],
];

function Extend({ kind, item, onExtend, onClose }) {
  const budget = item.budget ?? item.spec.budget ?? {};
  const [values, setValues] = useState({});
  if (kind !== "search") {
    return html`<${Confirm} title=${`Continue ${item.name}?`} verb="Continue" onConfirm=${() => onExtend()} onClose=${onClose}
      warning="It is queued again and continues from its last checkpoint." />`;
  }
  const change = (name) => (event) => setValues({ ...values, [name]: event.target.value === "" ? undefined : Number(event.target.value) });
  return html`<${Dialog} title=${`Extend ${item.name}`} onClose=${onClose}>
    <p class="quiet small">What you leave empty keeps its value. A search that has ended is queued again and continues from its trials.</p>
    ${LIMITS.map(([name, help]) => html`<div class="field" key=${name}>
      <label for=${`extend-${name}`}>${help}</label>
      <input id=${`extend-${name}`} type="number" min="0" step=${name.startsWith("max_t") || name === "patience" ? 1 : "any"}
        placeholder=${budget[name] ?? "no limit"} onInput=${change(name)} />
    </div>`)}
    <div class="row">
      <button type="button" onClick=${onClose}>Back</button>
      <button type="button" class="primary" onClick=${() => onExtend(values)}>Extend</button>
    </div>
  </${Dialog}>`;
}
