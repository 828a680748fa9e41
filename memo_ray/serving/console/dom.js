// Elements from data. Text only ever becomes text nodes: questions, answers and documents are not trusted.

/** An element with attributes, properties (`onclick`) and children: nodes, or values that become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** A text from elsewhere, kept from changing the direction of what stands around it. */
export function said(text, name = "said") {
  return make("span", { class: name, dir: "auto" }, text);
}

export function byId(id) {
  return document.getElementById(id);
}

/** A word in a frame; `kind` is good, bad, warn or nothing. */
export function tag(text, kind = "") {
  return make("span", { class: `tag ${kind}` }, text);
}

/** "1 chunk", "2 chunks". */
export function count(number, one, more = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : more}`;
}

export function seconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}

/** 0 to 1 as a percentage. */
export function share(value) {
  return `${Math.round(value * 100)}%`;
}

/** Close a dialog with its buttons marked `data-close`. */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  return dialog;
}

/** The options of a select, keeping what is chosen where it is still there. */
export function offer(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (options.some(([value]) => value === before)) select.value = before;
}
