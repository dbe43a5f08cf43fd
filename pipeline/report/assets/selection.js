// The selection: of images, or of clusters, never of both.
let isEditing = false;
const picked = { images: new Set(), clusters: new Set() };
let anchor = -1; // row from which on a range is selected

const selected = () => [...picked.images];

function pick(rows, { keep = true } = {}) {
  picked.clusters.clear();
  if (!keep) picked.images.clear();
  for (const i of rows) picked.images.add(i);
  showSelection();
}

function togglePick(i) {
  picked.clusters.clear();
  if (!picked.images.delete(i)) picked.images.add(i);
  anchor = i;
  showSelection();
}

function toggleCluster(k) {
  picked.images.clear();
  if (!picked.clusters.delete(k)) picked.clusters.add(k);
  showSelection();
}

function unpick() {
  const had = picked.images.size + picked.clusters.size > 0;
  picked.images.clear();
  picked.clusters.clear();
  anchor = -1;
  if (had) showSelection();
  return had;
}

// All tiles between the anchor and this one, as they stand on the page.
function pickRange(to) {
  const tiles = all(".image", to.closest("#gallery, #groups, #loners"));
  const from = tiles.findIndex((other) => Number(other.dataset.row) === anchor);
  if (from < 0) return togglePick(Number(to.dataset.row));
  const at = tiles.indexOf(to);
  pick(tiles.slice(Math.min(from, at), Math.max(from, at) + 1).map((other) => Number(other.dataset.row)));
}

function pickTile(button, event) {
  if (event.shiftKey) pickRange(button);
  else togglePick(Number(button.dataset.row));
}

function showSelection() {
  for (const tile of all(".image")) tile.ariaPressed = isEditing ? picked.images.has(Number(tile.dataset.row)) : null;
  for (const card of all(".card[data-cluster]")) {
    const is = picked.clusters.has(Number(card.dataset.cluster));
    card.classList.toggle("picked", is);
    const box = card.querySelector(".pick");
    if (box) box.ariaChecked = is;
  }
  showBar();
  redraw();
}
