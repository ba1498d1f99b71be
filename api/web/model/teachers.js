// The size of a teacher that is a subnet of a pool, from its short form "d2-3-4-2 w1/1.25/1/1.5 n256".

/** Return the sum of depth times squared width over the stages, in which MACs grow; null for other teachers. */
export function teacherSize(text) {
  const found = /^d([\d-]+) w([\d./]+) n\d+( s[\d.]+)?$/.exec(text ?? "");
  if (!found) return null;
  const [depths, widths] = [found[1].split("-").map(Number), found[2].split("/").map(Number)];
  return depths.reduce((sum, depth, stage) => sum + depth * widths[stage] ** 2, 0);
}
