// The clusters: as the report was written (`machine`), and as corrected since (`now`).
const machine = CLUSTERPIPE.clusters;
const shown = machine.map(() => 0); // images of each that the report shows; there may be more
for (const k of images.cluster) if (k >= 0) shown[k]++;

// Rows in the order in which a cluster shows them.
const preferred = [...images.name.keys()].sort(
  (a, b) => (images.rank[a] || 1e9) - (images.rank[b] || 1e9) || images.probability[b] - images.probability[a],
);

function asWritten() {
  return {
    cluster: Int32Array.from(images.cluster), // of each image; -1 none
    hidden: machine.map(({ size }, k) => size - shown[k]), // images that are not shown
    origin: [...machine.keys()], // the cluster of the machine that most of it comes from
    names: new Map(), // names that a person gave, by cluster
    into: new Map(), // numbers of pieces that clusters are to be split into
    touched: new Set(), // clusters that are not as written
    placed: new Set(), // images where a person decided
    pinned: new Set(),
    starred: new Set(),
    kept: new Map(), // by image: true to keep it of its near-duplicates, false to leave it out
  };
}

let now = asWritten();
let members = [];
let titles = [];

const clusterOf = (i) => now.cluster[i];
const rowsOf = (k) => members[k < 0 ? now.origin.length : k];
const sizeOf = (k) => rowsOf(k).length + (now.hidden[k] ?? 0);
const isThere = (k) => k >= 0 && k < now.origin.length && sizeOf(k) > 0;
const present = () => [...now.origin.keys()].filter(isThere);
const phrasesOf = (k) => machine[k]?.phrases ?? [];
const nameOf = (k) => now.names.get(k) ?? machine[k]?.caption ?? "";
const isNamed = (k) => now.names.has(k) || machine[k]?.named === true;
const title = (k) => (k < 0 ? "no cluster" : titles[k]);
const isExemplar = (i) => now.starred.has(i) || (images.rank[i] > 0 && !now.placed.has(i));
const kindOf = (i) => (now.placed.has(i) ? "" : images.kind[i]);
const isKept = (i) => now.kept.get(i) ?? images.kept[i];
const certainty = (i) => (now.placed.has(i) ? (now.pinned.has(i) ? "pinned" : "you") : percent(images.probability[i]));
const likelihood = (i) => (now.placed.has(i) ? 1 : images.probability[i]);

function rebuild() {
  members = Array.from({ length: now.origin.length + 1 }, () => []);
  for (const i of preferred) members[now.cluster[i] < 0 ? now.origin.length : now.cluster[i]].push(i);
  for (const i of now.starred) {
    const rows = rowsOf(clusterOf(i));
    rows.unshift(...rows.splice(rows.indexOf(i), 1));
  }
  const names = [...now.origin.keys()].map((k) => nameOf(k) || `cluster ${k}`);
  titles = distinct(names, (k) => phrasesOf(k).map(([text]) => text), isThere);
}

// Names of which equal ones have a second word: the first of their own that the others do not have.
function distinct(names, wordsOf, counts = () => true) {
  const twins = groupBy([...names.keys()].filter(counts), (k) => names[k]);
  const found = [...names];
  for (const [name, same] of twins) {
    if (same.length < 2) continue;
    const words = same.map((k) => wordsOf(k).filter((word) => word !== name));
    const given = new Set();
    same.forEach((k, at) => {
      const own = words[at].find((word) => !words.some((others, other) => other !== at && others.includes(word)));
      const word = own ?? words[at].find((word) => !given.has(word)) ?? `number ${k}`;
      given.add(word);
      found[k] = `${name}, ${word}`;
    });
  }
  return found;
}

// What the images of a cluster are like: how sure, and of which true class.
function makeup(k) {
  if (!now.touched.has(k)) return machine[k];
  const rows = rowsOf(k);
  const labelled = rows.filter(className);
  const [majority, own] = [...groupBy(labelled, className)].sort((a, b) => b[1].length - a[1].length)[0] ?? ["", []];
  const confidence = rows.reduce((sum, i) => sum + likelihood(i), 0) / Math.max(rows.length, 1);
  return { confidence, majority, share: own.length / Math.max(labelled.length, 1) };
}

const isMinority = (i) => className(i) !== "" && clusterOf(i) >= 0 && className(i) !== makeup(clusterOf(i)).majority;
