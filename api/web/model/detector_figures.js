// The figures of a detector beside those of its base, at each resolution.

/** Return `[{resolution, own, base}]`, largest input last; `base` is null where it was not measured. */
export function besideBase(evaluations, baseEvaluations = []) {
  const base = new Map(baseEvaluations.map((each) => [each.resolution, each]));
  return evaluations.map((own) => ({ resolution: own.resolution, own, base: base.get(own.resolution) ?? null }));
}

/** Return the losses of epochs as columns of a plot: epochs counted through, then each term. */
export function lossColumns(epochs) {
  const names = [...new Set(epochs.flatMap((epoch) => Object.keys(epoch.losses)))].sort((one, other) => (one === "loss" ? -1 : other === "loss" ? 1 : one < other ? -1 : 1));
  return { names, data: [epochs.map((_, index) => index + 1), ...names.map((name) => epochs.map((epoch) => epoch.losses[name] ?? null))] };
}
