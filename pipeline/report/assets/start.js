// All parts are there: what was kept comes back, and everything is shown.
recall();
replay();
listClusters();
showGroups();
showLoners();
dark.addEventListener("change", () => (regroup(), route(false)));
new ResizeObserver(resize).observe(canvas);
regroup();
resize();
showBar();
route(location.hash.startsWith("#cluster-") || location.hash.startsWith("#show-"));

document.body.classList.toggle("bare", isBare);
$("#sections").addEventListener("click", () => {
  $("#sections").ariaExpanded = $("#nav").classList.toggle("open");
});
$("#nav").addEventListener("click", () => {
  $("#nav").classList.remove("open");
  $("#sections").ariaExpanded = false;
});
for (const link of all('a[href="#metrics"]')) link.addEventListener("click", () => ($("#metrics").open = true));
