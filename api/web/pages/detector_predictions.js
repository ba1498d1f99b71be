// Sample images of the validation split: what is in them, what the base finds, what the detector finds.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { get } from "../api.js";
import { useRead } from "../live.js";
import { Card, Legend } from "../components/parts.js";
import { BoxedImage, colorsOf, useSampleImage } from "../components/sample_image.js";
import { judged } from "../model/breakdowns.js";
import { count } from "../model/numbers.js";

const FIRST_SCORE = 0.3;

export function Predictions({ id, baseId }) {
  const [score, setScore] = useState(FIRST_SCORE);
  const { value, error } = useRead(() => readBoth(id, baseId), [id, baseId]);
  if (error) return error.status === 404 ? null : html`<${Card} title="Predictions"><p class="quiet">${error.message}</p></${Card}>`;
  if (value === null || value.own.images.length === 0) return null;
  const names = [...new Set(value.own.images.flatMap((image) => [...image.objects, ...image.detections].map((box) => box.class_name)))].sort();
  const colors = colorsOf(names);
  const slider = html`<label class="row">score at least ${score.toFixed(2)}
    <input type="range" min="0.05" max="0.95" step="0.05" value=${score} onInput=${(event) => setScore(Number(event.target.value))} /></label>`;
  return html`<${Card} title="Predictions on sample images" aside=${slider}>
    <div class="columns">${value.own.images.map((image) => html`<${Sample} key=${image.sample} dataset=${value.own.dataset_id} image=${image} score=${score} colors=${colors}
      base=${value.base?.images.find((each) => each.sample === image.sample)} />`)}</div>
    <${Legend} items=${names.map((name) => [name, colors.get(name)])} />
    <p class="small quiet">Images of the validation split at ${value.own.resolution}. Dashed: no object of that class overlaps by half (IoU .50).</p>
  </${Card}>`;
}

/** Read the detections of a detector, and of its base if it has some. */
async function readBoth(id, baseId) {
  const base = baseId ? get(`/detectors/${baseId}/predictions`).catch(() => null) : null; // the base may be of an earlier version
  return { own: await get(`/detectors/${id}/predictions`), base: await base };
}

function Sample({ dataset, image, base, score, colors }) {
  const plain = useSampleImage(dataset, image.sample, { boxes: false, maxSide: 640 });
  if (plain.problem) return html`<p class="quiet small">${plain.problem}</p>`;
  if (!plain.address) return null;
  const sizes = { address: plain.address, width: image.width, height: image.height, colors };
  return html`<div class="samples three">
    <${Panel} ...${sizes} title="In the image" boxes=${image.objects} text=${count(image.objects.length, "object")} />
    ${base && html`<${Found} ...${sizes} title="Base" objects=${image.objects} detections=${base.detections} score=${score} />`}
    <${Found} ...${sizes} title="This detector" objects=${image.objects} detections=${image.detections} score=${score} />
  </div>`;
}

function Found({ objects, detections, score, ...sizes }) {
  const { boxes, numHits, numMissed } = judged(detections, objects, score);
  const numWrong = boxes.length - numHits;
  return html`<${Panel} ...${sizes} boxes=${boxes} text=${`${numHits} found, ${numMissed} missed, ${numWrong} wrong`} />`;
}

const Panel = ({ title, text, ...drawing }) => html`<figure>
  <${BoxedImage} ...${drawing} label=${`${title}: ${text}`} />
  <figcaption><strong>${title}</strong> ${text}</figcaption>
</figure>`;
