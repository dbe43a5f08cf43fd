"use strict";
// The galleries, the viewer and the map of a report. Reads CLUSTERPIPE from data.js; all text from
// the run is set as text, never as markup.
(() => {
  const { images, clusters, classes } = CLUSTERPIPE;
  const count = images.name.length;
  const PAGE = 120;
  const $ = (selector) => document.querySelector(selector);

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const number = (value) => value.toLocaleString("en");
  const percent = (value) => `${(100 * value).toFixed(value > 0.995 && value < 1 ? 1 : 0)}%`;
  const hue = (k, of) => (of < 13 ? (360 * k) / Math.max(of, 1) : (k * 137.508) % 360);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function colour(k, of) {
    const ring = [[62, 46], [72, 62], [50, 38]][Math.floor(k / 13) % 3];
    return k < 0 ? "#888888" : `hsl(${hue(k, of)} 65% ${ring[dark.matches ? 0 : 1]}%)`;
  }

  const title = (k) => (k < 0 ? "unassigned" : clusters[k].caption || `cluster ${k}`);
  const thumbnail = (i) => (images.thumb[i] ? `thumbnails/${images.thumb[i]}.webp` : "");
  const className = (i) => (images.label && images.label[i] >= 0 ? classes[images.label[i]] : "");
  const isMinority = (i) =>
    className(i) !== "" && images.cluster[i] >= 0 && className(i) !== clusters[images.cluster[i]].majority;
  const FLAGS = {
    all: () => true,
    exemplar: (i) => images.rank[i] > 0,
    doubtful: (i) => images.kind[i] === "doubtful",
    outlier: (i) => images.kind[i] === "outlier",
    minority: isMinority,
  };

  const members = Array.from({ length: clusters.length + 1 }, () => []);
  for (let i = 0; i < count; i++) members[images.cluster[i] < 0 ? clusters.length : images.cluster[i]].push(i);
  for (const rows of members) {
    rows.sort((a, b) => (images.rank[a] || 1e9) - (images.rank[b] || 1e9) || images.probability[b] - images.probability[a]);
  }
  const rowsOf = (k) => members[k < 0 ? clusters.length : k];

  // ---------------------------------------------------------------- tiles and galleries

  function picture(i) {
    if (!thumbnail(i)) return make("span", { className: "none", textContent: images.name[i] });
    return make("img", { src: thumbnail(i), alt: images.name[i], loading: "lazy", decoding: "async" });
  }

  const certainty = (i) => `${percent(images.probability[i])}${className(i) ? ` · ${className(i)}` : ""}`;

  function tile(i, among, describe = certainty) {
    const about = describe(i);
    const button = make("button", { type: "button", className: `image ${images.kind[i]}` }, picture(i), make("small", { textContent: about }));
    button.title = `${images.name[i]}\n${title(images.cluster[i])} ${about}`;
    button.dataset.row = i;
    button.addEventListener("click", () => view(among, among.indexOf(i)));
    return button;
  }

  function gallery(heading, rows, note = "", describe = certainty) {
    if (!rows.length) return null;
    const grid = make("div", { className: "images" });
    const more = make("button", { type: "button", className: "pager" });
    let shown = 0;
    const grow = () => {
      grid.append(...rows.slice(shown, shown + PAGE).map((i) => tile(i, rows, describe)));
      shown = Math.min(shown + PAGE, rows.length);
      more.hidden = shown === rows.length;
      more.textContent = `Show more (${number(rows.length - shown)} left)`;
    };
    more.addEventListener("click", grow);
    grow();
    const head = make("h3", { textContent: `${heading} (${number(rows.length)})` });
    return make("section", {}, head, note ? make("p", { className: "note", textContent: note }) : null, grid, more);
  }

  // Arrow keys move between the tiles of a grid.
  document.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".image, .card");
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!tile || $("#viewer").open || (!step && !event.key.startsWith("Arrow"))) return;
    const all = [...tile.parentElement.children];
    const columns = all.filter((other) => other.offsetTop === all[0].offsetTop).length;
    const move = step || { ArrowDown: columns, ArrowUp: -columns }[event.key];
    const other = all[all.indexOf(tile) + move];
    if (other) {
      other.focus();
      event.preventDefault();
    }
  });

  // ---------------------------------------------------------------- the cards

  function phrases(k) {
    const list = make("ul", { className: "phrases" });
    for (const [text, score] of clusters[k].phrases) {
      const item = make("li", { textContent: `${text} ${percent(score)}` });
      item.style.setProperty("--score", percent(score));
      list.append(item);
    }
    return list;
  }

  function card(k, rows) {
    const strip = make("div", { className: "strip" });
    for (const i of rows.slice(0, 4)) {
      strip.append(thumbnail(i) ? make("img", { src: thumbnail(i), alt: "", loading: "lazy", decoding: "async" }) : make("span"));
    }
    const { size, confidence, majority, share } = clusters[k];
    const shown = rows.length === size ? number(size) : `${number(rows.length)} of ${number(size)}`;
    const about = `${k} · ${shown} images${majority ? ` · ${percent(share)} ${majority}` : ""}`;
    const bar = make("div", { className: "bar", title: `mean probability ${percent(confidence)}` }, make("i"));
    bar.firstChild.style.width = percent(confidence);
    const name = make("div", { className: "name", textContent: title(k) });
    name.style.setProperty("--dot", colour(k, clusters.length));
    return make("a", { className: "card", href: `#cluster-${k}` }, strip, make("div", { className: "text" }, name, make("div", { className: "about", textContent: about }), bar));
  }

  const ORDER = {
    number: (a, b) => a - b,
    size: (a, b) => clusters[b].size - clusters[a].size,
    caption: (a, b) => title(a).localeCompare(title(b)),
    confidence: (a, b) => clusters[a].confidence - clusters[b].confidence,
  };
  const wanted = () => ({ query: $("#query").value.trim().toLowerCase(), flag: FLAGS[$("#flag").value] });

  function matches(k, query) {
    const { phrases, majority } = clusters[k];
    const texts = [String(k), title(k), majority, ...phrases.map(([text]) => text)];
    return texts.some((text) => text.toLowerCase().includes(query));
  }

  function showCards() {
    const { query, flag } = wanted();
    const chosen = [...clusters.keys()].sort(ORDER[$("#order").value]);
    const cards = [];
    for (const k of chosen) {
      const rows = rowsOf(k).filter(flag);
      if (rows.length && (!query || matches(k, query))) cards.push(card(k, rows));
    }
    const found = query ? byName(query, flag) : [];
    const loose = query ? [] : rowsOf(-1).filter(flag);
    $("#cards").replaceChildren(...cards);
    $("#gallery").replaceChildren(...[gallery("Images of that name", found), gallery("Unassigned", loose)].filter(Boolean));
    $("#gallery").hidden = !$("#gallery").childElementCount;
    $("#cards").hidden = false;
    $("#count").textContent = `${number(cards.length)} of ${number(clusters.length)} clusters` + (found.length ? `, ${number(found.length)} images` : "");
  }

  function byName(query, flag) {
    const rows = [];
    for (let i = 0; i < count; i++) if (images.name[i].toLowerCase().includes(query) && flag(i)) rows.push(i);
    return rows;
  }

  // ---------------------------------------------------------------- one cluster

  function showCluster(k) {
    const { query, flag } = wanted();
    const rows = rowsOf(k).filter((i) => flag(i) && (!query || matches(k, query) || images.name[i].toLowerCase().includes(query)));
    const rest = rows.filter((i) => !images.rank[i]);
    const kind = (name) => rest.filter((i) => images.kind[i] === name);
    const step = (to, text) => (to >= 0 && to < clusters.length ? make("a", { href: `#cluster-${to}`, textContent: text }) : null);
    const heading = make("h3", { textContent: `${k} · ${title(k)} · ${number(clusters[k].size)} images`, tabIndex: -1 });
    const ways = make("p", { className: "tools" }, make("a", { href: "#clusters", textContent: "← all clusters" }), step(k - 1, "previous"), step(k + 1, "next"), make("a", { href: "#map", textContent: "on the map" }));
    ways.lastChild.addEventListener("click", () => highlight(k));
    const { doubtfulBelow } = CLUSTERPIPE;
    const parts = [
      gallery("Exemplars", rows.filter((i) => images.rank[i]), "Nearest to the centre of the cluster, best first."),
      gallery("Members", kind("")),
      gallery("Low confidence", kind("doubtful"), `Probability below ${percent(doubtfulBelow)}.`),
      gallery("Outliers", kind("outlier"), "Of all images among the farthest from those nearest to them (curate.outliers)."),
    ].filter(Boolean);
    $("#gallery").replaceChildren(ways, heading, phrases(k), ...parts);
    $("#gallery").hidden = false;
    $("#cards").hidden = true;
    $("#count").textContent = `${number(rows.length)} of ${number(clusters[k].size)} images`;
    return heading;
  }

  function route(arrived) {
    const found = /^#cluster-(\d+)$/.exec(location.hash);
    const k = found ? Number(found[1]) : -1;
    if (k < 0 || k >= clusters.length) {
      showCards();
      return;
    }
    const heading = showCluster(k);
    if (arrived) {
      heading.focus({ preventScroll: true });
      $("#clusters").scrollIntoView();
    }
  }
  addEventListener("hashchange", () => route(true));
  $("#query").addEventListener("input", () => route(false));
  for (const id of ["#flag", "#order"]) $(id).addEventListener("change", () => route(false));
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select") || $("#viewer").open) return;
    event.preventDefault();
    $("#query").focus();
  });

  // ---------------------------------------------------------------- duplicates and loners

  const GROUPS_SHOWN = 24;
  const twins = new Map(); // from the number of a group to its rows, the one to keep first
  (images.group || []).forEach((g, i) => {
    if (g >= 0) twins.set(g, [...(twins.get(g) || []), i]);
  });
  for (const rows of twins.values()) {
    rows.sort((a, b) => images.kept[b] - images.kept[a] || images.similarity[b] - images.similarity[a]);
  }
  const REPEATS = {
    all: () => true,
    exact: (rows) => rows.some((i) => images.copied[i]),
    near: (rows) => !rows.some((i) => images.copied[i]),
    across: (rows) => rows.some((i) => images.cluster[i] !== images.cluster[rows[0]]),
  };

  function family(g) {
    const rows = twins.get(g);
    const describe = (i) => [images.kept[i] && "keep", images.copied[i] ? "exact copy" : images.similarity[i].toFixed(3), images.name[i]].filter(Boolean).join(" · ");
    const found = gallery(`Group ${g + 1}`, rows, [...new Set(rows.map((i) => title(images.cluster[i])))].slice(0, 5).join(", "), describe);
    found.className = "group";
    return found;
  }

  let groupsShown = GROUPS_SHOWN;
  function showGroups() {
    const query = $("#twins").value.trim().toLowerCase();
    const named = (i) => images.name[i].toLowerCase().includes(query) || title(images.cluster[i]).toLowerCase().includes(query);
    const chosen = [...twins.keys()].sort((a, b) => a - b).filter((g) => REPEATS[$("#repeats").value](twins.get(g)) && twins.get(g).some(named));
    $("#groups").replaceChildren(...chosen.slice(0, groupsShown).map(family));
    $("#groups-count").textContent = `${number(chosen.length)} of ${number(twins.size)} groups`;
    $("#more-groups").hidden = chosen.length <= groupsShown;
    $("#more-groups").textContent = `Show more groups (${number(chosen.length - groupsShown)} left)`;
  }

  function showLoners() {
    const rows = [];
    images.alone.forEach((alone, i) => alone && rows.push(i));
    rows.sort((a, b) => images.isolation[b] - images.isolation[a]);
    const found = gallery("Outliers", rows, "", (i) => `${images.isolation[i].toFixed(3)} · ${images.name[i]}`);
    if (found) $("#loners").replaceChildren(found);
  }

  if ($("#groups")) {
    const again = () => ((groupsShown = GROUPS_SHOWN), showGroups());
    $("#twins").addEventListener("input", again);
    $("#repeats").addEventListener("change", again);
    $("#more-groups").addEventListener("click", () => ((groupsShown += GROUPS_SHOWN), showGroups()));
    showGroups();
  }
  if ($("#loners")) showLoners();

  // ---------------------------------------------------------------- the viewer

  const viewer = $("#viewer");
  let among = [];
  let place = 0;

  function view(rows, at) {
    among = rows;
    place = at;
    showImage();
    if (!viewer.open) viewer.showModal();
  }

  function showImage() {
    const i = among[place];
    const k = images.cluster[i];
    const img = viewer.querySelector("img");
    const original = images.original[i];
    img.alt = images.name[i];
    img.onload = () => img.classList.toggle("small", img.naturalWidth < 100);
    img.onerror = () => {
      img.onerror = null;
      if (thumbnail(i)) img.src = thumbnail(i); // a format that browsers do not show
    };
    if (original || thumbnail(i)) img.src = original || thumbnail(i);
    else img.removeAttribute("src");
    const link = original ? make("a", { href: original, target: "_blank", rel: "noopener", textContent: "open the original" }) : null;
    const facts = [`${title(k)} ${percent(images.probability[i])}`];
    if (images.secondProbability[i] >= 0.005) facts.push(`or ${title(images.second[i])} ${percent(images.secondProbability[i])}`);
    facts.push(`${images.distance[i].toFixed(2)} times as far from the centre as half of the cluster`, className(i) && `true class ${className(i)}`);
    const text = `${images.name[i]} · ${facts.filter(Boolean).join(" · ")} · ${number(place + 1)} of ${number(among.length)}`;
    viewer.querySelector("figcaption").replaceChildren(text, link ? " · " : "", link || "");
  }

  function turn(step) {
    place = (place + step + among.length) % among.length;
    showImage();
  }
  viewer.querySelector(".previous").addEventListener("click", () => turn(-1));
  viewer.querySelector(".next").addEventListener("click", () => turn(1));
  viewer.querySelector(".close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => event.target.tagName === "FIGURE" && viewer.close());
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) turn(step);
  });

  // ---------------------------------------------------------------- the map

  const canvas = $("canvas");
  const pen = canvas.getContext("2d");
  const hover = $("#hover");
  const { x, y } = images;
  const CELLS = 128;
  const sight = { scale: 1, left: 0, top: 0 }; // the unit square fills the plane at scale 1
  let size = { width: 1, height: 1, side: 1, dots: 1 };
  let lit = -1;
  let pending = false;

  const screenX = (i) => (x[i] * sight.scale + sight.left) * size.side + (size.width - size.side) / 2;
  const screenY = (i) => (y[i] * sight.scale + sight.top) * size.side + (size.height - size.side) / 2;
  const planeX = (px) => ((px - (size.width - size.side) / 2) / size.side - sight.left) / sight.scale;
  const planeY = (py) => ((py - (size.height - size.side) / 2) / size.side - sight.top) / sight.scale;

  // Rows by cell of a grid over the unit square, so that a pointer looks at few of them.
  const first = new Int32Array(CELLS * CELLS + 1);
  const sorted = new Int32Array(count);
  const cellOf = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
  for (let i = 0; i < count; i++) first[cellOf(y[i]) * CELLS + cellOf(x[i]) + 1]++;
  for (let c = 0; c < CELLS * CELLS; c++) first[c + 1] += first[c];
  const filled = first.slice();
  for (let i = 0; i < count; i++) sorted[filled[cellOf(y[i]) * CELLS + cellOf(x[i])]++] = i;

  function nearest(px, py, reach) {
    const far = reach / (size.side * sight.scale);
    const [cx, cy] = [planeX(px), planeY(py)];
    let best = -1;
    let least = far * far;
    for (let row = cellOf(cy - far); row <= cellOf(cy + far); row++) {
      for (let c = row * CELLS + cellOf(cx - far); c <= row * CELLS + cellOf(cx + far); c++) {
        for (let at = first[c]; at < first[c + 1]; at++) {
          const i = sorted[at];
          const distance = (x[i] - cx) ** 2 + (y[i] - cy) ** 2;
          if (distance < least && (lit < 0 || images.cluster[i] === lit)) [best, least] = [i, distance];
        }
      }
    }
    return best;
  }

  const RAMP = 8;
  const GROUPS = {
    cluster: { of: (i) => images.cluster[i], colour: (g) => colour(g, clusters.length) },
    label: { of: (i) => images.label[i], colour: (g) => colour(g, classes.length) },
    confidence: {
      of: (i) => Math.min(RAMP - 1, Math.floor(images.probability[i] * RAMP)),
      colour: (g) => `hsl(${20 + (g * 170) / RAMP} 70% ${dark.matches ? 60 : 45}%)`,
    },
  };
  let groups = [];

  function group() {
    const { of, colour } = GROUPS[$("#colour").value];
    const rows = new Map();
    for (let i = 0; i < count; i++) {
      if (!rows.has(of(i))) rows.set(of(i), []);
      rows.get(of(i)).push(i);
    }
    groups = [...rows].sort(([a], [b]) => a - b).map(([g, of]) => ({ colour: colour(g), rows: of }));
    redraw();
  }

  function redraw() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      performance.clearMeasures("draw map");
      performance.measure("draw map", { start: draw() });
    });
  }

  const MANY = 6000; // images, from which on they are squares, written into the pixels directly

  function draw() {
    const began = performance.now();
    const radius = Math.max(1.2, Math.min(5, (100 * Math.sqrt(sight.scale)) / Math.sqrt(count + 600)));
    pen.setTransform(size.dots, 0, 0, size.dots, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    const pixels = count > MANY ? new Uint32Array(size.pixels.data.buffer).fill(0) : null;
    for (const bright of lit < 0 ? [true] : [false, true]) {
      const alpha = lit < 0 ? 0.8 : bright ? 0.95 : 0.12;
      for (const { colour, rows } of groups) {
        const seen = lit < 0 ? rows : rows.filter((i) => (images.cluster[i] === lit) === bright);
        if (pixels) squares(pixels, seen, radius, colour, alpha);
        else discs(seen, radius, colour, alpha);
      }
    }
    if (pixels) pen.putImageData(size.pixels, 0, 0);
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
    for (const i of rows) {
      const left = Math.round(screenX(i) * size.dots - side / 2);
      const top = Math.round(screenY(i) * size.dots - side / 2);
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      for (let y = top; y < top + side; y++) pixels.fill(value, y * width + left, y * width + left + side);
    }
  }

  function resize() {
    const { width, height } = canvas.getBoundingClientRect();
    const dots = Math.min(devicePixelRatio || 1, 2);
    size = { width, height, side: 0.94 * Math.min(width, height), dots };
    canvas.width = width * dots;
    canvas.height = height * dots;
    size.pixels = count > MANY ? pen.createImageData(canvas.width, canvas.height) : null;
    redraw();
  }

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
    redraw();
  }

  function show(i) {
    hover.hidden = i < 0;
    if (i < 0) return;
    const img = thumbnail(i) ? make("img", { src: thumbnail(i), alt: "" }) : null;
    const about = `${title(images.cluster[i])} ${percent(images.probability[i])}${className(i) ? ` · ${className(i)}` : ""}`;
    hover.replaceChildren(...[img, make("b", { textContent: images.name[i] }), make("div", { textContent: about })].filter(Boolean));
    const right = screenX(i) > size.width / 2;
    const low = screenY(i) > size.height / 2;
    hover.style.left = `${screenX(i) + (right ? -14 : 14)}px`;
    hover.style.top = `${screenY(i) + (low ? -14 : 14)}px`;
    hover.style.transform = `translate(${right ? "-100%" : "0"}, ${low ? "-100%" : "0"})`;
  }
  const hide = () => show(-1);

  const touches = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = touches.get(event.pointerId);
    if (!before) {
      show(nearest(event.offsetX, event.offsetY, 14));
      return;
    }
    const [dx, dy] = [event.offsetX - before[0], event.offsetY - before[1]];
    moved += Math.abs(dx) + Math.abs(dy);
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const reach = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      zoom(reach([event.offsetX, event.offsetY]) / reach(before), ...other);
    } else if (moved > 4) pan(dx, dy);
    touches.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => touches.delete(event.pointerId));
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("click", (event) => {
    if (moved > 4) return;
    const i = nearest(event.offsetX, event.offsetY, 18);
    if (i >= 0) view([i, ...rowsOf(images.cluster[i]).filter((other) => other !== i)], 0);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [50, 0], ArrowRight: [-50, 0], ArrowUp: [0, 50], ArrowDown: [0, -50] };
    if (steps[event.key]) pan(...steps[event.key]);
    else if ("+=".includes(event.key)) zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
  });
  $("#closer").addEventListener("click", () => zoom(1.6));
  $("#farther").addEventListener("click", () => zoom(1 / 1.6));
  $("#whole").addEventListener("click", whole);
  $("#colour").addEventListener("change", group);
  $("#highlight").append(...clusters.map((_, k) => make("option", { value: k, textContent: `${k} ${title(k)}` })));
  $("#highlight").addEventListener("change", (event) => highlight(Number(event.target.value)));
  dark.addEventListener("change", () => (group(), route(false)));
  new ResizeObserver(resize).observe(canvas);
  group();
  resize();
  route(location.hash.startsWith("#cluster-"));
})();
