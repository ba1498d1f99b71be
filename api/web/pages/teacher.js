// A registered teacher: where it comes from, what it measures, how it was trained.
import { html } from "htm/preact";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { EpochLosses } from "../components/epoch_losses.js";
import { Card, Waiting } from "../components/parts.js";
import { ResourceHead } from "../components/resource_head.js";
import { SpecText } from "../components/spec_text.js";
import { untilFinal } from "../model/lifecycle.js";
import { bytes, giga, mega, milliseconds, percent } from "../model/numbers.js";

export default function Teacher({ name }) {
  const { value: teacher, error, again } = useRead(() => get(`/teachers/${name}`), [name], untilFinal);
  if (teacher === null) return html`<${Waiting} error=${error} what=${name} />`;
  const { measurement: measured } = teacher;
  return html`<div class="stack">
    <${ResourceHead} kind="teacher" item=${teacher} onDone=${again} facts=${[
      ["AP", measured && `${percent(measured.ap)} %`, true],
      ["AP50", measured && `${percent(measured.ap50)} %`],
      ["Resolution", measured?.resolution],
      ["GMACs", measured && giga(measured.macs)],
      ["Latency", measured && `${milliseconds(measured.latency_s)} ms`],
      ["Parameters", teacher.params !== null && `${mega(teacher.params)} M`],
      ["Kind", teacher.kind],
      ["Source", teacher.source],
      ["Neck", teacher.levels.length > 0 && teacher.levels.map((level) => `${level.channels} at stride ${level.stride}`).join(", ")],
      ["Weights", teacher.weights && bytes(teacher.weights.size_bytes)],
    ]} />
    ${teacher.epochs.length > 0 && html`<${Card} title="Training"><${EpochLosses} epochs=${teacher.epochs} /></${Card}>`}
    <${Card} title="Spec"><${SpecText} spec=${teacher.spec} /></${Card}>
  </div>`;
}
