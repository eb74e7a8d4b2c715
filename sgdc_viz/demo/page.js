// Keeps the address of the page in step with what it shows, and copies it. Runs once, for the box that holds it.
const told = () => element.querySelector(".sg-where").dataset;

function follow() {
  const query = "?" + told().query;
  if (query === location.search) return;
  // another tab or image is a step that the browser's Back takes back; a pixel is not
  const step = (search) => ["tab", "image"].map((name) => new URLSearchParams(search).get(name)).join(" ");
  const first = new URLSearchParams(location.search).get("tab") === null;
  history[first || step(query) === step(location.search) ? "replaceState" : "pushState"](null, "", query);
}
window.addEventListener("popstate", () => location.reload());

element.addEventListener("click", async (event) => {
  if (!event.target.closest("#sg-copy")) return;
  const link = location.origin + location.pathname + "?" + told().query;
  const answer = element.querySelector("#sg-copied");
  try {
    await navigator.clipboard.writeText(link);
    answer.textContent = "copied";
  } catch {
    answer.textContent = link; // no permission: to be copied by hand
  }
});
watch("value", () => {
  follow();
  document.dispatchEvent(new Event("sg-where")); // all pictures follow
});
