// Draws the map: points, sample thumbnails as one comes closer, names of clusters from afar.
const MANY = 6000; // images, from which on they are squares, written into the pixels directly
const RAMP = 8; // steps of confidence
const NAMES_UNTIL = 6; // scale from which on names of clusters are in the way
const SAMPLES = [{ from: 10, cell: 64, side: 54 }, { from: 2.2, cell: 112, side: 40 }]; // by scale, pixels
const COLOURING = {
  cluster: { of: clusterOf, colour: (g) => colour(g, machine.length), name: title },
  label: { of: (i) => images.label[i], colour: (g) => colour(g, classes.length), name: (g) => classes[g] ?? "no class" },
  confidence: {
    of: (i) => Math.min(RAMP - 1, Math.floor(likelihood(i) * RAMP)),
    colour: (g) => `hsl(${20 + (g * 170) / RAMP} 70% ${dark.matches ? 60 : 45}%)`,
    name: (g) => `${percent(g / RAMP)} to ${percent((g + 1) / RAMP)}`,
  },
};

let groups = []; // what has one colour: {group, colour, rows}
let centres = []; // of each cluster, the densest place: {k, size, x, y, top, bottom}
let samples = new Map(); // by the level of zoom, rows of which thumbnails are drawn
const pictures = new Map(); // by row, its thumbnail

function regroup() {
  const { of, colour } = COLOURING[$("#colour").value];
  groups = [...groupBy(images.name.keys(), of)].sort(([a], [b]) => a - b).map(([group, rows]) => ({ group, colour: colour(group), rows }));
  centres = present().filter((k) => rowsOf(k).length).map((k) => ({ k, size: sizeOf(k), ...densest(rowsOf(k)) })).sort((a, b) => b.size - a.size);
  samples = new Map();
  showLegend();
  redraw();
}

function densest(rows, cells = 24) {
  const cell = (i) => Math.floor(x[i] * cells) + 1000 * Math.floor(y[i] * cells);
  const fullest = mostOf(rows.map(cell));
  const inside = rows.filter((i) => cell(i) === fullest);
  const mean = (axis) => inside.reduce((sum, i) => sum + axis[i], 0) / inside.length;
  const [top, bottom] = inside.reduce(([low, high], i) => [Math.min(low, y[i]), Math.max(high, y[i])], [1, 0]);
  return { x: mean(x), y: mean(y), top, bottom };
}

let isPending = false;
function redraw() {
  if (isPending) return;
  isPending = true;
  requestAnimationFrame(() => {
    isPending = false;
    performance.clearMeasures("draw map");
    performance.measure("draw map", { start: draw() });
  });
}

function draw() {
  const began = performance.now();
  const radius = Math.max(1.2, Math.min(5, (100 * Math.sqrt(sight.scale)) / Math.sqrt(count + 600)));
  pen.setTransform(size.dots, 0, 0, size.dots, 0, 0);
  pen.globalAlpha = 1;
  pen.clearRect(0, 0, size.width, size.height);
  const pixels = count > MANY ? new Uint32Array(size.pixels.data.buffer).fill(0) : null;
  for (const bright of lit < 0 ? [true] : [false, true]) {
    const alpha = lit < 0 ? 0.8 : bright ? 0.95 : 0.12;
    for (const { colour, rows } of groups) {
      const seen = lit < 0 ? rows : rows.filter((i) => isLit(i) === bright);
      if (pixels) squares(pixels, seen, radius, colour, alpha);
      else discs(seen, radius, colour, alpha);
    }
  }
  if (pixels) pen.putImageData(size.pixels, 0, 0);
  pen.globalAlpha = 1;
  drawSamples();
  drawSelection(radius);
  if (sight.scale < NAMES_UNTIL) drawNames();
  drawLasso();
  return began;
}

function discs(rows, radius, colour, alpha) {
  pen.fillStyle = colour;
  pen.globalAlpha = alpha;
  pen.beginPath();
  for (const i of rows) {
    const [px, py] = [screenX(i), screenY(i)];
    pen.moveTo(px + radius, py);
    pen.arc(px, py, radius, 0, 6.2832);
  }
  pen.fill();
}

function squares(pixels, rows, radius, colour, alpha) {
  pen.fillStyle = colour;
  const [red, green, blue] = pen.fillStyle.match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
  const value = ((Math.round(255 * alpha) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const { width, height } = canvas;
  const side = Math.max(1, Math.round(2 * radius * size.dots));
  const [by, leftEdge, topEdge] = [stretch() * size.dots, edgeX() * size.dots - side / 2, edgeY() * size.dots - side / 2];
  for (const i of rows) {
    const left = Math.round(x[i] * by + leftEdge);
    const top = Math.round(y[i] * by + topEdge);
    if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
    for (let row = top * width + left, last = row + side * width; row < last; row += width) {
      for (let at = row; at < row + side; at++) pixels[at] = value;
    }
  }
}

// ---------------------------------------------------------------- thumbnails

// One row for each cell of a grid that lies still on the plane, exemplars first.
function sampled(cell) {
  const level = Math.round(Math.log2(sight.scale) * 2);
  const key = `${cell} ${level} ${lit}`;
  if (!samples.has(key)) {
    const step = cell / (size.side * 2 ** (level / 2));
    const taken = new Map();
    for (const i of preferred) {
      const place = Math.floor(x[i] / step) + 1e6 * Math.floor(y[i] / step);
      if (!taken.has(place) && isLit(i) && thumbnail(i)) taken.set(place, i);
    }
    samples.set(key, [...taken.values()]);
  }
  return samples.get(key);
}

const sampleKind = () => (isBare ? undefined : SAMPLES.find(({ from }) => sight.scale >= from));

function drawSamples() {
  const kind = sampleKind();
  if (!kind) return;
  const half = kind.side / 2;
  for (const i of sampled(kind.cell)) {
    const [px, py] = [screenX(i), screenY(i)];
    if (px < -half || py < -half || px > size.width + half || py > size.height + half) continue;
    const img = loaded(i);
    if (!img) continue;
    const shrink = kind.side / Math.max(img.naturalWidth, img.naturalHeight);
    const [width, height] = [img.naturalWidth * shrink, img.naturalHeight * shrink];
    pen.fillStyle = colour(clusterOf(i), machine.length);
    pen.fillRect(px - width / 2 - 2, py - height / 2 - 2, width + 4, height + 4);
    pen.drawImage(img, px - width / 2, py - height / 2, width, height);
  }
}

// The thumbnail of an image if the browser has it by now; else it is asked for.
function loaded(i) {
  if (!pictures.has(i)) {
    const img = make("img", { src: thumbnail(i), decoding: "async" });
    img.addEventListener("load", redraw);
    pictures.set(i, img);
  }
  const img = pictures.get(i);
  return img.complete && img.naturalWidth ? img : null;
}

// ---------------------------------------------------------------- names, selection, legend

function drawNames() {
  const style = getComputedStyle(document.body);
  const drawn = [];
  pen.font = `600 13px ${style.fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = getComputedStyle(canvas.parentElement).backgroundColor;
  pen.fillStyle = style.color;
  for (const { k, x, y, top, bottom } of centres) {
    if (lit >= 0 && k !== lit) continue;
    const text = title(k).length > 26 ? `${title(k).slice(0, 25)}…` : title(k);
    const half = pen.measureText(text).width / 2 + 3;
    const [px, py] = [x * stretch() + edgeX(), nameY(y, top, bottom)];
    if (px < half || px > size.width - half || py < 10 || py > size.height - 10) continue;
    if (drawn.some((other) => Math.abs(other.px - px) < other.half + half && Math.abs(other.py - py) < 17)) continue;
    drawn.push({ px, py, half });
    pen.strokeText(text, px, py);
    pen.fillText(text, px, py);
  }
}

// Above what is small, or below it where there is no room, and else in the middle.
function nameY(y, top, bottom) {
  const gap = 13 + (sampleKind()?.side ?? 0) / 2;
  const above = top * stretch() + edgeY() - gap;
  if ((bottom - top) * stretch() > 60) return y * stretch() + edgeY();
  return above > 10 ? above : bottom * stretch() + edgeY() + gap;
}

function drawSelection(radius) {
  if (!picked.images.size) return;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 2;
  pen.beginPath();
  for (const i of picked.images) {
    const [px, py] = [screenX(i), screenY(i)];
    pen.moveTo(px + radius + 2.5, py);
    pen.arc(px, py, radius + 2.5, 0, 6.2832);
  }
  pen.stroke();
}

const LEGEND = 24; // entries
function showLegend() {
  const { name } = COLOURING[$("#colour").value];
  const byCluster = $("#colour").value === "cluster";
  const most = [...groups].sort((a, b) => b.rows.length - a.rows.length).slice(0, LEGEND);
  const entries = groups.filter((entry) => most.includes(entry)).map(({ group, colour, rows }) => {
    const entry = make(byCluster ? "button" : "span", { className: "entry", textContent: name(group), title: counted(rows.length, "image") });
    entry.style.setProperty("--dot", colour);
    if (byCluster) {
      entry.ariaPressed = lit === group && group >= 0;
      entry.addEventListener("click", () => highlight(lit === group ? -1 : group));
    }
    return entry;
  });
  const more = groups.length - entries.length;
  $("#legend").replaceChildren(...entries, ...(more > 0 ? [`and ${number(more)} more`] : []));
}

function listClusters() {
  const options = present().map((k) => make("option", { value: k, textContent: `${k} ${title(k)}` }));
  $("#highlight").replaceChildren(make("option", { value: -1, textContent: "no cluster" }), ...options);
  if (!isThere(lit)) lit = -1;
  $("#highlight").value = lit;
}
