import { plotted, valueText, withInterval } from "/model/sweeps.js";
import { equal } from "./equal.js";

const student = (value, ap, test = null) => ({ value, ap, test, baseline: null, as_submitted: false });

export function a_student_is_named_by_its_value_or_its_baseline() {
  equal(valueText(student(0.02, null)), "0.02");
  equal(valueText({ ...student(null, null), as_submitted: true }), "default (as submitted)");
  equal(valueText({ ...student(null, null), baseline: "no_teacher" }), "baseline no teacher");
}

export function an_ap_is_shown_with_its_interval_if_it_has_one() {
  equal(withInterval({ ap: 0.5, low: 0.45, high: 0.551 }), "50.0 [45.0, 55.1]");
  equal([withInterval({ ap: 0.5, low: null, high: null }), withInterval(null)], ["50.0", null]);
}

export function numbers_are_plotted_in_ascending_order() {
  const found = plotted([student(10, 0.5, { ap: 0.25, low: 0, high: 0.5 }), student(0.5, 0.25), student(2, null)]);
  equal(found.labels, ["0.5", "10"]);
  equal(found.data, [[0, 1], [25, 50], [null, 25], [null, 0], [null, 50]]);
}

export function other_values_are_plotted_as_given() {
  equal(plotted([student("linear", 0.5), student("cosine", 0.25)]).labels, ["linear", "cosine"]);
}

export function baselines_are_not_plotted() {
  equal(plotted([{ ...student(null, 0.5), baseline: "direct" }]).labels, []);
}
