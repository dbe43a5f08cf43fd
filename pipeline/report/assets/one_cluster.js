// One cluster: its phrases, and its images by kind, in the order that was chosen.
const INSIDE = {
  best: null, // as in `preferred`
  unsure: (a, b) => likelihood(a) - likelihood(b),
  far: (a, b) => images.distance[b] - images.distance[a],
  taken: (a, b) => collator.compare(images.taken[a] || "unknown", images.taken[b] || "unknown"), // letters after digits
  name: (a, b) => collator.compare(images.name[a], images.name[b]),
};

function phrases(k) {
  const list = make("ul", { className: "phrases" });
  for (const [text, score] of phrasesOf(k)) {
    const item = make("li", { textContent: `${text} ${percent(score)}` });
    item.style.setProperty("--score", `${100 * score}%`);
    list.append(item);
  }
  return list.childElementCount ? list : null;
}

function ways(k) {
  const others = present();
  const step = (to, text) => (to === undefined ? null : make("a", { href: `#cluster-${to}`, textContent: text }));
  const found = make(
    "p",
    { className: "tools ways" },
    make("a", { href: "#clusters", textContent: isSurvey() ? "← all groups" : "← all clusters", title: listing === "#clusters" ? "Esc" : "" }),
    hasGroups() && groupOf(k) >= 0 ? make("a", { href: `#group-${groupOf(k)}`, textContent: `← ${groupNames().get(groupOf(k))}` }) : null,
    step(others.findLast((other) => other < k), "previous"),
    step(others.find((other) => other > k), "next"),
    make("a", { href: "#map", textContent: "on the map" }),
  );
  found.lastChild.addEventListener("click", () => highlight(k));
  return found;
}

function parts(k, rows) {
  const rest = rows.filter((i) => !isExemplar(i));
  const kind = (name) => rest.filter((i) => kindOf(i) === name);
  return [
    gallery("Exemplars", rows.filter(isExemplar), "Nearest to the centre of the cluster, best first."),
    gallery("Members", kind("")),
    gallery("Low confidence", kind("doubtful"), `Probability below ${percent(CLUSTERPIPE.doubtfulBelow)}.`),
    gallery("Outliers", kind("outlier"), "Of all images among the farthest from the others (curate.outliers)."),
  ].filter(Boolean);
}

function showCluster(k) {
  const { query, flag } = wanted();
  const rows = rowsOf(k).filter((i) => flag(i) && (!query || matches(k, query) || isCalled(i, query)));
  const order = INSIDE[$("#inside").value];
  if (order) rows.sort(order);
  const heading = make("h3", { tabIndex: -1, className: "cluster" }, make("span", { className: "name", textContent: title(k) }), make("small", { textContent: aboutCluster(k, rowsOf(k)) }));
  heading.firstChild.style.setProperty("--dot", colour(k, machine.length));
  const tools = isEditing ? clusterTools(k, rows) : null;
  $("#group").replaceChildren();
  $("#gallery").replaceChildren(...[ways(k), heading, phrases(k), tools, ...parts(k, rows)].filter(Boolean));
  $("#gallery").hidden = false;
  $("#cards").hidden = true;
  $("#count").textContent = `${number(rows.length)} of ${counted(sizeOf(k), "image")}`;
  return heading;
}
