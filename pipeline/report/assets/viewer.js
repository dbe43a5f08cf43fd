// The viewer: one image, large, with what is known of it.
const viewer = $("#viewer");
let among = [];
let at = 0;

function view(rows, where) {
  among = rows;
  at = where;
  showImage();
  if (!viewer.open) viewer.showModal();
}

function facts(i) {
  const found = [`${title(clusterOf(i))} ${certainty(i)}`];
  if (images.second[i] >= 0 && images.secondProbability[i] > 0) {
    found.push(`or ${title(images.second[i])} ${percent(images.secondProbability[i])}`);
  }
  if (images.width[i]) found.push(`${number(images.width[i])} × ${number(images.height[i])} pixels`);
  found.push(`${images.distance[i].toFixed(2)} times as far from the centre as half of the cluster`);
  found.push(...[images.taken?.[i].replace("T", " "), images.camera?.[i]].filter(Boolean));
  if (className(i)) found.push(`true class ${className(i)}`);
  return [images.name[i], ...found, `${number(at + 1)} of ${number(among.length)}`].join(" · ");
}

function links(i) {
  const found = [];
  if (images.original[i]) found.push(make("a", { href: images.original[i], target: "_blank", rel: "noopener", textContent: "open the original" }));
  const same = twinsOf(i);
  if (same.length > 1) {
    const group = make("button", { type: "button", className: "link", textContent: `its ${number(same.length)} near-duplicates` });
    group.addEventListener("click", () => view(same, same.indexOf(i)));
    found.push(group);
  }
  if (isEditing) {
    const box = make("button", { type: "button", className: "link", textContent: picked.images.has(i) ? "✓ selected" : "select", title: "Space" });
    box.addEventListener("click", () => pickViewed());
    found.push(box);
  }
  return found.flatMap((link) => [" · ", link]);
}

function showImage() {
  const i = among[at];
  const img = viewer.querySelector("img");
  const original = images.original[i];
  viewer.querySelector(".missing").textContent = original || !images.gone[i] ? "" : "The original is no longer where the run found it.";
  img.alt = images.name[i];
  img.hidden = !original && !thumbnail(i);
  img.onload = () => img.classList.toggle("small", img.naturalWidth < 100);
  img.onerror = () => fallBack(img, i);
  if (!img.hidden) img.src = original || thumbnail(i);
  else img.removeAttribute("src");
  viewer.querySelector("figcaption").replaceChildren(facts(i), ...links(i));
}

// A format that browsers do not show, or a file that went after the report was written.
function fallBack(img, i) {
  img.onerror = () => (img.hidden = true);
  viewer.querySelector(".missing").textContent = thumbnail(i)
    ? "The original cannot be shown here: it is gone, or of a format that browsers do not know. This is its thumbnail."
    : "The original cannot be shown here: it is gone, or of a format that browsers do not know.";
  if (thumbnail(i)) img.src = thumbnail(i);
  else img.hidden = true;
}

function pickViewed() {
  togglePick(among[at]);
  showImage();
}

function turn(step) {
  at = (at + step + among.length) % among.length;
  showImage();
}
viewer.querySelector(".previous").addEventListener("click", () => turn(-1));
viewer.querySelector(".next").addEventListener("click", () => turn(1));
viewer.querySelector(".close").addEventListener("click", () => viewer.close());
viewer.addEventListener("click", (event) => event.target.tagName === "FIGURE" && viewer.close());
viewer.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) turn(step);
  if (event.key !== " " || !isEditing) return;
  event.preventDefault();
  pickViewed();
});
