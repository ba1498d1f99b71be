// The buttons of a resource: pause, resume, cancel, kill, extend, finish, rename, delete, archive, clone.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { call, patch, post, remove } from "../api.js";
import { go, href } from "../router.js";
import { KINDS, actionsOf, isFinal } from "../model/lifecycle.js";
import { Extend, Finish, Rename } from "./action_dialogs.js";
import { Confirm } from "./dialog.js";
import { tell } from "./toasts.js";

const DONE = {
  pause: "is asked to pause", resume: "resumes", cancel: "is asked to end", kill: "ends", recheck: "is checked again",
  delete: "was deleted", rename: "was renamed", extend: "continues", finish: "starts no further search trial",
  archive: "is archived", unarchive: "is listed again",
};
const END_EARLY = "It starts no further search trial: running ones end, the best detectors are finished as its budget says, and controls follow. Extend takes that back.";

/** Buttons for what can be done with `item` now; `onDone` reads it again.
 *
 * `numTrials`: search trials that a search has so far; without them it cannot be finished early. */
export function Actions({ kind, item, onDone, small = false, numTrials = null }) {
  const [asked, setAsked] = useState(null);
  const isEarly = kind === "search" && !isFinal(item.status);
  const actions = actionsOf(kind, item.status, item.archived_at !== null).filter(({ verb }) => verb !== "finish" || (isEarly ? numTrials > 0 : !small));
  const ask = (action) => (action.warning || ["extend", "finish", "rename"].includes(action.verb) ? setAsked(action) : act(action.verb));
  async function act(verb, body) {
    setAsked(null);
    try {
      const answer = await send(kind, item, verb, body);
      tell(verb === "finish" && !isEarly ? `Submitted: ${answer.map((each) => each.name).join(", ")}` : `${item.name} ${DONE[verb]}`);
      if (verb === "delete") go("home");
      else if (verb === "rename") go(KINDS[kind].list, answer.name);
      onDone?.();
    } catch (problem) {
      tell(problem.message, "bad");
    }
  }
  const size = small ? "small" : "";
  return html`<div class="row">
    ${actions.map((action) => (kind === "pool" && action.verb === "extend"
      ? html`<a key="extend" class="button ${size}" href=${href("submit", "pool", { extend: item.name })} aria-label=${small ? `Extend ${item.name}` : undefined}>Extend</a>`
      : html`<button key=${action.verb} type="button" class="${size} ${["kill", "delete"].includes(action.verb) ? "danger" : ""}"
        onClick=${() => ask(action)} aria-label=${small ? `${title(action.verb)} ${item.name}` : undefined}>${action.verb === "finish" && isEarly ? "Finish now" : title(action.verb)}</button>`))}
    ${!small && html`<a class="button" href=${href("submit", kind, { from: item.name })}>Clone</a>`}
    ${asked && html`<${Question} kind=${kind} item=${item} action=${asked} isEarly=${isEarly} numTrials=${numTrials}
      onAnswer=${(body) => act(asked.verb, body)} onClose=${() => setAsked(null)} />`}
  </div>`;
}

/** What is asked before an action. */
function Question({ kind, item, action, isEarly, numTrials, onAnswer, onClose }) {
  if (action.verb === "extend" && kind === "search") return html`<${Extend} item=${item} onExtend=${onAnswer} onClose=${onClose} />`;
  if (action.verb === "rename") return html`<${Rename} item=${item} onRename=${onAnswer} onClose=${onClose} />`;
  if (action.verb === "finish" && !isEarly) return html`<${Finish} item=${item} onFinish=${onAnswer} onClose=${onClose} />`;
  const [verb, warning] = action.verb === "finish" ? ["Finish", END_EARLY]
    : action.verb === "extend" ? ["Continue", "It is queued again and continues from its last checkpoint."] : [title(action.verb), action.warning];
  return html`<${Confirm} title=${`${verb} ${item.name}?`} warning=${warning} verb=${verb} onClose=${onClose}
    onConfirm=${() => onAnswer(action.verb === "finish" ? { max_trials: numTrials } : undefined)} />`;
}

const title = (verb) => verb[0].toUpperCase() + verb.slice(1);

function send(kind, item, verb, body) {
  const path = `/${KINDS[kind].list}/${item.id}`;
  if (verb === "delete") return remove(path);
  if (verb === "rename") return patch(path, body);
  if (verb === "finish") return isFinal(item.status) ? post(`${path}/finish`, body) : endEarly(path, body.max_trials);
  if (verb === "extend" && kind === "search") return post(`${path}/extend`, body);
  return call(`${path}/${verb}`, { method: "POST" });
}

/** Lower the budget to the trials that a search has. One may start at this moment, and the service
 * refuses a budget below what is there: then it is one trial more. */
async function endEarly(path, numTrials) {
  try {
    return await post(`${path}/extend`, { max_trials: numTrials });
  } catch (problem) {
    if (problem.status !== 422) throw problem;
    return post(`${path}/extend`, { max_trials: numTrials + 1 });
  }
}
