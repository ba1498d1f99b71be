// A backbone as numbers to draw: blocks, widths, and multiply-accumulates of each stage.

/** Return of each stage: number of blocks, their widths, and the channels that it hands on. */
export function stagesOf(architecture) {
  return architecture.stages.map((blocks) => ({
    depth: blocks.length,
    widths: blocks.map((block) => block.channels),
    out: blocks.at(-1).channels.at(-1),
  }));
}

/** Multiply-accumulates of the convolutions of each stage, for an input of `width` x `height` pixels.
 *
 * The neck and the head are not in it: the sum is less than the MACs of the detector. */
export function stageMacs(architecture, width, height) {
  const kind = architecture.kind;
  let cells = { width: halved(width), height: halved(height) };
  let channels = architecture.stem_channels;
  if (kind === "inverted_residual") channels /= 2;
  else cells = { width: halved(cells.width), height: halved(cells.height) };
  return architecture.stages.map((blocks) => {
    let sum = 0;
    for (const block of blocks) {
      const after = block.stride === 2 ? { width: halved(cells.width), height: halved(cells.height) } : cells;
      sum += blockMacs(kind, block, channels, cells.width * cells.height, after.width * after.height);
      cells = after;
      channels = block.channels.at(-1);
    }
    return sum;
  });
}

const halved = (side) => Math.ceil(side / 2);

function blockMacs(kind, block, input, before, after) {
  const [first, second, third] = block.channels;
  const shortcut = block.shortcut === "projection" ? input * block.channels.at(-1) * after : 0;
  if (kind === "basic") return 9 * (input * first + first * second) * after + shortcut;
  if (kind === "inverted_residual") return input * first * before + 9 * first * after + first * second * after;
  return input * first * before + (9 * first * second * after) / block.groups + second * third * after + shortcut;
}
