// A card for each cluster, under the group it belongs to, and what is found by name.
const FLAGS = {
  all: () => true,
  exemplar: isExemplar,
  doubtful: (i) => kindOf(i) === "doubtful",
  outlier: (i) => kindOf(i) === "outlier",
  minority: isMinority,
  unassigned: (i) => clusterOf(i) < 0,
};
const CARD_ORDER = {
  number: (a, b) => a - b,
  size: (a, b) => sizeOf(b) - sizeOf(a),
  caption: (a, b) => collator.compare(title(a), title(b)),
  confidence: (a, b) => makeup(a).confidence - makeup(b).confidence,
};
const wanted = () => ({ query: $("#query").value.trim().toLowerCase(), flag: FLAGS[$("#flag").value] });

function matches(k, query) {
  const texts = [String(k), title(k), makeup(k).majority, ...phrasesOf(k).map(([text]) => text)];
  return texts.some((text) => text.toLowerCase().includes(query));
}

function strip(rows) {
  const found = rows.filter(thumbnail).slice(0, 4);
  if (isBare) return null;
  const img = (i) => make("img", { src: thumbnail(i), alt: "", loading: "lazy", decoding: "async", draggable: false });
  return make("div", { className: "strip" }, ...found.map(img), ...Array.from({ length: 4 - found.length }, () => make("span")));
}

function bar(confidence) {
  const found = make("div", { className: "bar", title: `mean probability ${percent(confidence)}` }, make("i"));
  found.firstChild.style.width = `${100 * confidence}%`;
  return found;
}

function aboutCluster(k, rows) {
  const { majority, share } = makeup(k);
  const size = sizeOf(k);
  const images = rows.length === size ? counted(size, "image") : `${number(rows.length)} of ${counted(size, "image")}`;
  const pieces = now.into.has(k) ? `to be split into ${now.into.get(k)}` : "";
  return [k, images, majority && `${percent(share)} ${majority}`, pieces].filter((part) => part !== "").join(" · ");
}

function card(k, rows) {
  const name = make(isEditing ? "button" : "div", { className: "name", textContent: title(k), title: isEditing ? "Rename (R)" : "" });
  name.style.setProperty("--dot", colour(k, machine.length));
  const text = make("div", { className: "text" }, name, make("div", { className: "about", textContent: aboutCluster(k, rows) }), bar(makeup(k).confidence));
  const found = isEditing ? make("div", { tabIndex: 0, role: "group", ariaLabel: title(k) }, strip(rows), text) : make("a", { href: `#cluster-${k}` }, strip(rows), text);
  found.className = "card";
  found.dataset.cluster = k;
  if (isEditing) makeEditable(found, k);
  return found;
}

// Cards of all clusters, or of a group, or of the groups.
function showCards(group) {
  const { query, flag } = wanted();
  const chosen = present().filter((k) => group < 0 || groupOf(k) === group);
  const isSearch = query !== "" || $("#flag").value !== "all";
  const found = query && group < 0 ? byName(query, flag) : [];
  const loose = query || group >= 0 ? [] : rowsOf(-1).filter(flag);
  const cards = group < 0 && !isSearch && isSurvey() ? groupCards() : clusterCards(chosen, found.length);
  $("#cards").replaceChildren(...cards);
  $("#group").replaceChildren(...(group < 0 ? [] : groupHead(group)));
  $("#gallery").replaceChildren(...[gallery("Images of that name", found), gallery("In no cluster", loose)].filter(Boolean));
  $("#gallery").hidden = !$("#gallery").childElementCount;
  $("#cards").hidden = false;
}

function clusterCards(chosen, found) {
  const { query, flag } = wanted();
  const cards = [];
  for (const k of [...chosen].sort(CARD_ORDER[$("#order").value])) {
    const rows = rowsOf(k).filter(flag);
    if (rows.length && (!query || matches(k, query))) cards.push(card(k, rows));
  }
  $("#count").textContent = `${number(cards.length)} of ${counted(chosen.length, "cluster")}` + (found ? `, ${counted(found, "image")}` : "");
  return cards;
}

function byName(query, flag) {
  return [...images.name.keys()].filter((i) => isCalled(i, query) && flag(i));
}
