// The view "Documents": what a memory was made from, with what it recalls of each document, and its reflections.

import { look } from "./api.js";
import { byId, count, make, offer, said, share, tag } from "./dom.js";
import { placeButton } from "./source.js";

const ROWS = 25;
const HEADS = [
  ["Document", ""],
  ["Characters", "number minor"],
  ["Chunks", "number minor"],
  ["Reflections", "number"],
  ["Recall", "number"],
];

export function startBrowsing() {
  const listing = byId("listing");
  const pairs = byId("pairs");
  const select = byId("memory");
  let stale = true;
  let asked = 0;

  async function load(place, path, query, draw) {
    // Of two answers on their way only the one asked for last counts.
    const number = (asked += 1);
    place.replaceChildren(make("p", { class: "hint", role: "status" }, "Looking…"));
    try {
      const found = await look(path, { model: select.value, ...query });
      if (number === asked) place.replaceChildren(...draw(found));
    } catch (error) {
      if (number === asked) place.replaceChildren(make("p", { class: "notice bad", role: "alert" }, error.message));
    }
  }

  function documents(offset = 0) {
    pairs.replaceChildren();
    if (!select.value) return listing.replaceChildren();
    const query = { contains: byId("words").value, sort: byId("sort").value, offset, limit: ROWS };
    return load(listing, "v1/documents", query, (found) => {
      if (!found.total) return [make("p", { class: "hint" }, "No document fits.")];
      const rows = found.data.map((row) => documentRow(row, () => reflections(row)));
      const heads = HEADS.map(([name, kind]) => make("th", { scope: "col", class: kind }, name));
      const table = make(
        "table",
        { class: "documents" },
        make("caption", { class: "unseen" }, "Documents of this memory"),
        make("thead", {}, make("tr", {}, heads)),
        make("tbody", {}, rows),
      );
      const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Documents" }, table);
      return [scroll, pager(found, "document", documents)];
    });
  }

  async function reflections(row, offset = 0) {
    await load(pairs, "v1/reflections", { document_id: row.document_id, offset, limit: ROWS }, (found) => [
      make("h2", { dir: "auto" }, row.title || row.document_id),
      make("p", { class: "hint" }, recallText(row)),
      make(
        "p",
        {},
        placeButton(
          { document_id: row.document_id, start: 0, end: row.characters },
          () => select.value,
          "Read the document",
        ),
      ),
      make(
        "ul",
        { class: "pairs" },
        found.data.map((pair) => pairItem(pair, () => select.value)),
      ),
      found.total
        ? pager(found, "reflection", (next) => reflections(row, next))
        : make("p", { class: "hint" }, "No reflection came from it."),
    ]);
    pairs.focus();
  }

  byId("find").addEventListener("submit", (event) => {
    event.preventDefault();
    documents();
  });
  for (const id of ["memory", "sort"]) byId(id).addEventListener("change", () => documents());

  return {
    /** Offer the memories among these models: each once, through the protocol where the key may ask it. */
    offer(models) {
      const names = models.filter((name) => name === "memo" || name.startsWith("memo/"));
      const bare = models.filter(
        (name) => name.startsWith("memory") && !models.includes(name.replace("memory", "memo")),
      );
      offer(
        select,
        [...names, ...bare].map((name) => [name, name]),
      );
      stale = true;
    },
    /** Show the first page, when the view is opened for the first time with these models. */
    show() {
      if (!stale) return;
      stale = false;
      documents();
    },
  };
}

function documentRow(row, open) {
  const name = make(
    "button",
    { type: "button", class: "link", dir: "auto", onclick: open },
    row.title || row.document_id,
  );
  const id = row.title && row.title !== row.document_id ? make("span", { class: "hint id" }, row.document_id) : null;
  const recall =
    row.recall == null
      ? "–"
      : [make("meter", { min: 0, max: 1, value: row.recall, "aria-hidden": "true" }), ` ${share(row.recall)}`];
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, id),
    make("td", { class: "number minor" }, row.characters.toLocaleString("en")),
    make("td", { class: "number minor" }, row.chunks.toLocaleString("en")),
    make("td", { class: "number" }, row.reflections.toLocaleString("en")),
    make("td", { class: "number", title: recallText(row) }, recall),
  );
}

function recallText(row) {
  if (row.recall == null) return "Recall is not known: no evaluation of this memory asked for it.";
  return `${share(row.recall)} of ${count(row.asked, "trained reflection")} answered rightly by the memory alone.`;
}

function pairItem(pair, modelOf) {
  const recalled =
    pair.recalled == null ? null : tag(pair.recalled ? "recalled" : "not recalled", pair.recalled ? "good" : "bad");
  return make(
    "li",
    {},
    make("p", {}, said(pair.question)),
    make("p", { class: "reply" }, said(pair.answer)),
    make("p", { class: "tags" }, tag(pair.step), pair.split === "held_out" ? tag("held out", "warn") : null, recalled),
    make(
      "p",
      { class: "places" },
      pair.places.map((place) => placeButton(place, modelOf)),
    ),
  );
}

/** "1–25 of 60 documents" with the ways to the pages before and after. */
function pager(found, one, go) {
  const last = found.offset + found.data.length;
  return make(
    "nav",
    { class: "pager", "aria-label": `Pages of ${one}s` },
    make(
      "button",
      { type: "button", disabled: found.offset === 0, onclick: () => go(Math.max(0, found.offset - ROWS)) },
      "Previous",
    ),
    make("span", {}, `${found.offset + 1}–${last} of ${count(found.total, one)}`),
    make("button", { type: "button", disabled: last >= found.total, onclick: () => go(last) }, "Next"),
  );
}
