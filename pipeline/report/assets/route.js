// What the address names: all clusters, one of them, or a kind of images. Back, Esc and the link to
// all clusters lead to where one was.
let open = -1; // the cluster that is shown, -1 for all
let kept = null; // where all clusters were left: how far they were scrolled

const hash = (kind) => Number(new RegExp(`^#${kind}-(\\d+)$`).exec(location.hash)?.[1] ?? -1);

function route(arrived) {
  const flag = /^#show-(\w+)$/.exec(location.hash)?.[1];
  if (arrived && flag in FLAGS) $("#flag").value = flag;
  const k = hash("cluster");
  const before = open;
  if (arrived && before < 0 && isThere(k)) kept = scrollY;
  if (arrived && before !== k) unfolded.clear();
  open = isThere(k) ? k : -1;
  document.body.classList.toggle("inside", open >= 0);
  if (open < 0) {
    showCards();
    if (arrived) arriveAtAll(before, flag);
    return;
  }
  const heading = showCluster(open);
  if (!arrived) return;
  heading.focus({ preventScroll: true });
  $("#clusters").scrollIntoView();
}

function arriveAtAll(from, flag) {
  const target = document.getElementById(location.hash.slice(1));
  if (flag) $("#clusters").scrollIntoView();
  else if (target && target.id !== "clusters") target.scrollIntoView();
  else if (from >= 0 && kept !== null) {
    $(`.card[data-cluster="${from}"]`)?.focus({ preventScroll: true });
    scrollTo(0, kept);
  }
}

function leave() {
  if (open < 0) return false;
  location.hash = "#clusters";
  return true;
}

addEventListener("hashchange", () => route(true));
$("#query").addEventListener("input", () => route(false));
for (const id of ["#flag", "#order", "#inside"]) $(id).addEventListener("change", () => route(false));
for (const link of all("header nav a")) link.addEventListener("click", () => (kept = null));

addEventListener("keydown", (event) => {
  if (event.target.matches("input, select") || $("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    $("#query").focus();
  } else if (event.key === "Escape") unpick() || leave();
});
