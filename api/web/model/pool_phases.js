// What a pool's subnets could do at the end of each phase: the largest and the smallest of it.

/** Return `[{phase, epoch, largest, smallest}]` with measurements at one resolution; `epoch` counts
 * through all phases, `smallest` is null where a phase trains one subnet. The last phase's are those
 * of the trained pool. */
export function phaseEnds({ epochs, subnets }) {
  const ends = epochs.flatMap((epoch, index) => (epoch.subnets.length > 0 ? [extremes(epoch.phase, index + 1, epoch.subnets)] : []));
  if (ends.length === 0 || subnets.length === 0) return ends;
  const { resolution } = ends[0].largest;
  return [...ends, extremes(epochs.at(-1).phase, epochs.length, subnets.filter((each) => each.resolution === resolution))];
}

function extremes(phase, epoch, measured) {
  const bySize = [...measured].sort((one, other) => other.macs - one.macs);
  return { phase, epoch, largest: bySize[0], smallest: bySize.length > 1 ? bySize.at(-1) : null };
}
