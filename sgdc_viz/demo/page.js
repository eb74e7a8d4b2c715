// Keeps the address of the page in step with what it shows, and copies it. Runs once, for the box that holds it.
const told = () => element.querySelector(".sg-where").dataset;

function address() {
  const query = new URLSearchParams(told().query);
  const page = window.sgdcPage; // the zoom is the browser's own affair, see linked.js
  if (page?.key === told().key) query.set("zoom", page.zoom);
  return "?" + query;
}

function follow() {
  const query = address();
  if (query === location.search) return;
  // another tab or image is a step that the browser's Back takes back; a pixel is not, nor what nobody did
  const step = (search) => ["tab", "image"].map((name) => new URLSearchParams(search).get(name)).join(" ");
  const first = new URLSearchParams(location.search).get("tab") === null;
  const replace = first || !window.sgdcActed || step(query) === step(location.search);
  history[replace ? "replaceState" : "pushState"](null, "", query);
}
for (const type of ["pointerdown", "keydown"]) window.addEventListener(type, () => (window.sgdcActed = true), true);
window.addEventListener("popstate", () => location.reload());

element.addEventListener("click", async (event) => {
  if (!event.target.closest("#sg-copy")) return;
  const link = location.origin + location.pathname + address();
  const answer = element.querySelector("#sg-copied");
  try {
    await navigator.clipboard.writeText(link);
    const own = new URLSearchParams(told().query).get("image").startsWith("upload-");
    answer.textContent = own ? "copied; your picture is not in it" : "copied";
  } catch {
    answer.textContent = link; // no permission: to be copied by hand
  }
});
let arrived = false; // until the page that the address asks for is here, the address must stay
document.addEventListener("sg-zoomed", () => arrived && follow());
watch("value", () => {
  arrived = true;
  follow();
  document.dispatchEvent(new Event("sg-where")); // all pictures follow
});
