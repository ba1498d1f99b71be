// Points of a scatter plot as uPlot's columns, and the points near the cursor or within a box.

/** Return the columns of a plot: x ascending, then one list for each group and each line. */
export function groupsOf(points, groups, lines = []) {
  const all = [...points.map((point) => ({ x: point.x, point }))];
  lines.forEach((line, index) => line.points.forEach((point) => all.push({ x: point.x, y: point.y, line: index })));
  all.sort((one, other) => one.x - other.x);
  const columns = [all.map((each) => each.x)];
  for (const group of groups) columns.push(all.map((each) => (each.point?.group === group.name ? each.point.y : null)));
  lines.forEach((_, index) => columns.push(all.map((each) => (each.line === index ? each.y : null))));
  return columns;
}

const place = (point, { x, y }) => ({ left: x.offset + point.x * x.factor, top: y.offset + point.y * y.factor });

/** Return the nearest point within `reach` pixels of a place, and where it is; null if none is. */
export function nearest(points, scale, { left, top }, reach) {
  let best = null;
  let distance = reach;
  for (const point of points) {
    const at = place(point, scale);
    const far = Math.hypot(at.left - left, at.top - top);
    if (far <= distance) {
      distance = far;
      best = { point, ...at };
    }
  }
  return best;
}

/** Return the points within a box of pixels. */
export function within(points, scale, { left, top, width, height }) {
  return points.filter((point) => {
    const at = place(point, scale);
    return at.left >= left && at.left <= left + width && at.top >= top && at.top <= top + height;
  });
}
