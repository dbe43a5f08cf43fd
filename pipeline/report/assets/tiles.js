// Tiles and galleries: images as buttons, so many at a time.
const PAGE = 120;
const unfolded = new Map(); // by the name of a gallery, how many of its tiles are shown

function picture(i) {
  if (!thumbnail(i)) return make("span", { className: "none", textContent: images.name[i] });
  const img = make("img", { src: thumbnail(i), alt: images.name[i], loading: "lazy", decoding: "async", draggable: false });
  img.addEventListener("error", () => img.replaceWith(make("span", { className: "none", textContent: images.name[i] })));
  return img;
}

const described = (i) => [certainty(i), className(i)].filter(Boolean).join(" · ");

function tile(i, among, describe) {
  const about = describe(i);
  const button = make("button", { type: "button", className: `image ${kindOf(i)}` }, picture(i), make("small", { textContent: about }));
  button.title = `${images.name[i]}\n${title(clusterOf(i))} ${about}`;
  button.dataset.row = i;
  if (isEditing) button.ariaPressed = picked.images.has(i);
  button.addEventListener("click", (event) => {
    if (isEditing) pickTile(button, event);
    if (!isEditing || event.detail === 2) view(among, among.indexOf(i)); // a second click undoes the first
  });
  button.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    view(among, among.indexOf(i));
  });
  return button;
}

function gallery(heading, rows, note = "", describe = described) {
  if (!rows.length) return null;
  const grid = make("div", { className: "images" });
  const more = make("button", { type: "button", className: "pager" });
  const grow = (to) => {
    const from = grid.childElementCount;
    grid.append(...rows.slice(from, to).map((i) => tile(i, rows, describe)));
    more.hidden = grid.childElementCount === rows.length;
    more.textContent = `Show more (${number(rows.length - grid.childElementCount)} left)`;
    if (to > PAGE) unfolded.set(heading, to);
  };
  more.addEventListener("click", () => grow(grid.childElementCount + PAGE));
  grow(unfolded.get(heading) ?? PAGE);
  const head = make("h3", { textContent: `${heading} (${number(rows.length)})` });
  return make("section", {}, head, note ? make("p", { className: "note", textContent: note }) : null, grid, more);
}

// Arrow keys move between the tiles of a grid, and cards.
document.addEventListener("keydown", (event) => {
  const from = event.target.closest(".image, .card");
  if (!from || event.target.matches("input") || !event.key.startsWith("Arrow")) return;
  const grid = [...from.parentElement.children];
  const columns = grid.filter((other) => other.offsetTop === grid[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  const to = grid[grid.indexOf(from) + step];
  if (!to) return;
  event.preventDefault();
  to.focus();
  if (isEditing && event.shiftKey && to.matches(".image")) pickRange(to);
});
