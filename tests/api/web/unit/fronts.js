import { byAction, byCause } from "/model/actions.js";
import { accuracyOf, axisChoices, classOf, firstAxes, frontOf, incumbents, pointsOf } from "/model/pareto.js";
import { groupsOf, nearest, within } from "/model/points.js";
import { equal } from "./equal.js";

const trial = (name, score, more = {}) => ({ name, score, role: "search", completion: Number(name), gain: null, status: "succeeded", ...more });

export function only_points_that_nothing_beats_are_on_the_front() {
  const points = [{ x: 1, y: 3 }, { x: 2, y: 2 }, { x: 3, y: 5 }, { x: 4, y: 5 }];
  equal(frontOf(points), [{ x: 1, y: 3 }, { x: 3, y: 5 }]);
}

export function a_detector_is_a_point_at_every_resolution_cheapest_first() {
  const evaluations = [{ macs: 2e9, ap: 0.5 }, { macs: 1e9, ap: 0.4 }];
  const points = pointsOf([{ params: 5e6, evaluations }], "macs", "ap");
  equal(points.map(({ x, y }) => [x, y]), [[1, 40], [2, 50]]);
}

export function the_incumbent_is_the_best_score_so_far() {
  const line = incumbents([trial("1", 0.4), trial("0", 0.5), trial("2", 0.6), trial("3", 0.9, { role: "control" })]);
  equal(line.map(([x, y]) => [x, y]), [[0, 0.5], [1, 0.5], [2, 0.6]]);
}

export function an_action_is_judged_by_how_often_and_how_much_it_gained() {
  const trials = [
    trial("0", 0.5, { action: "prune_layer", gain: 0.02 }), trial("1", 0.4, { action: "prune_layer", gain: -0.01 }),
    trial("2", null, { action: "add_layer", status: "failed" }), trial("3", null, { action: "add_layer", status: "skipped" }),
  ];
  const [first, second] = byAction(trials);
  equal([first.action, first.tried, first.gained, first.mean.toFixed(3), first.best], ["prune_layer", 2, 1, "0.005", 0.02]);
  equal([second.tried, second.failed, second.mean], [2, 1, null]);
}

export function failures_are_told_by_cause_most_frequent_first() {
  const failed = (name, cause) => ({ name, cause, status: "failed" });
  const causes = byCause([failed("1", "bug"), failed("2", "out_of_memory"), failed("3", "bug"), trial("4", 0.5)]);
  equal(causes.map(({ cause, trials }) => [cause, trials.length]), [["bug", 2], ["out_of_memory", 1]]);
}

const SCALE = { x: { offset: 0, factor: 10 }, y: { offset: 100, factor: -10 } };
const POINTS = [{ x: 1, y: 1, group: "a" }, { x: 5, y: 5, group: "b" }];

export function the_nearest_point_within_reach_is_found() {
  equal(nearest(POINTS, SCALE, { left: 12, top: 88 }, 10).point, POINTS[0]);
  equal(nearest(POINTS, SCALE, { left: 30, top: 70 }, 10), null);
}

export function a_box_chooses_the_points_within_it() {
  equal(within(POINTS, SCALE, { left: 40, top: 40, width: 20, height: 20 }), [POINTS[1]]);
}

export function groups_and_lines_share_an_ascending_x() {
  const columns = groupsOf(POINTS, [{ name: "a" }, { name: "b" }], [{ points: [{ x: 3, y: 4 }] }]);
  equal(columns, [[1, 3, 5], [1, null, null], [null, null, 5], [null, 4, null]]);
}

export function an_axis_of_a_class_shows_its_ap_where_it_was_measured() {
  const evaluations = [{ macs: 1e9, ap: 0.4, class_ap: 0.25 }, { macs: 2e9, ap: 0.5, class_ap: -1 }, { macs: 3e9, ap: 0.5, class_ap: null }];
  const points = pointsOf([{ params: 5e6, evaluations }], "macs", "class:cat");
  equal(points.map(({ x, y }) => [x, y]), [[1, 25]]);
  equal([classOf("class:cat"), classOf("ap"), accuracyOf("class:cat").label], ["cat", null, "AP of cat, %"]);
}

export function mask_ap_is_an_axis_where_masks_are_found_and_the_first_one_of_a_search_that_ranks_by_it() {
  const masks = { params: 1, evaluations: [{ macs: 1e9, ap: 0.5, mask_ap: 0.4 }] };
  const boxes = { params: 1, evaluations: [{ macs: 1e9, ap: 0.5, mask_ap: null }] };
  equal(axisChoices([boxes, masks], [], null).y.at(-1), ["mask_ap", "mask AP"]);
  equal(axisChoices([boxes], [], null).y.at(-1), ["ap75", "AP75"]);
  equal(pointsOf([boxes, masks], "macs", "mask_ap").map(({ x, y }) => [x, y]), [[1, 40]]);
  equal(firstAxes({ spec: { score: { accuracy: "mask_ap" } } }), { x: "macs", y: "mask_ap" });
  equal(firstAxes(null), { x: "macs", y: "ap" });
}

export function latency_on_a_device_is_an_axis_where_the_search_counts_it() {
  const trials = [{ evaluations: [{ device_latency_s: null }, { device_latency_s: 0.01 }] }];
  equal(axisChoices(trials, [], null).x.map(([key]) => key), ["macs", "params", "latency_s"]);
  equal(axisChoices(trials, ["cat"], "pi").x.at(-1), ["device_latency_s", "latency measured on pi"]);
  equal(axisChoices([], ["cat"], "pi").y.at(-1), ["class:cat", "AP of cat"]);
}
