// Keeps the corrections of a run in the browser until they are downloaded, and hands them out.
const SHELF = `clusterpipe ${CLUSTERPIPE.run.folder}`;
const FILE = `corrections-${CLUSTERPIPE.run.name.replace(/[^\p{L}\p{N}._-]+/gu, "_") || "run"}.jsonl`;
let earlier = null; // text of corrections of an earlier report of the run, that nobody has taken
let isTaken = true; // nothing has changed since the last download
let isStored = true;

function remember() {
  const value = { of: CLUSTERPIPE.run.key, steps, done, text: done ? written() : "", isTaken, earlier };
  try {
    if (steps.length || earlier) localStorage.setItem(SHELF, JSON.stringify(value));
    else localStorage.removeItem(SHELF);
    isStored = true;
  } catch {
    isStored = false; // no room, or a browser that keeps nothing
  }
}

function recall() {
  let value = null;
  try {
    value = JSON.parse(localStorage.getItem(SHELF));
  } catch {
    isStored = false;
  }
  if (!value) return;
  earlier = value.earlier;
  if (value.of === CLUSTERPIPE.run.key) ({ steps, done, isTaken } = value);
  else if (value.text && !value.isTaken) earlier = (earlier ?? "") + value.text;
}

function save(text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" })), download: FILE });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function download() {
  save(written());
  isTaken = true;
  remember();
}

function downloadEarlier() {
  save(earlier);
  forgetEarlier();
}

function forgetEarlier() {
  earlier = null;
  remember();
}
