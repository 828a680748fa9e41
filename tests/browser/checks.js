// What is wrong with the screen as it stands: names that are missing, texts that are hard to read, what does not fit.
() => {
  const every = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility());
  const shown = (element) => element.outerHTML.slice(0, 90);

  // Elements that take the focus and have no accessible name.
  const nameless = every
    .filter((e) => e.matches("button, a, input, select, textarea, dialog[open], summary, [tabindex='0']"))
    .filter((e) => e.matches("input, select, textarea, dialog") || !e.textContent.trim())
    .filter((e) => !e.labels?.length && !e.ariaLabel && !e.getAttribute("aria-labelledby"));

  // Texts whose contrast with what lies behind them is below 4.5 to 1 (WCAG 2.2, level AA).
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const channel = (value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b) + 0.05;
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parts(getComputedStyle(e).backgroundColor);
      if (color[3] !== 0) return color;
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
    return Math.max(a, b) / Math.min(a, b);
  };
  const dull = every
    .filter((e) => !e.closest(".waiting, :disabled, .unseen"))
    .filter((e) => [...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .filter((e) => contrast(e) < 4.5);

  // Elements that reach past the right edge, but for those in a box that scrolls.
  const misfits = every
    .filter((e) => !e.closest(".scroll, .source, .unseen, .skip, option"))
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1);

  return { nameless: nameless.map(shown), dull: dull.map(shown), misfits: misfits.map(shown) };
};
