// The workbench: what can be done with the selection, by the bar below or by a key.
const COMMANDS = {
  rename: { key: "r", can: () => theClusters().length === 1, run: () => renameCluster(theClusters()[0]) },
  merge: { key: "m", can: () => theClusters().length > 0, run: () => mergeSelected() },
  split: { key: "s", can: () => theClusters().length === 1, run: () => askForPieces(theClusters()[0]) },
  move: { key: "m", can: () => picked.images.size > 0, run: () => moveSelected() },
  gather: { key: "n", can: () => picked.images.size > 0, run: () => onImages("gather", selected(), "in a cluster of their own") },
  reject: { key: "x", can: () => selected().some((i) => clusterOf(i) >= 0), run: () => onImages("reject", selected().filter((i) => clusterOf(i) >= 0), "in no cluster") },
  pin: { key: "p", can: () => selected().some((i) => clusterOf(i) >= 0), run: () => onImages("pin", selected().filter((i) => clusterOf(i) >= 0), "pinned where they are") },
  star: { key: "t", can: () => picked.images.size > 0, run: () => onImages("star", selected(), "first among the exemplars") },
  keep: { key: "k", can: () => selected().some((i) => twinsOf(i).length), run: () => onImages("keep", selected(), "to be kept of their duplicates") },
  drop: { key: "d", can: () => selected().some((i) => twinsOf(i).length), run: () => onImages("drop", selected(), "left out of what is unique") },
  clear: { key: "", can: () => picked.images.size + picked.clusters.size > 0, run: unpick },
  undo: { key: "", can: () => done > 0, run: undo },
  redo: { key: "", can: () => done < steps.length, run: redo },
  download: { key: "", can: () => done > 0, run: () => takeAway() },
};

// Clusters that a command is about: those selected, or the one that is open.
const theClusters = () => (picked.clusters.size ? [...picked.clusters] : open >= 0 && !picked.images.size ? [open] : []);

let said = ""; // what was done last

function onImages(act, rows, what) {
  said = `${counted(rows.length, "image")} ${what}`;
  unpick();
  perform({ act, rows });
}

function moveSelected() {
  const rows = selected();
  askForCluster(`Move ${counted(rows.length, "image")} to`, likelyFor(rows), (k) => {
    const away = rows.filter((i) => clusterOf(i) !== k);
    said = `${counted(away.length, "image")} moved to ${title(k)}`;
    unpick();
    if (away.length) perform({ act: "move", rows: away, clusters: [k] });
    else showBar();
  });
}

function mergeSelected() {
  const some = theClusters();
  if (some.length > 1) return merge(some);
  const others = present().filter((k) => k !== some[0]).sort((a, b) => collator.compare(title(a), title(b)));
  return askForCluster(`Merge ${title(some[0])} into`, others, (k) => merge([k, some[0]]));
}

function merge([first, ...others]) {
  said = `${listed(others.map(title))} merged into ${title(first)}`;
  const wasOpen = others.includes(open);
  unpick();
  perform({ act: "merge", clusters: [first, ...others] });
  if (wasOpen) location.hash = `#cluster-${first}`;
  else focusCluster(first);
}

// ---------------------------------------------------------------- split

const splitter = $("#splitter");

function askForPieces(k) {
  splitter.dataset.cluster = k;
  splitter.querySelector("h2").textContent = `Split ${title(k)}`;
  $("#pieces").max = rowsOf(k).length;
  const found = piecesOf(k);
  $("#along").hidden = found.length < 2;
  $("#along").textContent = `Along its ${found.length} finer parts, now`;
  splitter.showModal();
  $("#pieces").select();
}

// Rows of each finer part of a cluster, the largest first.
function piecesOf(k) {
  const found = groupBy(rowsOf(k).filter((i) => images.part?.[i] >= 0), (i) => images.part[i]);
  return [...found.values()].sort((a, b) => b.length - a.length);
}

splitter.querySelector("form").addEventListener("submit", () => {
  const [k, into] = [Number(splitter.dataset.cluster), Number($("#pieces").value)];
  said = `${title(k)} will be split into ${into} when the corrections are taken in`;
  unpick();
  perform({ act: "split", clusters: [k], into });
});
$("#along").addEventListener("click", () => {
  const k = Number(splitter.dataset.cluster);
  const [, ...others] = piecesOf(k);
  splitter.close();
  said = `${title(k)} split into ${others.length + 1}`;
  unpick();
  perform(...others.map((rows) => ({ act: "gather", rows })));
});
splitter.querySelector(".close").addEventListener("click", () => splitter.close());

// ---------------------------------------------------------------- the bar

function clusterTools(k, rows) {
  const every = make("button", { type: "button", textContent: "Select all", title: "Ctrl A" });
  every.addEventListener("click", () => pick(rows));
  const tool = (name, text) => {
    const found = make("button", { type: "button", textContent: text, title: COMMANDS[name].key.toUpperCase() });
    found.addEventListener("click", () => (unpick(), COMMANDS[name].run()));
    return found;
  };
  return make("p", { className: "tools buttons" }, tool("rename", "Rename"), tool("merge", "Merge into…"), tool("split", "Split…"), every);
}

function selectionInWords() {
  if (picked.images.size) return `${counted(picked.images.size, "image")} selected`;
  if (picked.clusters.size) return `${counted(picked.clusters.size, "cluster")} selected`;
  return "";
}

function showBar() {
  const total = inForce().length;
  const bar = $("#bar");
  document.body.classList.toggle("editing", isEditing);
  bar.hidden = !isEditing;
  $("#edit").ariaPressed = isEditing;
  $("#edit").textContent = isEditing ? "Done" : "Correct";
  $("#pending").textContent = total && !isTaken ? counted(total, "correction") + " not downloaded" : "";
  for (const button of all("[data-do]", bar)) {
    const { can } = COMMANDS[button.dataset.do];
    const lasting = ["undo", "redo", "download"].includes(button.dataset.do);
    button.disabled = !can();
    button.hidden = lasting ? !steps.length : !can();
  }
  bar.querySelector('[data-do="merge"]').textContent = picked.clusters.size > 1 ? "Merge" : "Merge into…";
  for (const name of ["rename", "merge", "split"]) if (!picked.clusters.size) bar.querySelector(`[data-do="${name}"]`).hidden = true;
  const hasSelection = picked.images.size + picked.clusters.size > 0;
  $("#selected").textContent = selectionInWords();
  $("#said").textContent = hasSelection ? "" : said;
  $("#hint").hidden = hasSelection || said !== "";
  $("#total").textContent = total ? counted(total, "correction") : "";
  $("#unkept").hidden = isStored || !total;
  $("#earlier").hidden = earlier === null;
}

function takeAway() {
  download();
  $("#taken").showModal();
  showBar();
}

// Everything that shows clusters, after they changed.
function changed() {
  isTaken = false;
  remember();
  route(false);
  showGroups();
  showLoners();
  listClusters();
  regroup();
  showBar();
}

function setEditing(on) {
  isEditing = on;
  said = "";
  unpick();
  const top = scrollY;
  route(false);
  showGroups();
  showLoners();
  scrollTo(0, top);
  showBar();
  redraw();
}

$("#edit").addEventListener("click", () => setEditing(!isEditing));
for (const button of all("[data-do]")) button.addEventListener("click", () => COMMANDS[button.dataset.do].run());
$("#earlier-download").addEventListener("click", () => (downloadEarlier(), showBar()));
$("#earlier-forget").addEventListener("click", () => (forgetEarlier(), showBar()));
$("#taken .close").addEventListener("click", () => $("#taken").close());
$("#taken code").textContent = CLUSTERPIPE.run.command.replace("FILE", FILE);

addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || $("dialog[open]")) return;
  const key = event.key.toLowerCase();
  const isControl = event.ctrlKey || event.metaKey;
  const does = (run) => (event.preventDefault(), run());
  if (key === "e" && !isControl && !event.altKey) return does(() => setEditing(!isEditing));
  if (!isEditing || event.altKey) return;
  if (isControl && key === "z") return does(event.shiftKey ? redo : undo);
  if (isControl && key === "y") return does(redo);
  if (isControl && key === "a" && open >= 0) return does(() => pick(all("#gallery .image").map((tile) => Number(tile.dataset.row))));
  if (isControl) return;
  const focused = document.activeElement.closest?.(".card[data-cluster]");
  if (focused && !picked.clusters.size && "rms".includes(key) && key.length === 1) toggleCluster(Number(focused.dataset.cluster));
  const command = Object.values(COMMANDS).find((command) => command.key === (key === "f2" ? "r" : key) && command.key && command.can());
  if (command) does(command.run);
});
