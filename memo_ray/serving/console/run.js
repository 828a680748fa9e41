// One run of the protocol: its stages as they happen, then the answer with its citations.

import { stream } from "./api.js";
import { answerSection, costSection } from "./answer.js";
import { Candidates } from "./candidates.js";
import { count, make, said, seconds, tag } from "./dom.js";
import { Panel } from "./panel.js";

const TITLES = {
  grounding: "Stage 1: grounding",
  identification: "Stage 2: identification",
  answering: "Stage 3: answering",
  decision: "Single turn",
  decomposition: "First decomposition",
  rounds: "Further rounds",
  synthesis: "Final synthesis",
};

export class ProtocolRun extends Panel {
  constructor(model, models) {
    super(model);
    this.models = models;
    this.top = make("div");
    this.candidates = new Candidates();
    this.known = make("ul", { class: "known" });
    this.knownSection = make("section", { hidden: true }, make("h3", {}, "Known so far"), this.known);
    this.stages = make("div", { class: "stages" });
    this.log = null;
    this.pending = [];
    this.body.append(this.top, this.candidates.element, this.knownSection, this.stages);
  }

  async follow(question, signal) {
    for await (const { event, data } of stream("v1/answers", { question, model: this.model, stream: true }, signal)) {
      if (event === "stage") this.take(data);
      if (event === "answer") this.finish(data);
    }
    if (!this.answered) this.fail("the gateway ended before the answer; its log says why");
  }

  /** Show one stage event; kinds that this page does not know are passed over. */
  take({ kind, stage, turn, data }) {
    if (kind === "stage") this.begin(stage, data.budget);
    if (this.log) {
      // A stage is announced before its first turn begins; what ends the last one comes after all of them.
      const at = `turn ${Math.max(turn, 1)} of ${this.budget}`;
      this.turns.textContent = at;
      if (stage !== "done") this.say(`${TITLES[stage] ?? stage}, ${at}`);
      this[`on_${kind}`]?.(data);
    }
  }

  begin(stage, budget) {
    this.budget = budget;
    this.turns = make("span", { class: "hint" });
    this.end = make("span", { class: "hint" });
    this.log = make("ol", { class: "log" });
    const title = TITLES[stage] ?? stage;
    this.stages.append(
      make("details", { open: true }, make("summary", {}, make("strong", {}, title), this.turns, this.end), this.log),
    );
  }

  line(kind, ...children) {
    const item = make("li", { class: kind }, ...children);
    this.log.append(item);
    return item;
  }

  on_asked({ questions }) {
    for (const row of questions) {
      const reply = make("p", { class: "reply waiting" }, "asking the memory…");
      const about = row.about ? [" ", tag(`about ${row.about}`)] : [];
      this.line("sub", make("p", {}, said(row.question), ...about), reply);
      this.pending.push({ id: row.id, reply });
    }
  }

  on_answer({ id, number, question, answer, unsure, note, memory, agreement }) {
    const place = this.pending.findIndex((row) => id === row.id || id.startsWith(`${row.id}.`));
    let reply;
    if (place >= 0) [{ reply }] = this.pending.splice(place, 1);
    else {
      // A second memory's answer to the same question.
      reply = make("p", { class: "reply" });
      this.line("sub", make("p", {}, said(question)), reply);
    }
    const notes = [note && tag(note, "warn"), memory && tag(memory), agreement && tag(`${agreement} wordings`)];
    reply.className = unsure ? "reply unsure" : "reply";
    reply.replaceChildren(make("span", { class: "number" }, `[${number}] `), said(answer), ...notes.filter(Boolean));
  }

  on_facts({ facts }) {
    this.known.replaceChildren(...facts.map((fact) => make("li", {}, said(fact))));
    this.knownSection.hidden = !facts.length;
  }

  on_candidates({ candidates }) {
    this.candidates.rank(candidates);
  }

  on_demoted({ name }) {
    this.candidates.demote(name);
    this.line("note warn", "moved down two ranks: ", said(name));
  }

  on_struck({ name }) {
    this.candidates.strike(name);
    this.line("note bad", "eliminated: ", said(name));
  }

  on_refused({ name, reason }) {
    this.line("note", "refused: ", said(name), ` (${reason})`);
  }

  on_entity({ name, confirmed, pivot_from }) {
    this.candidates.choose(name, confirmed);
    if (!name) return;
    const instead = pivot_from ? [", instead of ", said(pivot_from)] : [];
    this.line("note", "entity: ", said(name), confirmed ? " (confirmed" : " (best guess", ...instead, ")");
  }

  on_decision({ needs_memory }) {
    this.line("note", needs_memory ? "the memory is needed" : "the memory is not needed");
  }

  on_dropped({ question, reason }) {
    this.line("note", "not asked: ", said(question), ` (${reason})`);
  }

  on_repair({ reason }) {
    this.line("note warn", "asked for a repair: ", said(reason));
  }

  on_turn_lost({ reason }) {
    this.line("note bad", "turn lost: ", said(reason));
  }

  on_wordings_lost({ reason }) {
    this.line("note warn", "no other wordings: ", said(reason));
  }

  on_ended({ reason }) {
    this.end.textContent = `ended: ${reason}`;
  }

  finish(answer) {
    this.answered = true;
    for (const details of this.stages.querySelectorAll("details")) details.open = false;
    this.top.append(answerSection(answer, this.model, this.models));
    this.body.append(costSection(answer));
    const tokens = ["executive", "memory"].reduce(
      (sum, name) => sum + answer.usage[name].input_tokens + answer.usage[name].output_tokens,
      0,
    );
    this.say(
      `Answered in ${seconds(answer.seconds)} with ${count(tokens, "token")}`,
      answer.degraded ? "warn" : "good",
    );
  }

  ended() {
    for (const { reply } of this.pending) {
      reply.className = "reply unsure";
      reply.textContent = "no answer came";
    }
    this.pending = [];
  }
}
