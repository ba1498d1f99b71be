// How far work is, and how long it will take: from what is done so far, at the speed so far.
import { isBusy, isFinal } from "./lifecycle.js";

const ENDED = ["succeeded", "skipped", "failed", "cancelled"];

/** Return the progress of a resource of the overview; null where nothing can be said. */
export function progressOf(kind, item) {
  if (kind === "search") return searchProgress(item);
  if (kind === "distillation") return distillationProgress(item);
  return trainingProgress(item.status === "training" ? item.progress : null);
}

/** Return `{share, text, secondsLeft}` of a search; null where nothing can be said. */
export function searchProgress(search, now = Date.now()) {
  const allowed = search.budget?.max_trials;
  if (!search.trials || !allowed || isFinal(search.status)) return null;
  const ended = ENDED.reduce((sum, status) => sum + (search.trials[status] ?? 0), 0);
  const done = Math.max(0, ended - 1); // the base is no search trial
  const share = Math.min(1, done / allowed);
  const text = `${Math.min(done, allowed).toLocaleString("en")} of at most ${allowed.toLocaleString("en")} trials`;
  return { share, text, secondsLeft: left(share, done, search, now) };
}

/** The same of a distillation; null until its teachers are chosen, when its stages are known. */
export function distillationProgress(distillation, now = Date.now()) {
  const stages = distillation.stages ?? [];
  if (stages.length === 0 || isFinal(distillation.status)) return null;
  const done = stages.filter((stage) => ENDED.includes(stage.status)).length;
  const share = done / stages.length;
  return { share, text: `${done} of ${stages.length} stages`, secondsLeft: left(share, done, distillation, now) };
}

function left(share, done, { started_at: started, status }, now) {
  if (done < 2 || share >= 1 || !started || !isBusy(status)) return null;
  return ((now - new Date(started)) / 1000 / share) * (1 - share);
}

/** Return the progress of a training from what its worker reported: a trial, a pool or a teacher. */
export function trainingProgress(progress) {
  if (!progress) return null;
  const { epoch = 0, num_epochs: epochs, iteration = 0, num_iterations: iterations } = progress;
  if (progress.phase && progress.stage === "evaluate") {
    return { share: iteration / Math.max(1, iterations), text: `${progress.phase}, measures subnet ${iteration + 1} of ${iterations}`, loss: null, secondsLeft: null };
  }
  const inEpoch = iterations ? Math.min(1, iteration / iterations) : 0;
  const share = epochs ? Math.max(0, Math.min(1, (epoch - 1 + inEpoch) / epochs)) : 0;
  const what = progress.phase ?? progress.stage;
  return {
    share,
    text: epoch ? `${what}, epoch ${epoch} of ${epochs}` : what,
    loss: progress.losses?.loss ?? null,
    secondsLeft: progress.seconds_left ?? null,
  };
}
