// The losses of running trials while the page is open, from the progress that workers report.
import { html } from "htm/preact";
import { useRef } from "preact/hooks";
import { Lines } from "../charts/plot.js";
import { SERIES } from "../charts/colors.js";

const KEPT = 400;

export function RunningLosses({ running }) {
  const seen = useRef(new Map());
  for (const trial of running) remember(seen.current, trial);
  const shown = running.filter((trial) => (seen.current.get(trial.name)?.length ?? 0) > 1).slice(0, SERIES.length);
  if (shown.length === 0) return null;
  const xs = [...new Set(shown.flatMap((trial) => seen.current.get(trial.name).map(([x]) => x)))].sort((a, b) => a - b);
  const data = [xs, ...shown.map((trial) => {
    const losses = new Map(seen.current.get(trial.name));
    return xs.map((x) => losses.get(x) ?? null);
  })];
  return html`<h3>Loss since this page was opened</h3>
    <${Lines} x=${{ label: "epochs", yLabel: "loss" }} data=${data} height=${200} label="Loss of the running trials by epoch"
      series=${shown.map((trial, index) => ({ label: `trial ${trial.name}`, color: SERIES[index] }))} />`;
}

function remember(seen, { name, progress }) {
  if (!progress?.losses?.loss || !progress.num_iterations) return;
  const x = progress.epoch - 1 + progress.iteration / progress.num_iterations;
  const losses = seen.get(name) ?? [];
  if (losses.at(-1)?.[0] !== x) seen.set(name, [...losses, [x, progress.losses.loss]].slice(-KEPT));
}
