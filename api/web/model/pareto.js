// The Pareto front and the axes of its plot.
import { giga, mega, milliseconds, percent } from "./numbers.js";

export const COSTS = {
  macs: { label: "GMACs per image", unit: 1e9, text: (v) => `${giga(v)} GMACs` },
  params: { label: "million parameters", unit: 1e6, text: (v) => `${mega(v)} M parameters` },
  latency_s: { label: "latency, ms per image", unit: 1e-3, text: (v) => `${milliseconds(v)} ms` },
  cost: { label: "predicted latency on the device, ms per batch", unit: 1e-3, text: (v) => `predicted ${milliseconds(v)} ms` },
  device_latency_s: { label: "latency on the device, ms per batch", unit: 1e-3, text: (v) => `${milliseconds(v)} ms on the device` },
};
export const ACCURACIES = {
  ap: { label: "AP, %", unit: 0.01, text: (v) => `AP ${percent(v)} %` },
  ap50: { label: "AP50, %", unit: 0.01, text: (v) => `AP50 ${percent(v)} %` },
  ap75: { label: "AP75, %", unit: 0.01, text: (v) => `AP75 ${percent(v)} %` },
  mask_ap: { label: "mask AP, %", unit: 0.01, text: (v) => `mask AP ${percent(v)} %` },
};

const OF_CLASS = "class:"; // before the name of a class in the choice of an axis

/** The class whose AP an axis shows; null for an axis of all classes. */
export const classOf = (y) => (y.startsWith(OF_CLASS) ? y.slice(OF_CLASS.length) : null);

/** How an axis of accuracy is drawn: its label, its unit, and the figure of an evaluation. */
export function accuracyOf(y) {
  const name = classOf(y);
  if (name === null) return { ...ACCURACIES[y], of: (evaluation) => evaluation[y] };
  return { label: `AP of ${name}, %`, unit: 0.01, text: (v) => `AP of ${name} ${percent(v)} %`, of: (evaluation) => evaluation.class_ap };
}

/** Return the choices of both axes, as lists of key and text.
 *
 * `classes`: those whose AP was measured; `device`: the one whose latency a search counts. */
export function axisChoices(trials, classes, device) {
  const costs = [["macs", "MACs"], ["params", "parameters"], ["latency_s", "latency"]];
  if (device) costs.push(["cost", `latency predicted for ${device}`]);
  if (device && trials.some(isMeasured)) costs.push(["device_latency_s", `latency measured on ${device}`]);
  const masks = trials.some(findsMasks) ? [["mask_ap", "mask AP"]] : [];
  return { x: costs, y: [["ap", "AP"], ["ap50", "AP50"], ["ap75", "AP75"], ...masks, ...classes.map((name) => [`${OF_CLASS}${name}`, `AP of ${name}`])] };
}

const isMeasured = (trial) => trial.evaluations.some((evaluation) => evaluation.device_latency_s !== null);

const findsMasks = (trial) => trial.evaluations.some((evaluation) => evaluation.mask_ap != null);

/** The axes that a search is shown by at first: the AP that it ranks by, against MACs. */
export const firstAxes = (search) => ({ x: "macs", y: search?.spec.score?.accuracy === "mask_ap" ? "mask_ap" : "ap" });

/** Return every detector at every resolution as a point of the chosen axes, by ascending cost; those
 * without one of the figures have no point. */
export function pointsOf(trials, x, y) {
  const points = [];
  const { unit, of } = accuracyOf(y);
  for (const trial of trials) {
    for (const evaluation of trial.evaluations) {
      const cost = x === "params" ? trial.params : evaluation[x];
      const accuracy = of(evaluation);
      if (cost !== null && accuracy !== null && accuracy >= 0) points.push({ trial, evaluation, x: cost / COSTS[x].unit, y: accuracy / unit });
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
