// One run of a model alone, the memory or the executive: its reply as it grows.

import { stream } from "./api.js";
import { count, make, said } from "./dom.js";
import { Panel } from "./panel.js";

export class ModelRun extends Panel {
  async follow(question, signal) {
    const text = said("", "said answer-text");
    this.body.append(make("section", { class: "answer" }, make("h3", {}, "Reply"), make("p", {}, text)));
    const body = {
      model: this.model,
      messages: [{ role: "user", content: question }],
      stream: true,
      stream_options: { include_usage: true },
    };
    this.say("Replying");
    for await (const { data } of stream("v1/chat/completions", body, signal)) {
      text.append(data.choices[0]?.delta.content ?? "");
      if (data.choices[0]?.finish_reason === "length") this.cut = true;
      if (data.usage) this.usage = data.usage;
    }
    const tokens = this.usage ? `, ${count(this.usage.completion_tokens, "token")}` : "";
    this.say(`${this.cut ? "Cut at its longest length" : "Done"}${tokens}`, this.cut ? "warn" : "good");
  }
}
