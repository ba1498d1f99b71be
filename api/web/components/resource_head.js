// The top of the page of a pool, teacher, distillation, data set or device.
import { html } from "htm/preact";
import { Actions } from "./actions.js";
import { Card, Facts, Link, Progress, Status, Time } from "./parts.js";
import { KINDS, isFinal } from "../model/lifecycle.js";
import { progressOf } from "../model/progress.js";

/** `facts`: what this kind has beside owner and times. */
export function ResourceHead({ kind, item, facts = [], onDone }) {
  const progress = progressOf(kind, item);
  return html`
    <div class="head">
      <div>
        <div class="kind">${KINDS[kind].one}${item.spec.dataset && html` on <${Link} page="datasets" name=${item.spec.dataset} />`}</div>
        <h1>${item.name}</h1>
        <div class="row"><${Status} status=${item.status} /><span class="quiet">${item.status_reason}</span></div>
      </div>
      <${Actions} kind=${kind} item=${item} onDone=${onDone} />
    </div>
    <${Card}>
      <${Facts} items=${[
        ...facts,
        ["Submitted", html`<${Time} at=${item.created_at} />`],
        ["Ended", item.finished_at && isFinal(item.status) && html`<${Time} at=${item.finished_at} />`],
        ["Archived", item.archived_at && html`<${Time} at=${item.archived_at} />`],
        ["Owner", item.owner],
        ["Id", html`<span class="mono">${item.id}</span>`],
      ]} />
      ${progress && html`<${Progress} ...${progress} />`}
    </${Card}>`;
}
