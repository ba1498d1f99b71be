// The trials of a search, made from the columns of the API and kept up to date by its deltas.

/** Trials by name in the order they were proposed, their evaluations, and the last event read.
 *
 * `className`: the class whose AP the evaluations have as `class_ap`; null for none. */
export function empty(className = null) {
  return { event: 0, trials: new Map(), classes: [], className };
}

/** Return the trials with those of an answer of the API added or replaced. */
export function merged(known, answer) {
  const trials = new Map(known.trials);
  const changed = rows(answer.trials).map((trial) => ({ methods: null, ...trial, evaluations: [] }));
  for (const { trial, resolution, ...figures } of rows(answer.evaluations)) {
    changed[trial].evaluations.push({ ...ABSENT, ...figures, resolution: answer.resolutions[resolution] });
  }
  for (const trial of changed) trials.set(trial.name, { ...trial, ...bestOf(trial.evaluations) });
  return { ...known, event: answer.event, trials, classes: answer.classes?.length ? answer.classes : known.classes };
}

/** Figures that the API leaves out where no evaluation has them. */
const ABSENT = { mask_ap: null, cost: null, device_latency_s: null, class_ap: null };

/** Turn lists of equal length into one object for each position; empty lists are left out. */
export function rows(lists) {
  const names = Object.keys(lists).filter((name) => lists[name].length > 0);
  return (lists[names[0]] ?? []).map((_, index) => {
    const row = {};
    for (const name of names) row[name] = lists[name][index];
    return row;
  });
}

function bestOf(evaluations) {
  const best = evaluations.reduce((one, other) => ((other.score ?? -1) > (one?.score ?? -1) ? other : one), null);
  const { ap = null, ap50 = null, macs = null, latency_s = null, resolution = null } = best ?? {};
  return { ap, ap50, macs, latency_s, resolution };
}

/** Return the trials as a list, each with its gain over its parent and whether that may be chance. */
export function withGains(trials) {
  const list = [...trials.values()];
  const floor = noiseFloor(list);
  return list.map((trial) => {
    const parent = trials.get(trial.parent);
    const gain = trial.score === null || !parent || parent.score === null ? null : trial.score - parent.score;
    return { ...trial, gain, withinNoise: floor !== null && gain > 0 && gain < 2 * floor };
  });
}

/** The standard deviation of the scores of trial 0 and its repetitions; null where there are none. */
export function noiseFloor(trials) {
  const scores = trials
    .filter((trial) => (trial.role === "noise" || trial.name === "0") && trial.score !== null)
    .map((trial) => trial.score);
  if (scores.length < 2) return null;
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return Math.sqrt(scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / (scores.length - 1));
}

/** What became of each trial that was trained again before it was accepted, by its name. */
export function confirmations(trials) {
  const found = new Map();
  for (const trial of trials.values()) {
    if (trial.role !== "confirm") continue;
    const name = trial.name.slice("confirm-".length);
    const first = trials.get(name)?.score ?? null;
    const verdict = trial.score !== null ? "confirmed" : trial.completion !== null ? "refused" : "undecided";
    found.set(name, { name, verdict, first, second: trial.score });
  }
  return [...found.values()];
}
