/** What went wrong or was done, said where it is seen and read out; and the question for an API key. */

import { button, field, h } from "./dom.js";

const MOST_SHOWN = 4;

/** @param {HTMLElement} region a live region */
export class Notices {
  constructor(region) {
    this.region = region;
    this.failed = this.failed.bind(this);
  }

  /** A problem: its title, what it says, and the request id that the service's log has. @param {Error} error */
  failed(error) {
    const id = error.requestId && h("code", {}, error.requestId);
    this.#add(
      "problem",
      h("strong", {}, error.title ?? "Something went wrong"),
      h("p", {}, error.detail || (error.title ? error.detail : error.message) || ""),
      id && h("p.quiet", {}, "Request ", id),
    );
  }

  /** Something worth knowing. @param {string} text @param {...HTMLElement} more */
  say(text, ...more) {
    this.#add("word", h("p", {}, text), ...more);
  }

  #add(kind, ...content) {
    const close = button("Close", () => notice.remove(), { className: "small" });
    const notice = h(`div.notice.is-${kind}`, {}, h("div", {}, ...content), close);
    const same = [...this.region.children].find(
      (other) => other.firstChild.firstChild.textContent === notice.firstChild.firstChild.textContent,
    );
    if (same) same.replaceWith(notice);
    else this.region.append(notice);
    while (this.region.children.length > MOST_SHOWN) this.region.firstElementChild.remove();
  }
}

/** Ask for an API key. @returns {Promise<string|null>} null when it was not given */
export function askForKey() {
  const input = h("input", { type: "password", autocomplete: "off", required: true });
  const dialog = h(
    "dialog.key",
    { "aria-labelledby": "key-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "key-title" }, "This service asks for a key"),
      field("API key", input),
      h(
        "div.bar",
        {},
        h("button.primary", { value: "yes" }, "Use it"),
        h("button", { value: "no", formNoValidate: true }, "Cancel"),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? input.value : null);
      dialog.remove();
    });
  });
}
