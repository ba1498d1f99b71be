// What lies behind an AP: classes, kinds of error (TIDE), and single detections.

/** What each kind of error means; IoU .50 is a hit. */
export const ERRORS = {
  classification: "found, but called another class",
  localisation: "right class, box off (IoU .10 to .50)",
  both: "wrong class, and box off",
  duplicate: "an object found once more",
  background: "nothing is there",
  missed: "an object that was not found",
};

/** The breakdown of a detector at a resolution; null if it has none. */
export const breakdownAt = (detector, resolution) => detector?.breakdowns.find((each) => each.resolution === resolution) ?? null;

/** Return `[{name, own, base}]`: AP by class, the one with the largest loss against the base first. */
export function classesBesideBase(own, base) {
  const rows = Object.entries(own.class_aps).map(([name, ap]) => ({ name, own: ap, base: base?.class_aps[name] ?? null }));
  return base ? rows.sort((one, other) => (one.own - one.base) - (other.own - other.base)) : rows;
}

/** Return `[{kind, meaning, own, base}]`: the figures of each kind of error, the costliest first. */
export function errorsBesideBase(own, base) {
  return Object.keys(ERRORS)
    .map((kind) => ({ kind, meaning: ERRORS[kind], own: own.errors[kind], base: base?.errors[kind] ?? null }))
    .sort((one, other) => other.own.lost_ap - one.own.lost_ap);
}

/** Return a detector whose evaluations have the AP of a class as `class_ap`, as the trials of a search have. */
export function withClassAps(detector, name) {
  const evaluations = detector.evaluations.map((each) => ({ ...each, class_ap: breakdownAt(detector, each.resolution)?.class_aps[name] ?? null }));
  return { ...detector, evaluations };
}

const HIT_IOU = 0.5;

/** Judge the detections with at least a score against the objects of an image, best first, as COCO does.
 *
 * Boxes are x, y, width, height. Returns `{boxes: [{...detection, isHit}], numHits, numMissed}`. */
export function judged(detections, objects, minScore) {
  const free = new Set(objects.keys());
  const boxes = detections.filter(({ score }) => score >= minScore).map((detection) => {
    const found = bestFree(detection, objects, free);
    free.delete(found);
    return { ...detection, isHit: found !== null };
  });
  return { boxes, numHits: objects.length - free.size, numMissed: free.size };
}

function bestFree({ bbox, class_name: name }, objects, free) {
  let [best, most] = [null, HIT_IOU];
  for (const index of free) {
    if (objects[index].class_name !== name) continue;
    const iou = overlap(bbox, objects[index].bbox);
    if (iou >= most) [best, most] = [index, iou];
  }
  return best;
}

/** The intersection over union of two boxes. */
export function overlap([x, y, width, height], [left, top, wide, high]) {
  const across = Math.min(x + width, left + wide) - Math.max(x, left);
  const down = Math.min(y + height, top + high) - Math.max(y, top);
  if (across <= 0 || down <= 0) return 0;
  return (across * down) / (width * height + wide * high - across * down);
}
