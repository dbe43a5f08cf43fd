// The map: where images lie on the screen, and which of them are at a place.
const canvas = $("canvas");
const pen = canvas.getContext("2d");
const x = Float32Array.from(images.x);
const y = Float32Array.from(images.y);
const CELLS = 128;
const sight = { scale: 1, left: 0, top: 0 }; // the unit square fills the plane at scale 1
let size = { width: 1, height: 1, side: 1, dots: 1 };
let lit = -1; // the cluster that is highlighted

// A place on the screen is the place on the plane times `stretch`, and so far from the edge.
const stretch = () => sight.scale * size.side;
const edgeX = () => sight.left * size.side + (size.width - size.side) / 2;
const edgeY = () => sight.top * size.side + (size.height - size.side) / 2;
const screenX = (i) => x[i] * stretch() + edgeX();
const screenY = (i) => y[i] * stretch() + edgeY();
const planeX = (px) => (px - edgeX()) / stretch();
const planeY = (py) => (py - edgeY()) / stretch();
const isLit = (i) => lit < 0 || clusterOf(i) === lit;

// Rows by cell of a grid over the unit square, so that a pointer looks at few of them.
const first = new Int32Array(CELLS * CELLS + 1);
const sorted = new Int32Array(count);
const cellOf = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
for (let i = 0; i < count; i++) first[cellOf(y[i]) * CELLS + cellOf(x[i]) + 1]++;
for (let c = 0; c < CELLS * CELLS; c++) first[c + 1] += first[c];
const filled = first.slice();
for (let i = 0; i < count; i++) sorted[filled[cellOf(y[i]) * CELLS + cellOf(x[i])]++] = i;

function* within(left, top, right, bottom) {
  for (let row = cellOf(top); row <= cellOf(bottom); row++) {
    const last = first[row * CELLS + cellOf(right) + 1];
    for (let at = first[row * CELLS + cellOf(left)]; at < last; at++) yield sorted[at];
  }
}

function nearest(px, py, reach) {
  const far = reach / stretch();
  const [cx, cy] = [planeX(px), planeY(py)];
  let best = -1;
  let least = far * far;
  for (const i of within(cx - far, cy - far, cx + far, cy + far)) {
    const distance = (x[i] - cx) ** 2 + (y[i] - cy) ** 2;
    if (distance < least && isLit(i)) [best, least] = [i, distance];
  }
  return best;
}

// Rows inside a line that was drawn around them, [[x, y], ...] on the screen.
function enclosed(line) {
  const points = line.map(([px, py]) => [planeX(px), planeY(py)]);
  const range = (axis) => [Math.min(...points.map((p) => p[axis])), Math.max(...points.map((p) => p[axis]))];
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const isInside = (i) => {
    let inside = false;
    points.forEach(([ax, ay], at) => {
      const [bx, by] = points.at(at - 1);
      if (ay > y[i] !== by > y[i] && x[i] < ((bx - ax) * (y[i] - ay)) / (by - ay) + ax) inside = !inside;
    });
    return inside;
  };
  return [...within(left, top, right, bottom)].filter((i) => isLit(i) && isInside(i));
}

// ---------------------------------------------------------------- moving about

function zoom(factor, px = size.width / 2, py = size.height / 2) {
  const scale = Math.min(200, Math.max(0.5, sight.scale * factor));
  const [cx, cy] = [planeX(px), planeY(py)];
  sight.left += cx * (sight.scale - scale);
  sight.top += cy * (sight.scale - scale);
  sight.scale = scale;
  hide();
  redraw();
}

function pan(dx, dy) {
  sight.left += dx / size.side;
  sight.top += dy / size.side;
  hide();
  redraw();
}

function whole() {
  Object.assign(sight, { scale: 1, left: 0, top: 0 });
  hide();
  redraw();
}

function highlight(k) {
  lit = k;
  $("#highlight").value = k;
  showLegend();
  redraw();
}
