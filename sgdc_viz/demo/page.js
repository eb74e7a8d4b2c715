// Keeps the address of the page in step with what it shows, and copies it. Runs once, for the box that holds it.
const told = () => element.querySelector(".sg-where").dataset;

function follow() {
  const query = "?" + told().query;
  if (query !== location.search) history.replaceState(null, "", query);
}

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
