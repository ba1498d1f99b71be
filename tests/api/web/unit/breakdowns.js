import { classesBesideBase, errorsBesideBase, judged, overlap, withClassAps } from "/model/breakdowns.js";
import { equal } from "./equal.js";

export function the_class_that_lost_most_against_the_base_comes_first() {
  const rows = classesBesideBase({ class_aps: { cat: 0.5, dog: 0.4 } }, { class_aps: { cat: 0.4, dog: 0.6 } });
  equal(rows.map((row) => row.name), ["dog", "cat"]);
  equal(classesBesideBase({ class_aps: { cat: 0.5 } }, null), [{ name: "cat", own: 0.5, base: null }]);
}

export function the_costliest_error_comes_first() {
  const figures = (lost) => ({ count: 1, lost_ap: lost });
  const errors = { classification: figures(0.1), localisation: figures(0.3), both: figures(0), duplicate: figures(0), background: figures(0), missed: figures(0.2) };
  equal(errorsBesideBase({ errors }, null).map((row) => row.kind).slice(0, 3), ["localisation", "missed", "classification"]);
}

export function boxes_overlap_by_their_share_of_the_union() {
  equal(overlap([0, 0, 10, 10], [5, 0, 10, 10]).toFixed(4), "0.3333");
  equal(overlap([0, 0, 10, 10], [10, 0, 10, 10]), 0);
}

export function an_object_is_found_once_by_the_best_detection_of_its_class() {
  const objects = [{ class_name: "cat", bbox: [0, 0, 10, 10] }, { class_name: "dog", bbox: [50, 50, 10, 10] }];
  const detections = [
    { class_name: "cat", score: 0.9, bbox: [0, 0, 10, 9] }, { class_name: "cat", score: 0.8, bbox: [0, 0, 10, 10] },
    { class_name: "cat", score: 0.7, bbox: [50, 50, 10, 10] }, { class_name: "dog", score: 0.1, bbox: [50, 50, 10, 10] },
  ];
  const { boxes, numHits, numMissed } = judged(detections, objects, 0.3);
  equal(boxes.map((box) => box.isHit), [true, false, false]);
  equal([numHits, numMissed], [1, 1]);
}

export function an_evaluation_has_the_ap_of_a_class_where_it_was_measured() {
  const detector = { evaluations: [{ resolution: "64x64" }, { resolution: "96x96" }], breakdowns: [{ resolution: "96x96", class_aps: { cat: 0.5 } }] };
  equal(withClassAps(detector, "cat").evaluations.map((each) => each.class_ap), [null, 0.5]);
}
