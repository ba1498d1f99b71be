// The Pareto front and the axes of its plot.
import { giga, mega, milliseconds, percent } from "./numbers.js";

export const COSTS = {
  macs: { label: "GMACs per image", unit: 1e9, text: (v) => `${giga(v)} GMACs` },
  params: { label: "million parameters", unit: 1e6, text: (v) => `${mega(v)} M parameters` },
  latency_s: { label: "latency, ms per image", unit: 1e-3, text: (v) => `${milliseconds(v)} ms` },
};
export const ACCURACIES = {
  ap: { label: "AP, %", unit: 0.01, text: (v) => `AP ${percent(v)} %` },
  ap50: { label: "AP50, %", unit: 0.01, text: (v) => `AP50 ${percent(v)} %` },
  ap75: { label: "AP75, %", unit: 0.01, text: (v) => `AP75 ${percent(v)} %` },
};

/** Return every detector at every resolution as a point of the chosen axes, by ascending cost. */
export function pointsOf(trials, x, y) {
  const points = [];
  for (const trial of trials) {
    for (const evaluation of trial.evaluations) {
      const cost = x === "params" ? trial.params : evaluation[x];
      if (cost !== null) points.push({ trial, evaluation, x: cost / COSTS[x].unit, y: evaluation[y] / ACCURACIES[y].unit });
    }
  }
  return points.sort((one, other) => one.x - other.x || other.y - one.y);
}

/** Return the points that no other point beats in both cost and accuracy, of points by ascending cost. */
export function frontOf(points) {
  let best = -Infinity;
  return points.filter((point) => {
    if (point.y <= best) return false;
    best = point.y;
    return true;
  });
}

/** Return the best score so far after each completed search trial: `[[completion, score, trial]]`. */
export function incumbents(trials) {
  const done = trials
    .filter((trial) => trial.completion !== null && trial.score !== null && ["search", "finish"].includes(trial.role))
    .sort((one, other) => one.completion - other.completion);
  let best = null;
  return done.map((trial) => {
    if (best === null || trial.score > best.score) best = trial;
    return [trial.completion, best.score, best];
  });
}
