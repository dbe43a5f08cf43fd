// Renaming in place, and merging by dragging a card onto a card.
function rename(element, k) {
  const field = make("input", { type: "text", value: nameOf(k), className: "rename", ariaLabel: `New name of cluster ${k}` });
  let isOver = false;
  const finish = (name) => {
    if (isOver) return;
    isOver = true;
    field.replaceWith(element);
    if (name && name !== nameOf(k)) perform({ act: "rename", clusters: [k], name });
    focusCluster(k);
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") finish(field.value.trim());
    if (event.key === "Escape") finish("");
  });
  field.addEventListener("blur", () => finish(field.value.trim()));
  for (const kind of ["click", "pointerdown"]) field.addEventListener(kind, (event) => event.stopPropagation());
  element.replaceWith(field);
  field.select();
}

function renameCluster(k) {
  const element = open === k ? $("#gallery .cluster .name") : $(`.card[data-cluster="${k}"] .name`);
  if (element) rename(element, k);
}

function focusCluster(k) {
  if (open < 0) $(`.card[data-cluster="${k}"]`)?.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- cards

function makeEditable(card, k) {
  const box = make("button", { type: "button", className: "pick", role: "checkbox", ariaChecked: picked.clusters.has(k), ariaLabel: `Select ${title(k)}` });
  const enter = make("a", { className: "enter", href: `#cluster-${k}`, textContent: "open" });
  card.prepend(box);
  card.querySelector(".about").prepend(enter);
  card.classList.toggle("picked", picked.clusters.has(k));
  card.querySelector(".name").addEventListener("click", (event) => {
    event.stopPropagation();
    renameCluster(k);
  });
  card.addEventListener("click", (event) => {
    if (event.target !== enter && !wasDragged) toggleCluster(k);
  });
  card.addEventListener("keydown", (event) => {
    if (event.target !== card) return;
    if (event.key === "Enter") location.hash = `#cluster-${k}`;
    else if (event.key === " ") toggleCluster(k);
    else return;
    event.preventDefault();
  });
  card.addEventListener("pointerdown", (event) => startDrag(event, card, k));
}

let wasDragged = false; // the click that ends a drag is none

// Touch scrolls; there, cards are selected and merged by the bar.
function startDrag(event, card, k) {
  wasDragged = false;
  if (event.pointerType === "touch" || event.button !== 0 || event.target.closest("a, .pick")) return;
  const [fromX, fromY] = [event.clientX, event.clientY];
  let target = null;
  const move = ({ clientX, clientY }) => {
    const [dx, dy] = [clientX - fromX, clientY - fromY];
    if (!wasDragged && Math.hypot(dx, dy) < 6) return;
    wasDragged = true;
    card.classList.add("dragged");
    card.style.translate = `${dx}px ${dy}px`;
    const under = document.elementFromPoint(clientX, clientY)?.closest(".card[data-cluster]");
    if (under === target) return;
    target?.classList.remove("target");
    target = under ?? null;
    target?.classList.add("target");
  };
  const stop = (how) => {
    removeEventListener("pointermove", move);
    card.classList.remove("dragged");
    card.style.translate = "";
    target?.classList.remove("target");
    if (how.type === "pointerup" && target) merge([Number(target.dataset.cluster), k]);
  };
  addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, stop, { once: true });
}
