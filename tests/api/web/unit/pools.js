import { trainingProgress } from "/model/progress.js";
import { phaseEnds } from "/model/pool_phases.js";
import { equal } from "./equal.js";

const subnet = (macs, ap, resolution = "96x96") => ({ macs, ap, resolution });
const epochs = [
  { phase: "supernet", subnets: [] },
  { phase: "supernet", subnets: [subnet(9, 0.3)] },
  { phase: "shrink-1", subnets: [subnet(9, 0.4), subnet(4, 0.2)] },
  { phase: "shrink-2", subnets: [] },
];
const read = (ends) => ends.map(({ phase, epoch, largest, smallest }) => [phase, epoch, largest.ap, smallest?.ap ?? null]);

export function phases_end_with_their_largest_and_smallest_subnet() {
  equal(read(phaseEnds({ epochs, subnets: [] })), [["supernet", 2, 0.3, null], ["shrink-1", 3, 0.4, 0.2]]);
}

export function the_last_phase_ends_with_the_trained_pool_at_the_same_resolution() {
  const subnets = [subnet(9, 0.5), subnet(4, 0.1, "48x48"), subnet(5, 0.45), subnet(2, 0.35)];
  equal(read(phaseEnds({ epochs, subnets })).at(-1), ["shrink-2", 4, 0.5, 0.35]);
}

export function a_pool_of_an_earlier_version_has_no_ends_of_phases() {
  equal(phaseEnds({ epochs: [{ phase: "supernet", subnets: [] }], subnets: [subnet(9, 0.5)] }), []);
}

export function the_bar_of_a_pool_that_measures_subnets_counts_them() {
  const at = { stage: "evaluate", phase: "shrink-1", epoch: 2, num_epochs: 2, iteration: 1, num_iterations: 2, losses: {} };
  const { share, text } = trainingProgress(at);
  equal([share, text], [0.5, "shrink-1, measures subnet 2 of 2"]);
}
