/** Tabs, as the ARIA Authoring Practices describe them: one Tab stop, arrows between them, panels labelled by them. */

import { h } from "./dom.js";
import { changed } from "./history.js";

/**
 * @typedef {{id: string, title: string, element: HTMLElement, shown?: () => void}} Panel
 * @param {import("./session.js").Session} session @param {Panel[]} panels
 */
export function tabs(session, panels) {
  const { history } = session;
  const made = panels.map((panel) => tabOf(panel, () => history.amend({ tool: panel.id })));
  const list = h("div.tabs", { role: "tablist", "aria-label": "Tools" }, ...made.map(({ tab }) => tab));
  list.addEventListener("keydown", (event) =>
    walk(
      event,
      made.map(({ tab }) => tab),
    ),
  );
  const select = ({ tool }) => {
    const chosen = made.find(({ panel }) => panel.id === tool) ?? made[0];
    for (const { panel, tab, body } of made) {
      const is = panel === chosen.panel;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
      body.hidden = !is;
    }
    chosen.panel.shown?.();
  };
  history.on((now, was) => changed(now, was, "tool") && select(now));
  select(session.state);
  return h("section.tools", { "aria-label": "Tools" }, list, ...made.map(({ body }) => body));
}

function tabOf(panel, choose) {
  const ids = { tab: `tab-${panel.id}`, body: `panel-${panel.id}` };
  const tab = h(
    "button.tab",
    { type: "button", role: "tab", id: ids.tab, "aria-controls": ids.body, onclick: choose },
    panel.title,
  );
  const body = h("div.panel", { role: "tabpanel", id: ids.body, "aria-labelledby": ids.tab }, panel.element);
  return { panel, tab, body };
}

function walk(event, all) {
  const at = all.indexOf(event.target);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const to = { Home: 0, End: all.length - 1 }[event.key] ?? (step && (at + step + all.length) % all.length);
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  all[to].focus();
  all[to].click();
}
