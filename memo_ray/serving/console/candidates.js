// The candidates of Stage 2: ranked anew each turn, moved down, eliminated, and one of them chosen.

import { make, said, tag } from "./dom.js";

const COLUMNS = [
  ["Rank", "number"],
  ["Candidate", ""],
  ["For", "number"],
  ["Against", "number"],
  ["Unsure", "number"],
];

export class Candidates {
  constructor() {
    this.rows = new Map();
    this.table = make("tbody");
    const heads = COLUMNS.map(([name, kind]) => make("th", { scope: "col", class: kind }, name));
    this.element = make(
      "section",
      { hidden: true },
      make("h3", {}, "Candidates"),
      make(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Candidates" },
        make("table", { class: "candidates" }, make("thead", {}, make("tr", {}, heads)), this.table),
      ),
      make("p", { class: "hint" }, "For and against: numbers of the memory’s answers."),
    );
  }

  /** The list of a turn. Who is no longer on it stays visible below. */
  rank(candidates) {
    const listed = new Set(candidates.map((row) => row.name));
    for (const row of candidates)
      this.rows.set(row.name, { struck: false, ...this.rows.get(row.name), ...row, left: false });
    for (const [name, row] of this.rows) if (!listed.has(name)) row.left = true;
    this.draw();
  }

  demote(name) {
    const row = this.rows.get(name);
    if (row) Object.assign(row, { demoted: true, rank: row.rank + 2 });
    this.draw();
  }

  strike(name) {
    const row = this.rows.get(name);
    if (row) row.struck = true;
    this.draw();
  }

  choose(name, confirmed) {
    for (const row of this.rows.values()) row.chosen = "";
    const row = this.rows.get(name);
    if (row) row.chosen = confirmed ? "confirmed" : "best guess";
    else if (name)
      this.rows.set(name, {
        name,
        rank: 1,
        for: [],
        against: [],
        unsure: 0,
        chosen: confirmed ? "confirmed" : "best guess",
      });
    this.draw();
  }

  draw() {
    const out = (row) => row.struck || row.left;
    const sorted = [...this.rows.values()].sort((a, b) => out(a) - out(b) || a.rank - b.rank);
    this.table.replaceChildren(...sorted.map((row) => this.rowOf(row, out(row))));
    this.element.hidden = !sorted.length;
  }

  rowOf(row, out) {
    const tags = [
      row.chosen && tag(row.chosen, row.chosen === "confirmed" ? "good" : "warn"),
      row.struck && tag("eliminated", "bad"),
      row.left && !row.struck && tag("no longer listed"),
      row.demoted && !out && tag("moved down", "warn"),
    ];
    const name = out ? make("s", {}, said(row.name)) : said(row.name);
    return make(
      "tr",
      { class: out ? "out" : "" },
      make("td", { class: "number" }, out ? "–" : row.rank),
      make("th", { scope: "row" }, name, ...tags.filter(Boolean)),
      make("td", { class: "number" }, row.for.join(", ") || "–"),
      make("td", { class: "number" }, row.against.join(", ") || "–"),
      // What an eliminated one had at the end is not told.
      make("td", { class: "number" }, out ? "–" : row.unsure),
    );
  }
}
