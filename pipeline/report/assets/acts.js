// Corrections: what each act does to the clusters, undo and redo, and the lines of the log that say
// it. An act speaks of rows and clusters of this report; the log of images (corrections.md).
const NAMING = 64; // images by which a line names a cluster

function place(state, rows, k) {
  for (const i of rows) {
    state.touched.add(state.cluster[i]).add(k);
    state.cluster[i] = k;
    state.placed.add(i);
  }
}

const DOES = {
  rename: (state, { clusters: [k], name }) => state.names.set(k, name),
  merge(state, { clusters: [first, ...others] }) {
    for (let i = 0; i < count; i++) if (others.includes(state.cluster[i])) state.cluster[i] = first;
    for (const k of others) {
      state.hidden[first] += state.hidden[k];
      state.hidden[k] = 0;
      const name = state.names.get(k) ?? (machine[k]?.named && machine[k].caption);
      if (name && !state.names.has(first) && !machine[first]?.named) state.names.set(first, name);
    }
    state.touched.add(first);
  },
  split: (state, { clusters: [k], into }) => state.into.set(k, into),
  gather(state, { rows }) {
    const k = state.origin.length;
    const before = rows.map((i) => state.cluster[i]).filter((from) => from >= 0);
    state.origin.push(before.length ? state.origin[mostOf(before)] : -1);
    state.hidden.push(0);
    place(state, rows, k);
  },
  move: (state, { rows, clusters: [k] }) => place(state, rows, k),
  reject: (state, { rows }) => place(state, rows, -1),
  pin(state, { rows }) {
    for (const i of rows) state.placed.add(i), state.pinned.add(i);
  },
  star: (state, { rows }) => rows.forEach((i) => state.starred.add(i)),
  keep: (state, { rows }) => rows.forEach((i) => state.kept.set(i, true)),
  drop: (state, { rows }) => rows.forEach((i) => state.kept.set(i, false)),
};

function mostOf(values) {
  return [...groupBy(values, (value) => value)].sort((a, b) => b[1].length - a[1].length)[0][0];
}

// ---------------------------------------------------------------- undo and redo

let steps = []; // each a list of acts that are done and undone together
let done = 0; // steps in force

const inForce = () => steps.slice(0, done).flat();

function replay() {
  now = asWritten();
  for (const act of inForce()) DOES[act.act](now, act);
  rebuild();
}

function perform(...acts) {
  const time = new Date().toISOString();
  steps = [...steps.slice(0, done), acts.map((act) => ({ ...act, time }))];
  done = steps.length;
  replay();
  changed();
}

function travel(to) {
  if (to < 0 || to > steps.length) return;
  done = to;
  replay();
  changed();
}
const undo = () => travel(done - 1);
const redo = () => travel(done + 1);

// ---------------------------------------------------------------- lines of the log

// Rows in the order in which they stand for a cluster: exemplars, then those of lowest digest.
const namingOrder = () =>
  [...images.name.keys()].sort(
    (a, b) => (images.rank[a] || 1e9) - (images.rank[b] || 1e9) || (images.digest[a] < images.digest[b] ? -1 : 1),
  );
let naming = null;

const named = (rows) => Object.fromEntries(rows.map((i) => [identity(i), images.digest[i]]));

function reference(state, k) {
  naming ??= namingOrder();
  const rows = naming.filter((i) => state.cluster[i] === k);
  return { number: k, size: rows.length + state.hidden[k], images: named(rows.slice(0, NAMING)) };
}

function lines(state, act) {
  const { time, rows = [], clusters = [] } = act;
  const line = { act: act.act, time };
  if (act.act === "reject" || act.act === "pin") {
    const own = groupBy(rows.filter((i) => state.cluster[i] >= 0), (i) => state.cluster[i]);
    return [...own].map(([k, rows]) => ({ ...line, images: named(rows), clusters: [reference(state, k)] }));
  }
  if (rows.length) line.images = named(rows);
  if (clusters.length) line.clusters = clusters.map((k) => reference(state, k));
  return [line];
}

// The log as text. Splits and names come last, of the clusters as they are in the end: a name is
// dealt out by likeness, and what was merged since is not like it any more.
function written() {
  const acts = inForce();
  const state = asWritten();
  const found = [];
  for (const act of acts) {
    if (act.act !== "split" && act.act !== "rename") found.push(...lines(state, act));
    DOES[act.act](state, act);
  }
  const time = acts.at(-1)?.time;
  const last = (kind, k) => acts.findLast((act) => act.act === kind && act.clusters[0] === k)?.time ?? time;
  const alive = new Set(state.cluster);
  for (const [k, into] of state.into) {
    if (alive.has(k)) found.push({ act: "split", time: last("split", k), into, clusters: [reference(state, k)] });
  }
  for (const k of new Set([...state.names.keys(), ...state.touched])) {
    const name = state.names.get(k) ?? (machine[k]?.named ? machine[k].caption : "");
    if (name && alive.has(k)) found.push({ act: "rename", time: last("rename", k), name, clusters: [reference(state, k)] });
  }
  return found.map((line) => `${JSON.stringify(line)}\n`).join("");
}
