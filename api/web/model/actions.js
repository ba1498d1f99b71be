// What each kind of edit brought: how often it was tried, how often it gained, and how much.

/** Return `{action, tried, gained, failed, mean, best}` of search trials, most tried first. */
export function byAction(trials) {
  const groups = new Map();
  for (const trial of trials) {
    if (trial.role !== "search" || trial.completion === null) continue;
    const group = groups.get(trial.action) ?? { action: trial.action, tried: 0, gained: 0, failed: 0, gains: [] };
    group.tried += 1;
    if (trial.gain === null) group.failed += trial.status === "failed" ? 1 : 0;
    else group.gains.push(trial.gain);
    if (trial.gain > 0) group.gained += 1;
    groups.set(trial.action, group);
  }
  return [...groups.values()].map(summed).sort((one, other) => other.tried - one.tried);
}

function summed({ gains, ...group }) {
  const mean = gains.length ? gains.reduce((sum, gain) => sum + gain, 0) / gains.length : null;
  return { ...group, mean, best: gains.length ? gains.reduce((one, other) => Math.max(one, other)) : null };
}

/** Return the failed trials in groups of one cause, most frequent first. */
export function byCause(trials) {
  const groups = new Map();
  for (const trial of trials) {
    if (trial.status !== "failed") continue;
    const cause = trial.cause ?? "unknown";
    groups.set(cause, [...(groups.get(cause) ?? []), trial]);
  }
  return [...groups].map(([cause, failed]) => ({ cause, trials: failed })).sort((a, b) => b.trials.length - a.trials.length);
}
