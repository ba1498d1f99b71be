// What a new spec starts with: what it cannot do without.

/** Return a spec of a kind; `known` has the names of ready data sets and pools. */
export function template(kind, { datasets = [], pools = [], student = null } = {}) {
  const dataset = datasets[0] ?? "my-data";
  const pool = pools[0] ?? "my-pool";
  switch (kind) {
    case "dataset": return { name: "my-data", paths: ["/data/my-data"] };
    case "pool": return { name: "my-pool", dataset };
    case "device": return { name: "my-device" };
    case "teacher": return { name: "my-teacher", dataset, resolution: "640x640", train: { backbone: "resnet50", training: { epochs: 24 } } };
    case "distillation": return { name: "my-distillation", dataset, pool, student: student ? { trial: student } : { base: {} }, num_sampled_teachers: 3 };
    default: return { name: "my-search", dataset, pool };
  }
}

/** Return a copy of an earlier spec under a name that is free: "first" becomes "first-2". */
export function cloned(spec, names) {
  const [, stem, number] = /^(.*?)(?:-(\d+))?$/.exec(spec.name);
  let next = Number(number ?? 1) + 1;
  while (names.includes(`${stem}-${next}`)) next += 1;
  return { ...spec, name: `${stem}-${next}` };
}

/** Return the spec of a pool that trains the last phase of an earlier one further. */
export function extendedPool({ pretrained, source, ...spec }, names) {
  return { ...cloned(spec, names), start_from: spec.name, phases: spec.phases.slice(-1) };
}
