import { stageMacs, stagesOf } from "/model/architecture.js";
import { childrenOf, pathTo, visibleRows } from "/model/lineage.js";
import { teacherSize } from "/model/teachers.js";
import { equal } from "./equal.js";

const TRIALS = [{ name: "base", parent: null }, { name: "0", parent: "base" }, { name: "1", parent: "0" }, { name: "2", parent: "base" }];

export function a_closed_branch_hides_its_children() {
  const rows = visibleRows(childrenOf(TRIALS), new Set(["base"]));
  equal(rows.map(({ trial, depth, numChildren }) => [trial.name, depth, numChildren]), [["base", 0, 1 + 1], ["0", 1, 1], ["2", 1, 0]]);
}

export function an_open_branch_shows_them_below_their_parent() {
  const rows = visibleRows(childrenOf(TRIALS), new Set(["base", "0"]));
  equal(rows.map(({ trial }) => trial.name), ["base", "0", "1", "2"]);
}

export function a_trial_of_another_run_is_no_parent_here() {
  equal(childrenOf([{ name: "base", parent: "s-other-3" }]).get(null).length, 1);
}

export function the_path_leads_from_the_root() {
  equal(pathTo(new Map(TRIALS.map((trial) => [trial.name, trial])), "1"), ["base", "0", "1"]);
}

const block = (channels, stride = 1, shortcut = "identity") => ({ channels, stride, shortcut, groups: 1 });
const BACKBONE = {
  kind: "basic", stem_channels: 2,
  stages: [[block([2, 2])], [block([4, 4], 2, "projection")], [block([4, 4], 2, "subsample"), block([4, 4])], [block([4, 4], 2, "subsample")]],
};

export function a_stage_has_its_depth_widths_and_output() {
  equal(stagesOf(BACKBONE)[2], { depth: 2, widths: [[4, 4], [4, 4]], out: 4 });
}

export function macs_are_counted_by_stage_at_a_resolution() {
  // 64 pixels: 16 x 16 cells in stage 1, then 8 x 8, 4 x 4, 2 x 2
  equal(stageMacs(BACKBONE, 64, 64), [9 * 8 * 256, (9 * (8 + 16) + 8) * 64, 2 * 9 * 32 * 16, 9 * 32 * 4]);
}

export function a_subnet_is_as_large_as_its_depths_and_squared_widths() {
  equal(teacherSize("d2-3-4-2 w1/1.5/1/1 n256"), 2 + 3 * 2.25 + 4 + 2);
  equal([teacherSize("swin"), teacherSize(null)], [null, null]);
}
