// A sample image of a data set: as the service draws it, or plain, with boxes drawn over it here.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { call } from "../api.js";

/** Return `{address}` of a sample image for an `img`, or `{problem}`; `key` changes with the image.
 *
 * A browser sends no token for an `img`, so it is fetched here. */
export function useSampleImage(dataset, number, { boxes, maxSide = 480, key = "" }) {
  const [image, setImage] = useState({});
  useEffect(() => {
    let address = null;
    call(`/datasets/${dataset}/samples/${number}/image?${new URLSearchParams({ max_side: maxSide, boxes })}`)
      .then((response) => response.blob())
      .then((blob) => { address = URL.createObjectURL(blob); setImage({ address }); })
      .catch((problem) => setImage({ problem: problem.message }));
    return () => address && URL.revokeObjectURL(address);
  }, [dataset, number, boxes, maxSide, key]);
  return image;
}

/** An image with boxes over it: `boxes` is `[{bbox, class_name, score, isHit}]` in pixels of the image as
 * shown, `width` x `height`; those that are no hit are dashed. `colors` by class name. */
export function BoxedImage({ address, width, height, boxes, colors, label }) {
  const stroke = Math.max(width, height) / 160;
  return html`<div class="boxed">
    <img src=${address} alt=${label} width=${width} height=${height} />
    <svg viewBox="0 0 ${width} ${height}" aria-hidden="true">${boxes.map(({ bbox: [x, y, wide, high], class_name: name, score, isHit = true }, index) => html`
      <g key=${index} stroke=${colors.get(name)} fill=${colors.get(name)}>
        <title>${name}${score === undefined ? "" : ` ${score.toFixed(2)}`}</title>
        <rect x=${x} y=${y} width=${wide} height=${high} fill="none" stroke-width=${stroke} stroke-dasharray=${isHit ? undefined : `${2 * stroke} ${1.5 * stroke}`} />
      </g>`)}</svg>
  </div>`;
}

/** Return a colour for each class name, far from its neighbours', readable over most images. */
export function colorsOf(names) {
  return new Map(names.map((name, index) => [name, `hsl(${Math.round(index * 222.5) % 360} 90% 60%)`]));
}
