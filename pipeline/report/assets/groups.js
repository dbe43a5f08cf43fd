// Coarser groups of clusters: a card for each, which opens into its clusters.
const SURVEYED = 60; // clusters, from which on one looks at groups first

const groupOf = (k) => machine[now.origin[k]]?.group ?? -1;

// By group, its clusters, the largest first.
function grouped() {
  return groupBy(present().sort((a, b) => sizeOf(b) - sizeOf(a)), groupOf);
}

// By group, its name: of its largest clusters, so that it differs from all others.
function groupNames(all = grouped()) {
  const captions = [...all.values()].map((clusters) => [...new Set(clusters.map((k) => nameOf(k) || title(k)))]);
  const names = distinct(captions.map((own) => own.slice(0, 2).join(", ")), (at) => captions[at].slice(2));
  return new Map([...all.keys()].map((g, at) => [g, g < 0 ? "in no group" : names[at]]));
}

// There are groups if some hold several clusters, and there are several of them.
function hasGroups() {
  const own = machine.map(({ group }) => group).filter((g) => g >= 0);
  const several = new Set(own).size;
  return several > 1 && several < own.length;
}
const isSurvey = () => hasGroups() && $("#level").value === "groups";

function groupCard(g, clusters, name) {
  const rows = clusters.flatMap((k) => rowsOf(k).filter(thumbnail).slice(0, clusters.length < 4 ? 4 : 1)).slice(0, 4);
  const total = clusters.reduce((sum, k) => sum + sizeOf(k), 0);
  const heading = make("div", { className: "name plain", textContent: name });
  const about = make("div", { className: "about", textContent: `${counted(clusters.length, "cluster")} · ${counted(total, "image")}` });
  const inside = make("div", { className: "about", textContent: listed(clusters.map(title), 4) });
  return make("a", { className: "card", href: clusters.length > 1 ? `#group-${g}` : `#cluster-${clusters[0]}` }, strip(rows), make("div", { className: "text" }, heading, about, inside));
}

function groupCards() {
  const found = grouped();
  const names = groupNames(found);
  const order = $("#order").value === "caption" ? (a, b) => collator.compare(names.get(a), names.get(b)) : (a, b) => a - b;
  const cards = [...found.keys()].sort(order).map((g) => groupCard(g, found.get(g), names.get(g)));
  $("#count").textContent = counted(cards.length, "group");
  return cards;
}

// What a group shows above its clusters.
function groupHead(g) {
  const back = make("p", { className: "tools ways" }, make("a", { href: "#clusters", textContent: isSurvey() ? "← all groups" : "← all clusters", title: "Esc" }));
  return [back, make("h3", { className: "cluster", tabIndex: -1, textContent: groupNames().get(g) })];
}

$("#level").parentElement.hidden = !hasGroups();
if (machine.length > SURVEYED) $("#level").value = "groups";
