/** Elements, made briefly. Text stays text: nothing here reads markup. */

/**
 * @param {string} kind a tag, with classes behind dots: "button.thumb.is-a"
 * @param {Record<string, *>} [properties] `on…` listeners, `aria-…`, `data-…` and unknown names as attributes, the rest as properties
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) set(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || (value === false && name !== "draggable")) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name in element && name !== "list" && name !== "form") element[name] = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

let made = 0;

/** An id that nothing else on the page has. */
export function unique(word) {
  made += 1;
  return `${word}-${made}`;
}

/** A label with its control, one above the other. */
export function field(text, control, ...beside) {
  control.id ||= unique("field");
  return h("div.field", {}, h("label", { htmlFor: control.id }, text), h("div.row", {}, control, ...beside));
}

/** A label with its control, side by side. */
export function inline(text, control) {
  control.id ||= unique("field");
  return h("span.inline", {}, h("label", { htmlFor: control.id }, text), control);
}

/**
 * A native slider with its value in words above it and in `aria-valuetext`.
 * @param {{label: string, min: number, max: number, step: number, value: number, words: (value: number) => string,
 *   oninput?: (value: number) => void, onchange?: (value: number) => void}} options
 */
export function slider({ label, min, max, step, value, words, oninput, onchange }) {
  const output = h("output", {}, words(value));
  const input = h("input", { type: "range", min, max, step, value, "aria-valuetext": words(value) });
  const say = (now) => {
    output.textContent = words(now);
    input.setAttribute("aria-valuetext", words(now));
  };
  input.addEventListener("input", () => {
    say(input.valueAsNumber);
    oninput?.(input.valueAsNumber);
  });
  input.addEventListener("change", () => onchange?.(input.valueAsNumber));
  input.id = unique("slider");
  const element = h("div.field.slider", {}, h("div.head", {}, h("label", { htmlFor: input.id }, label), output), input);
  return {
    element,
    input,
    set(now) {
      input.value = String(now);
      say(now);
    },
  };
}

/** A native checkbox before its label. */
export function checkbox(text, checked, onchange) {
  const input = h("input", { type: "checkbox", checked, onchange: () => onchange(input.checked) });
  return h("label.check", {}, input, text);
}

/** A native select. @param {[string, string][]} options value and text */
export function choice(options, chosen, onchange) {
  const items = options.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  const select = h("select", { onchange: () => onchange(select.value) }, ...items);
  return select;
}

/** A number with its digits after the point and a real minus sign. */
export function signed(number, digits) {
  return number
    .toFixed(digits)
    .replace(/^-0(\.0*)?$/, "0$1")
    .replace("-", "−");
}

/** A button that does something. */
export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

/** Give an element other content; whoever was in it by keyboard stays at what has the same name. */
export function refill(container, children) {
  const inside = container.contains(document.activeElement);
  const name = inside ? document.activeElement.getAttribute("aria-label") : null;
  container.replaceChildren(...children);
  if (!inside) return;
  const named = [...container.querySelectorAll("[aria-label]")].find(
    (child) => child.getAttribute("aria-label") === name,
  );
  const open = container.querySelector("button:enabled, input:enabled");
  (named && !named.disabled ? named : open)?.focus();
}

/** A file, saved by the browser under a name. @param {Blob} blob */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  const link = h("a", { href, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
