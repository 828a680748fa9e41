// The page: which view is shown, colours, the key, and the models that the key may ask.

import { key, look } from "./api.js";
import { byId, closable } from "./dom.js";
import { startAsking } from "./ask.js";
import { startBrowsing } from "./browse.js";

const THEME = "memo-ray-theme";
const VIEWS = ["ask", "documents"];

const asking = startAsking();
const browsing = startBrowsing();

function showView() {
  const wanted = location.hash.slice(1) || VIEWS[0];
  if (!VIEWS.includes(wanted)) return;
  for (const name of VIEWS) byId(name).hidden = name !== wanted;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${wanted === "ask" ? "Ask" : "Documents"} · memo-ray`;
  if (wanted === "documents") browsing.show();
}

function startTheme() {
  const select = byId("theme");
  const apply = () => document.documentElement.setAttribute("data-theme", select.value);
  select.value = localStorage.getItem(THEME) ?? "";
  select.addEventListener("change", () => {
    localStorage.setItem(THEME, select.value);
    apply();
  });
  apply();
}

function startKey() {
  const dialog = closable(byId("key"));
  const field = byId("key-value");
  byId("open-key").addEventListener("click", () => openKey());
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) key.set(field.value.trim());
    dialog.close();
    start();
  });
  byId("forget-key").addEventListener("click", () => {
    key.forget();
    dialog.close();
    start();
  });
  dialog.addEventListener("close", () => (field.value = ""));
}

function openKey() {
  byId("key").showModal();
  byId("key-value").focus();
}

/** Ask which models there are for the key, and offer them. */
async function start() {
  const notice = byId("notice");
  notice.hidden = true;
  let models = [];
  try {
    models = (await look("v1/models")).data.map((row) => row.id);
  } catch (error) {
    notice.textContent = error.status === 401 ? `${error.message}. Give one with “API key”.` : error.message;
    notice.hidden = false;
    if (error.status === 401 && !key.get()) openKey();
  }
  asking.offer(models);
  browsing.offer(models);
  showView();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  // The address names the view; it is not to be lost to a place in the page.
  event.preventDefault();
  byId("main").focus();
});
startTheme();
startKey();
window.addEventListener("hashchange", showView);
start();
