// What each kind of resource is called, and what a user can do with it in which status.
export const KINDS = {
  search: { list: "searches", title: "Searches", one: "Search" },
  distillation: { list: "distillations", title: "Distillations", one: "Distillation" },
  pool: { list: "pools", title: "Pools", one: "Pool" },
  teacher: { list: "teachers", title: "Teachers", one: "Teacher" },
  dataset: { list: "datasets", title: "Data sets", one: "Data set" },
  device: { list: "devices", title: "Devices", one: "Device" },
};

const ENDED = new Set(["succeeded", "ready", "failed", "cancelled"]);
const BUSY = new Set(["preparing", "running", "training", "checking", "measuring", "exporting", "pausing", "cancelling"]);

export const isFinal = (status) => ENDED.has(status);
export const isBusy = (status) => BUSY.has(status);

/** How often a resource is read again, in milliseconds: not once it has ended. */
export const untilFinal = (item) => (item && isFinal(item.status) ? null : 4000);

/** How a status is coloured: good, bad, busy or quiet. */
export function tone(status) {
  if (status === "succeeded" || status === "ready") return "good";
  if (status === "failed") return "bad";
  return isBusy(status) ? "busy" : "quiet";
}

const ASKS = {
  pause: "It stops within one time slice and frees its CPUs and GPUs. Resume continues from its last checkpoint; no training is lost.",
  resume: null,
  cancel: "It ends within one time slice. Finished results are kept; more cannot be added unless you extend it.",
  kill: "It ends at once, without waiting for its workers. Finished results are kept; the training of this moment is lost.",
  delete: "It failed before its first result. Its entry and files are removed for good.",
  recheck: null,
  archive: "Lists leave it out, until you unarchive it; the status “archived” of the overview lists it. Nothing is deleted, and its name stays taken.",
  unarchive: null,
};
const ASKS_OF = {
  dataset: { delete: "Its entry is removed for good, and the annotation files that its check wrote. Your images and annotations stay." },
  device: { delete: "Its entry and its table are removed for good." },
};

/** Return what can be done: `{verb, warning}`; a warning is confirmed first. */
export function actionsOf(kind, status, isArchived = false) {
  const last = isFinal(status) ? [isArchived ? "unarchive" : "archive"] : [];
  return [...verbsOf(kind, status), ...last].map((verb) => ({ verb, warning: ASKS_OF[kind]?.[verb] ?? ASKS[verb] ?? null }));
}

function verbsOf(kind, status) {
  if (kind === "dataset") return status === "checking" ? ["rename"] : ["rename", "recheck", "delete"];
  if (kind === "device") return isFinal(status) ? ["delete"] : [];
  if (status === "failed" || status === "cancelled") return [...extendable(kind), ...(status === "failed" ? ["delete"] : [])];
  if (isFinal(status)) return kind === "search" ? ["extend", "finish"] : kind === "pool" ? ["extend"] : [];
  if (status === "checking" || status === "cancelling") return [];
  if (status === "paused" || status === "pausing") return ["resume", "cancel", "kill"];
  return ["pause", ...(kind === "search" ? ["extend"] : []), ...(kind === "search" && status === "running" ? ["finish"] : []), "cancel", "kill"];
}

const extendable = (kind) => (kind === "search" || kind === "distillation" ? ["extend"] : []);

/** Whether an item is shown: its status, and every word of the text in its name, status or reason. What is archived is a list of its own. */
export function matches(item, { text = "", status = "" }) {
  const where = [item.name, item.status, item.status_reason, item.spec?.dataset, item.owner].join(" ").toLowerCase();
  const isWanted = status === "" || status === "archived" || (status === "active" ? !isFinal(item.status) : item.status === status);
  return isWanted && text.toLowerCase().split(/\s+/).every((word) => where.includes(word));
}
