// A backbone drawn to scale, stage by stage: each block is as wide as its channels, beside the base.
import { html } from "htm/preact";
import { stagesOf } from "../model/architecture.js";

const WIDTH = 760;
const LEFT = 96;
const BLOCK = 12;
const GAP = 3;

/** Draw `architecture` with `base` above each stage; the widest block fills the drawing. */
export function Backbone({ architecture, base, names }) {
  const [own, other] = [stagesOf(architecture), base ? stagesOf(base) : null];
  const widest = Math.max(...[...own, ...(other ?? [])].flatMap((stage) => stage.widths.map(widthOf)));
  const scale = (WIDTH - LEFT - 130) / widest;
  let top = 4;
  const stages = own.map((stage, index) => {
    const y = top;
    const before = other ? other[index].depth * (BLOCK + GAP) + 8 : 0;
    top = y + before + stage.depth * (BLOCK + GAP) + 22;
    return html`<g key=${index}>
      <text class="name" x="0" y=${y + 11}>stage ${index + 1}</text>
      ${other && html`<${Blocks} stage=${other[index]} y=${y} scale=${scale} className="base-row" />`}
      <${Blocks} stage=${stage} y=${y + before} scale=${scale} className="" />
    </g>`;
  });
  const label = `Backbone of ${names[0]}${base ? ` below that of ${names[1]}` : ""}: ${own.map((stage, index) =>
    `stage ${index + 1} has ${stage.depth} blocks${other ? ` instead of ${other[index].depth}` : ""} and hands on ${stage.out} channels`).join("; ")}`;
  return html`<svg class="backbone" viewBox="0 0 ${WIDTH} ${top}" width=${WIDTH} role="img" aria-label=${label}>${stages}</svg>`;
}

const widthOf = (channels) => Math.max(...channels);

/** One stage: its blocks below each other, and in words at the right of the widest. */
function Blocks({ stage, y, scale, className }) {
  return html`<g class=${className}>${stage.widths.map((channels, index) => {
    const width = Math.max(2, widthOf(channels) * scale);
    const at = y + index * (BLOCK + GAP);
    return html`<g key=${index}>
      <rect class="block" x=${LEFT} y=${at} width=${width} height=${BLOCK} rx="2"><title>${channels.join(" · ")} channels</title></rect>
      <text x=${LEFT + width + 8} y=${at + 10}>${channels.join(" · ")}</text>
    </g>`;
  })}</g>`;
}
