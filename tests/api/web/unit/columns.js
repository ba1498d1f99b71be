import { confirmations, empty, merged, noiseFloor, rows, withGains } from "/model/columns.js";
import { equal } from "./equal.js";

const ANSWER = {
  event: 7, resolutions: ["64x64", "96x96"],
  trials: { name: ["base", "0"], parent: [null, "base"], role: ["base", "search"], score: [0.5, 0.55], status: ["succeeded", "running"] },
  evaluations: { trial: [0, 0, 1], resolution: [0, 1, 1], score: [0.4, 0.5, 0.55], ap: [0.4, 0.5, 0.5], ap50: [0.6, 0.7, 0.7], macs: [1, 2, 2], latency_s: [0.1, 0.2, 0.2] },
};

export function columns_become_rows() {
  equal(rows({ a: [1, 2], b: ["x", "y"] }), [{ a: 1, b: "x" }, { a: 2, b: "y" }]);
}

export function a_trial_has_the_figures_of_its_best_resolution() {
  const { trials, event } = merged(empty(), ANSWER);
  equal([event, trials.get("base").resolution, trials.get("base").ap], [7, "96x96", 0.5]);
}

export function a_trial_has_the_methods_of_its_column_or_none() {
  const methods = ["cwd 5", "cwd 5, sgfi 1"];
  const searched = merged(empty(), { ...ANSWER, trials: { ...ANSWER.trials, methods } });
  equal([searched.trials.get("0").methods, merged(empty(), ANSWER).trials.get("0").methods], ["cwd 5, sgfi 1", null]);
}

export function what_changed_replaces_its_trial_and_keeps_the_order() {
  const known = merged(empty(), ANSWER);
  const changed = { ...ANSWER, event: 9, trials: { name: ["base"], parent: [null], role: ["base"], score: [0.6], status: ["succeeded"] }, evaluations: { trial: [], resolution: [] } };
  const { trials, event } = merged(known, changed);
  equal([event, [...trials.keys()], trials.get("base").score], [9, ["base", "0"], 0.6]);
  equal(known.trials.get("base").score, 0.5);
}

export function a_gain_is_relative_to_the_parent() {
  const [base, first] = withGains(merged(empty(), ANSWER).trials);
  equal([base.gain, first.gain.toFixed(2)], [null, "0.05"]);
}

export function the_noise_is_the_deviation_of_trial_0_and_its_repetitions() {
  const trials = [{ name: "0", role: "search", score: 0.4 }, { name: "noise-1", role: "noise", score: 0.5 }, { name: "1", role: "search", score: 0.9 }];
  equal(noiseFloor(trials).toFixed(4), "0.0707");
  equal(noiseFloor(trials.slice(0, 1)), null);
}

export function a_confirmation_tells_both_scores() {
  const trials = new Map([["7", { name: "7", role: "search", score: 0.5 }], ["confirm-7", { name: "confirm-7", role: "confirm", score: null, completion: 3 }]]);
  equal(confirmations(trials), [{ name: "7", verdict: "refused", first: 0.5, second: null }]);
}

export function figures_that_no_evaluation_has_are_null() {
  const evaluations = { ...ANSWER.evaluations, cost: [], class_ap: [0.1, 0.2, 0.3] };
  const { trials, classes } = merged(empty("cat"), { ...ANSWER, evaluations, classes: ["cat"] });
  const [, shown] = trials.get("base").evaluations;
  equal([shown.cost, shown.device_latency_s, shown.class_ap, classes], [null, null, 0.2, ["cat"]]);
}
