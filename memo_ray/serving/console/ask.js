// The view "Ask": a question to one model, or to two side by side.

import { byId, offer } from "./dom.js";
import { ProtocolRun } from "./run.js";
import { ModelRun } from "./alone.js";

export function startAsking() {
  const form = byId("ask-form");
  const question = byId("question");
  let models = [];
  let running = [];

  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = question.value.trim();
    const chosen = [byId("model").value, byId("other").value].filter(Boolean);
    if (!text || !chosen.length) return;
    for (const run of running) run.stop();
    // The protocol's models and the models alone are asked and shown in different ways.
    running = chosen.map(
      (model) => new (model.startsWith("memo/") || model === "memo" ? ProtocolRun : ModelRun)(model, models),
    );
    byId("runs").replaceChildren(...running.map((run) => run.element));
    for (const run of running) run.ask(text);
  });

  return {
    /** Offer these models. */
    offer(found) {
      models = found;
      offer(
        byId("model"),
        found.map((name) => [name, name]),
      );
      offer(byId("other"), [["", "nothing"], ...found.map((name) => [name, name])]);
    },
  };
}
