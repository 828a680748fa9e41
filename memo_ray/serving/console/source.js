// The dialog that shows a stretch of a document: what a citation or a reflection was made from.

import { look } from "./api.js";
import { byId, closable, make } from "./dom.js";

const NEAR = 400;
const FAR = 6000;

let shown = null;

const dialog = closable(byId("source"));
byId("source-more").addEventListener("click", () => shown && open(shown.place, shown.model, FAR));

/** A button that opens a place in a document. `modelOf` says with whose documents, when it is pressed. */
export function placeButton(place, modelOf, text = `${place.document_id} · ${place.start}–${place.end}`) {
  return make(
    "button",
    {
      type: "button",
      class: "place",
      title: "Show this place in the document",
      onclick: () => open(place, modelOf(), NEAR),
    },
    text,
  );
}

async function open(place, model, around) {
  shown = { place, model };
  const [title, where, text] = ["source-title", "source-where", "source-text"].map(byId);
  if (!dialog.open) {
    title.textContent = "Source";
    text.replaceChildren();
    dialog.showModal();
  }
  where.className = "hint";
  where.textContent = "Looking it up…";
  const more = byId("source-more");
  try {
    const { document_id, start, end } = place;
    const found = await look("v1/spans", { model, document_id, start, end, around });
    if (shown?.place !== place) return;
    title.textContent = found.title || found.document_id;
    where.textContent = `${found.document_id}, characters ${found.start} to ${found.end} of ${found.characters}`;
    const mark = make("mark", {}, found.text);
    text.replaceChildren(found.before, mark, found.after);
    const whole = found.before.length + found.text.length + found.after.length >= found.characters;
    more.hidden = whole || around === FAR;
    mark.scrollIntoView({ block: "center" });
  } catch (error) {
    where.textContent = error.message;
    where.className = "bad";
    more.hidden = true;
  }
}
