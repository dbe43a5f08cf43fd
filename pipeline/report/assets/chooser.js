// Chooses a cluster, by a few letters of its name or by its number.
const chooser = $("#chooser");
const CHOICES = 60;
let choices = []; // clusters in the order in which they are offered
let choose = null;

function askForCluster(what, offered, then) {
  choices = offered;
  choose = then;
  chooser.querySelector("h2").textContent = what;
  $("#choice").value = "";
  showChoices();
  chooser.showModal();
  $("#choice").focus();
}

function choice(k) {
  const first = rowsOf(k).find(thumbnail);
  const img = first === undefined ? null : make("img", { src: thumbnail(first), alt: "" });
  const found = make("button", { type: "button", className: "choice" }, ...[img].filter(Boolean), make("span", { textContent: title(k) }), make("small", { textContent: `${k} · ${counted(sizeOf(k), "image")}` }));
  found.addEventListener("click", () => chosen(k));
  return found;
}

function showChoices() {
  const query = $("#choice").value.trim().toLowerCase();
  const found = choices.filter((k) => !query || String(k) === query || title(k).toLowerCase().includes(query));
  chooser.querySelector(".choices").replaceChildren(...found.slice(0, CHOICES).map(choice));
}

function chosen(k) {
  chooser.close();
  choose(k);
}

$("#choice").addEventListener("input", showChoices);
chooser.addEventListener("keydown", (event) => {
  const buttons = all(".choice", chooser);
  const place = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown") buttons[Math.min(place + 1, buttons.length - 1)]?.focus();
  else if (event.key === "ArrowUp") (place > 0 ? buttons[place - 1] : $("#choice")).focus();
  else if (event.key === "Enter" && place < 0) buttons[0]?.click();
  else return;
  event.preventDefault();
});
chooser.querySelector(".close").addEventListener("click", () => chooser.close());

// Clusters for some images: the likeliest others of theirs first, then by name.
function likelyFor(rows) {
  const votes = new Map();
  for (const i of rows) votes.set(images.second[i], (votes.get(images.second[i]) ?? 0) + images.secondProbability[i]);
  const from = new Set(rows.map(clusterOf));
  const others = present().filter((k) => from.size > 1 || !from.has(k));
  return others.sort((a, b) => (votes.get(b) ?? 0) - (votes.get(a) ?? 0) || collator.compare(title(a), title(b)));
}
