// What the address names: all clusters, a group of them, one of them, or a kind of images. Back, Esc
// and the links above a cluster lead to where one was.
let open = -1; // the cluster that is shown, -1 for a listing
let listing = "#clusters"; // what is listed, or was last: all clusters, or those of a group
const scrolled = new Map(); // by listing, how far it was scrolled

const hash = (kind) => Number(new RegExp(`^#${kind}-(\\d+)$`).exec(location.hash)?.[1] ?? -1);

function route(arrived) {
  const flag = /^#show-(\w+)$/.exec(location.hash)?.[1];
  if (arrived && flag in FLAGS) $("#flag").value = flag;
  const [before, k, group] = [open, hash("cluster"), hash("group")];
  if (arrived && before !== k) unfolded.clear();
  open = isThere(k) ? k : -1;
  document.body.classList.toggle("inside", open >= 0);
  if (open >= 0) {
    const heading = showCluster(open);
    if (arrived) arrive(heading);
    return;
  }
  const isGroup = grouped().has(group);
  const from = listing;
  listing = isGroup ? location.hash : "#clusters";
  showCards(isGroup ? group : -1);
  if (arrived) arriveAtListing(before, from, flag);
}

function arrive(heading) {
  heading?.focus({ preventScroll: true });
  $("#clusters").scrollIntoView();
}

function arriveAtListing(cluster, from, flag) {
  const target = document.getElementById(location.hash.slice(1));
  const isBack = cluster >= 0 || (from !== listing && listing === "#clusters");
  if (flag) $("#clusters").scrollIntoView();
  else if (target && target.id !== "clusters") target.scrollIntoView();
  else if (isBack && scrolled.has(listing)) {
    $(`.card[href="${cluster >= 0 ? `#cluster-${cluster}` : from}"], .card[data-cluster="${cluster}"]`)?.focus({ preventScroll: true });
    scrollTo(0, scrolled.get(listing));
  } else if (listing !== "#clusters") arrive($("#group h3"));
}

function leave() {
  if (open < 0 && listing === "#clusters") return false;
  location.hash = open < 0 ? "#clusters" : listing;
  return true;
}

addEventListener("scroll", () => open < 0 && scrolled.set(listing, scrollY), { passive: true });
addEventListener("hashchange", () => route(true));
$("#query").addEventListener("input", () => route(false));
for (const id of ["#flag", "#order", "#inside", "#level"]) $(id).addEventListener("change", () => route(false));
for (const link of all("header nav a")) link.addEventListener("click", () => scrolled.clear());

addEventListener("keydown", (event) => {
  if ($("dialog[open]") || (event.target.matches("input") && event.target.value)) return;
  if (event.key === "Escape") unpick() || leave();
  else if (event.key === "/" && !event.target.matches("input, select")) {
    event.preventDefault();
    $("#query").focus();
  }
});
