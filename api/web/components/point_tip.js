// What is shown of a point under the cursor; the encoding is read when the cursor rests on it.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "../api.js";
import { points, percent } from "../model/numbers.js";
import { COSTS, accuracyOf } from "../model/pareto.js";

const REST_MS = 120;
const encodings = new Map();

export function PointTip({ search, point, axes }) {
  const { trial, evaluation } = point;
  const accuracy = accuracyOf(axes.y);
  const cost = axes.x === "params" ? trial.params : evaluation[axes.x];
  return html`<strong>${search.name}, trial ${trial.name} at ${evaluation.resolution}</strong>
    <div>${accuracy.text(accuracy.of(evaluation))}, ${COSTS[axes.x].text(cost)}</div>
    <div>${trial.change}${trial.teacher ? `, taught by ${trial.teacher}` : ""}${trial.methods ? ` (${trial.methods})` : ""}</div>
    <div class="quiet">score ${percent(trial.score, 2)} %${trial.gain === null ? "" : `, ${points(trial.gain, 2)} against its parent`}</div>
    <${Encoding} id=${`${search.id}-${trial.name}`} />`;
}

function Encoding({ id }) {
  const [text, setText] = useState(encodings.get(id));
  useEffect(() => {
    setText(encodings.get(id));
    if (encodings.has(id)) return undefined;
    const timer = setTimeout(async () => {
      const trial = await get(`/trials/${id}`).catch(() => null); // the tip shows the rest without it
      encodings.set(id, trial?.encoding ?? "");
      setText(encodings.get(id));
    }, REST_MS);
    return () => clearTimeout(timer);
  }, [id]);
  return text ? html`<div class="mono quiet">${text}</div>` : null;
}
