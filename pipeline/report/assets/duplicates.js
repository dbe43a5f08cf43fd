// Near-duplicates side by side, and images like no other.
const GROUPS_SHOWN = 24;
// From the number of a group to its rows, the one to keep first.
const twins = groupBy([...images.name.keys()].filter((i) => images.group?.[i] >= 0), (i) => images.group[i]);
for (const rows of twins.values()) {
  rows.sort((a, b) => images.kept[b] - images.kept[a] || images.similarity[b] - images.similarity[a]);
}
const twinsOf = (i) => twins.get(images.group?.[i]) ?? [];
const REPEATS = {
  all: () => true,
  exact: (rows) => rows.some((i) => images.copied[i]),
  near: (rows) => !rows.some((i) => images.copied[i]),
  across: (rows) => rows.some((i) => clusterOf(i) !== clusterOf(rows[0])),
};

// Where a person keeps some of a group, those are kept in place of the one that was found.
function isOneToKeep(i, rows) {
  const chosen = rows.some((other) => now.kept.get(other) === true);
  return chosen ? now.kept.get(i) === true : isKept(i);
}

function family(g) {
  const rows = twins.get(g);
  const describe = (i) => {
    const what = now.kept.get(i) === false ? "left out" : isOneToKeep(i, rows) ? "keep" : "";
    return [what, images.copied[i] ? "exact copy" : images.similarity[i].toFixed(3), images.name[i]].filter(Boolean).join(" · ");
  };
  const found = gallery(`Group ${g + 1}`, rows, listed([...new Set(rows.map((i) => title(clusterOf(i))))], 5), describe);
  found.className = "group";
  for (const tile of all(".image", found)) {
    const i = Number(tile.dataset.row);
    tile.classList.toggle("kept", isOneToKeep(i, rows));
    tile.classList.toggle("dropped", now.kept.get(i) === false);
  }
  return found;
}

let groupsShown = GROUPS_SHOWN;
function showGroups() {
  if (!$("#groups")) return;
  const query = $("#twins").value.trim().toLowerCase();
  const isNamedSo = (i) => isCalled(i, query) || title(clusterOf(i)).toLowerCase().includes(query);
  const chosen = [...twins.keys()].sort((a, b) => a - b).filter((g) => REPEATS[$("#repeats").value](twins.get(g)) && twins.get(g).some(isNamedSo));
  $("#groups").replaceChildren(...chosen.slice(0, groupsShown).map(family));
  $("#groups-count").textContent = `${number(chosen.length)} of ${counted(twins.size, "group")}`;
  $("#more-groups").hidden = chosen.length <= groupsShown;
  $("#more-groups").textContent = `Show more groups (${number(chosen.length - groupsShown)} left)`;
}

function showLoners() {
  if (!$("#loners")) return;
  const rows = [...images.name.keys()].filter((i) => images.alone[i]).sort((a, b) => images.isolation[b] - images.isolation[a]);
  const found = gallery("Outliers", rows, "", (i) => `${images.isolation[i].toFixed(3)} · ${images.name[i]}`);
  $("#loners").replaceChildren(...(found ? [found] : []));
}

if ($("#groups")) {
  const again = () => ((groupsShown = GROUPS_SHOWN), showGroups());
  $("#twins").addEventListener("input", again);
  $("#repeats").addEventListener("change", again);
  $("#more-groups").addEventListener("click", () => ((groupsShown += GROUPS_SHOWN), showGroups()));
}
