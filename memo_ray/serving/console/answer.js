// A finished answer: its text, why, what supports it and where the documents say so, and what each stage cost.

import { byId, count, make, said, seconds, tag } from "./dom.js";
import { placeButton } from "./source.js";

/** Characters up to which an answer is set large. */
const SHORT = 160;

const STOPS = {
  unparsed: "the final reply followed no schema, so this is its text",
  failed: "the executive could not write the answer",
  deadline: "time was up",
};

/** The model whose documents a citation leads to: the version that answered, while it is still offered. */
export function sourceModel(citation, answer, model, models) {
  const version =
    answer.memories.find((name) => name.split("@")[0] === citation.memory) ??
    (answer.memories.length === 1 ? answer.memories[0] : "");
  const wanted = [version && `memo/${version}`, citation.memory && `memo/${citation.memory}`];
  return wanted.find((name) => name && models.includes(name)) ?? model;
}

export function answerSection(answer, model, models) {
  const tags = [
    answer.degraded && tag("picked from the memory’s answers", "warn"),
    STOPS[answer.stop_reason] && tag(STOPS[answer.stop_reason], "warn"),
    answer.entity &&
      tag(`${answer.entity}: ${answer.confirmed ? "confirmed" : "best guess"}`, answer.confirmed ? "good" : ""),
    ...answer.memories.map((name) => tag(name)),
  ];
  const citations = answer.citations.map((row) =>
    citationItem(row, (citation) => sourceModel(citation, answer, model, models)),
  );
  return make(
    "section",
    { class: "answer" },
    make("h3", {}, "Answer"),
    make("p", {}, said(answer.answer, `said answer-text ${answer.answer.length > SHORT ? "" : "short"}`)),
    answer.justification && make("p", { class: "why" }, said(answer.justification)),
    make("p", { class: "tags" }, ...tags),
    make("h3", {}, "Citations"),
    citations.length
      ? make("ol", { class: "citations" }, citations)
      : make("p", { class: "hint" }, "The answer names none of the memory’s answers."),
    make("p", {}, make("button", { type: "button", onclick: () => save(answer) }, "Save with its transcript")),
  );
}

function citationItem(row, modelOf) {
  const head = make(
    "p",
    {},
    make("span", { class: "number" }, `[${row.number}] `),
    said(row.question),
    row.memory && [" ", tag(row.memory)],
    row.note && [" ", tag(row.note, "warn")],
  );
  return make(
    "li",
    {},
    head,
    make("p", { class: "reply" }, said(row.answer)),
    row.passages.length > 0 &&
      make(
        "p",
        { class: "places" },
        row.passages.map((place) => placeButton(place, () => modelOf(row))),
      ),
    supportOf(row, modelOf),
  );
}

function supportOf(row, modelOf) {
  // Without a ledger nothing can be said for or against it; a passage is its own source.
  if (!row.support)
    return row.passages.length
      ? null
      : make("p", { class: "hint" }, "No ledger is served, so its source is not known.");
  if (!row.support.supported) {
    return make(
      "p",
      {},
      tag("not supported by the ledger", "bad"),
      make("span", { class: "hint" }, ` best score ${row.support.score}`),
    );
  }
  const matches = row.support.reflections.map((match) =>
    make(
      "li",
      {},
      make("p", {}, said(match.question), " → ", said(match.answer), " ", tag(`score ${match.score}`, "good")),
      make(
        "p",
        { class: "places" },
        match.places.map((place) => placeButton(place, () => modelOf(row))),
      ),
    ),
  );
  return make("ul", { class: "matches", "aria-label": "Reflections that state the same" }, matches);
}

export function costSection(answer) {
  const heads = ["Stage", "Turns", "Asked", "Unsure", "Executive tokens", "Memory tokens", "Time"];
  const rows = answer.stages.map((stage) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, stage.stage),
      ...[
        stage.lost ? `${stage.turns} (${stage.lost} lost)` : stage.turns,
        stage.asked,
        stage.unsure,
        (stage.executive_input_tokens + stage.executive_output_tokens).toLocaleString("en"),
        (stage.memory_input_tokens + stage.memory_output_tokens).toLocaleString("en"),
        seconds(stage.seconds),
      ].map((value) => make("td", { class: "number" }, value)),
    ),
  );
  const columns = make(
    "tr",
    {},
    heads.map((name, place) => make("th", { scope: "col", class: place ? "number" : "" }, name)),
  );
  const table = make("table", {}, make("thead", {}, columns), make("tbody", {}, rows));
  return make(
    "details",
    { class: "cost" },
    make(
      "summary",
      {},
      make("strong", {}, "What it took"),
      make("span", { class: "hint" }, count(answer.stages.length, "stage")),
    ),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What each stage took" }, table),
  );
}

/** Save the answer as a file, which `memo replay` and `memo blame` take. */
function save(answer) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(answer, null, 1)], { type: "application/json" }));
  const link = make("a", { href: address, download: `${answer.id}.json` });
  byId("main").append(link);
  link.click();
  link.remove();
  URL.revokeObjectURL(address);
}
