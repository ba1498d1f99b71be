// The lineage of a search as rows of a tree, of which branches can be closed.

/** Return the children of every trial, by its name; roots are the children of null. */
export function childrenOf(trials) {
  const children = new Map([[null, []]]);
  const names = new Set(trials.map((trial) => trial.name));
  for (const trial of trials) {
    const parent = names.has(trial.parent) ? trial.parent : null;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(trial);
  }
  return children;
}

/** Return the names from the root to a trial. */
export function pathTo(trials, name) {
  const path = [];
  for (let trial = trials.get(name); trial && !path.includes(trial.name); trial = trials.get(trial.parent)) {
    path.unshift(trial.name);
  }
  return path;
}

/** Return the rows that are seen: `{trial, depth, numChildren, isOpen}`, parents before children. */
export function visibleRows(children, open) {
  const rows = [];
  const waiting = (children.get(null) ?? []).map((trial) => ({ trial, depth: 0 })).reverse();
  while (waiting.length > 0) {
    const { trial, depth } = waiting.pop();
    const below = children.get(trial.name) ?? [];
    const isOpen = open.has(trial.name);
    rows.push({ trial, depth, numChildren: below.length, isOpen });
    if (isOpen) for (const child of [...below].reverse()) waiting.push({ trial: child, depth: depth + 1 });
  }
  return rows;
}
