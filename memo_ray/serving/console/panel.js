// What every run has: a heading, a status line that is read out, a clock, a button that stops it, an error.

import { make, seconds } from "./dom.js";

let made = 0;

export class Panel {
  constructor(model) {
    this.model = model;
    this.id = `run-${(made += 1)}`;
    this.control = new AbortController();
    this.status = make("p", { class: "status", role: "status" }, "Waiting for the first word");
    this.clock = make("span", { class: "clock", role: "timer", "aria-label": "Time taken" }, seconds(0));
    this.stopper = make("button", { type: "button", onclick: () => this.stop() }, "Stop");
    this.body = make("div", { class: "run-body" });
    this.element = make(
      "article",
      { class: "run panel", "aria-labelledby": this.id },
      make("header", {}, make("h2", { id: this.id }, model), this.clock, this.stopper),
      this.status,
      this.body,
    );
  }

  /** Ask, and show what comes. */
  async ask(question) {
    const began = performance.now();
    const tick = setInterval(() => (this.clock.textContent = seconds((performance.now() - began) / 1000)), 500);
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.follow(question, this.control.signal);
    } catch (error) {
      if (error.name === "AbortError") this.say("Stopped", "warn");
      else this.fail(error.message);
    } finally {
      clearInterval(tick);
      this.clock.textContent = seconds((performance.now() - began) / 1000);
      this.element.removeAttribute("aria-busy");
      this.stopper.hidden = true;
      this.ended();
    }
  }

  stop() {
    this.control.abort();
  }

  say(text, kind = "") {
    this.status.textContent = text;
    this.status.className = `status ${kind}`;
  }

  fail(message) {
    this.say("No answer", "bad");
    this.body.prepend(make("p", { class: "notice bad", role: "alert" }, message));
  }

  /** Called once nothing more will come. */
  ended() {}
}
