// Data of the report, from data.js, and the helpers that every part uses. All text from the run is
// set as text, never as markup.
const { images, classes } = CLUSTERPIPE;
const count = images.name.length;
const $ = (selector) => document.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const number = (value) => value.toLocaleString("en");
const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

// As `percent` in page.py: whole, and never 0 or 100 for what is not.
function percent(value) {
  if (value > 0 && value < 0.01) return "<1%";
  return value < 1 && value > 0.99 ? ">99%" : `${Math.round(100 * value)}%`;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const hue = (k, of) => (of < 13 ? (360 * k) / Math.max(of, 1) : (k * 137.508) % 360);
function colour(k, of) {
  const ring = [[62, 46], [72, 62], [50, 38]][Math.floor(k / 13) % 3];
  return k < 0 ? "#888888" : `hsl(${hue(k, of)} 65% ${ring[dark.matches ? 0 : 1]}%)`;
}

const thumbnail = (i) => (images.thumb[i] ? `thumbnails/${images.digest[i].slice(0, 2)}/${images.digest[i]}.webp` : "");
const isBare = !images.thumb.some(Boolean); // features only: nothing to look at
const identity = (i) => images.id?.[i] ?? images.name[i]; // as the run knows it; the name is safe to show
const isCalled = (i, query) => [images.name[i], images.taken?.[i], images.camera?.[i]].some((text) => text?.toLowerCase().includes(query));
const className = (i) => (images.label[i] >= 0 ? classes[images.label[i]] : "");
const collator = new Intl.Collator("en", { numeric: true });

// What has the same key, in the order given: a map from keys to lists.
function groupBy(values, keyOf) {
  const found = new Map();
  for (const value of values) {
    const key = keyOf(value);
    if (found.has(key)) found.get(key).push(value);
    else found.set(key, [value]);
  }
  return found;
}

// The first `most` names, and how many more there are.
function listed(names, most = 3) {
  const more = names.length > most ? ` and ${number(names.length - most)} more` : "";
  return names.slice(0, most).join(", ") + more;
}
