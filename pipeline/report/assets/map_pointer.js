// The map under pointer, touch and keys: hover, pan, zoom, lasso.
const hover = $("#hover");
let lasso = null; // places on the screen while a line is drawn

function show(i) {
  hover.hidden = i < 0;
  if (i < 0) return;
  const img = thumbnail(i) ? make("img", { src: thumbnail(i), alt: "" }) : null;
  const about = `${title(clusterOf(i))} ${described(i)}`;
  hover.replaceChildren(...[img, make("b", { textContent: images.name[i] }), make("div", { textContent: about })].filter(Boolean));
  const right = screenX(i) > size.width / 2;
  const low = screenY(i) > size.height / 2;
  hover.style.left = `${screenX(i) + (right ? -14 : 14)}px`;
  hover.style.top = `${screenY(i) + (low ? -14 : 14)}px`;
  hover.style.transform = `translate(${right ? "-100%" : "0"}, ${low ? "-100%" : "0"})`;
}
const hide = () => show(-1);

function resize() {
  const { width, height } = canvas.getBoundingClientRect();
  const dots = Math.min(devicePixelRatio || 1, 2);
  size = { width, height, side: 0.94 * Math.min(width, height), dots };
  canvas.width = width * dots;
  canvas.height = height * dots;
  size.pixels = count > MANY && width && height ? pen.createImageData(canvas.width, canvas.height) : null;
  samples = new Map();
  redraw();
}

// ---------------------------------------------------------------- lasso

const isLassoing = () => isEditing && $("#lasso").ariaPressed === "true";

function drawLasso() {
  if (!lasso) return;
  const accent = getComputedStyle(document.body).getPropertyValue("--accent");
  pen.strokeStyle = accent;
  pen.fillStyle = accent;
  pen.lineWidth = 2;
  pen.beginPath();
  for (const [px, py] of lasso) pen.lineTo(px, py);
  pen.closePath();
  pen.stroke();
  pen.globalAlpha = 0.1;
  pen.fill();
  pen.globalAlpha = 1;
}

function endLasso(event) {
  const line = lasso;
  lasso = null;
  if (line.length > 2) pick(enclosed(line), { keep: event.shiftKey || event.ctrlKey || event.metaKey });
  else redraw();
}

// ---------------------------------------------------------------- pointer

const touches = new Map();
let moved = 0;

function drag(event) {
  const before = touches.get(event.pointerId);
  const here = [event.offsetX, event.offsetY];
  const [dx, dy] = [here[0] - before[0], here[1] - before[1]];
  moved += Math.abs(dx) + Math.abs(dy);
  touches.set(event.pointerId, here);
  const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const reach = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
    lasso = null;
    zoom(reach(here) / reach(before), ...other);
  } else if (lasso) {
    lasso.push(here);
    redraw();
  } else if (moved > 4) pan(dx, dy);
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  touches.set(event.pointerId, [event.offsetX, event.offsetY]);
  moved = 0;
  if (isLassoing() || (isEditing && event.shiftKey)) lasso = [[event.offsetX, event.offsetY]];
  hide();
});
canvas.addEventListener("pointermove", (event) => {
  if (touches.has(event.pointerId)) drag(event);
  else show(nearest(event.offsetX, event.offsetY, 14));
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    touches.delete(event.pointerId);
    if (lasso) endLasso(event);
  });
}
canvas.addEventListener("pointerleave", hide);
canvas.addEventListener("click", (event) => {
  if (moved > 4) return;
  const i = nearest(event.offsetX, event.offsetY, 18);
  if (i < 0) return;
  if (isEditing) togglePick(i);
  else view([i, ...rowsOf(clusterOf(i)).filter((other) => other !== i)], 0);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [50, 0], ArrowRight: [-50, 0], ArrowUp: [0, 50], ArrowDown: [0, -50] };
  if (steps[event.key]) pan(...steps[event.key]);
  else if ("+=".includes(event.key)) zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") whole();
  else return;
  event.preventDefault();
});
$("#closer").addEventListener("click", () => zoom(1.6));
$("#farther").addEventListener("click", () => zoom(1 / 1.6));
$("#whole").addEventListener("click", whole);
$("#lasso").addEventListener("click", (event) => (event.target.ariaPressed = String(!isLassoing())));
$("#colour").addEventListener("change", regroup);
$("#highlight").addEventListener("change", (event) => highlight(Number(event.target.value)));
