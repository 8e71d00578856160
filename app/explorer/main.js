/** The page: it finds the models, opens one, and keeps the address in step. */

import { read, write } from "./address.js";
import { arithmetic } from "./arithmetic.js";
import { code } from "./code.js";
import { button, h } from "./dom.js";
import { film } from "./film.js";
import { LatentServe } from "./latentserve.js";
import { map } from "./map.js";
import { askForKey, Notices } from "./notices.js";
import { place } from "./places.js";
import { opened } from "./opening.js";
import { readReceipt, restoring } from "./receipts.js";
import { samples } from "./samples.js";
import { INITIAL, indexOf } from "./session.js";
import { sliders } from "./sliders.js";
import { square } from "./square.js";
import { recent, stage } from "./stage.js";
import { tabs } from "./tabs.js";
import { yours } from "./yours.js";

const KEY = "latentserve-key";
const ADDRESS_MS = 250;

const notices = new Notices(document.querySelector("#notices"));
const client = new LatentServe(undefined, { key: sessionStorage.getItem(KEY) });
const areas = Object.fromEntries(["stage", "tools", "more"].map((name) => [name, document.querySelector(`#${name}`)]));

let session = /** @type {import("./session.js").Session|null} */ (null);
let picture = /** @type {((file: Blob) => Promise<void>)|null} */ (null);
let start = INITIAL;
let opening = 0;
let written = "";
let timer = 0;

/** Do something; a problem is shown, and where a key is missing it is asked for. */
async function attempt(work) {
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.status === 401 && (await useKey())) return void attempt(work);
    notices.failed(error);
  } finally {
    document.body.removeAttribute("aria-busy");
  }
  return undefined;
}

async function useKey() {
  const key = await askForKey();
  if (key === null) return false;
  client.key = key;
  sessionStorage.setItem(KEY, key);
  return true;
}

/** Begin: the list of models, and the one that the address names or the most capable. */
async function begin() {
  const models = await client.models();
  const ready = models.filter(({ status }) => status === "ready");
  if (ready.length === 0) return void empty(models);
  const said = read(location.hash);
  chooser(models);
  await open(said.model ?? refOf(best(ready)), said).catch(async (error) => {
    if (!said.model) throw error;
    notices.failed(error);
    await open(refOf(best(ready)), read(""));
  });
  return undefined;
}

const refOf = ({ name, version }) => `${name}@${version}`;

/**
 * The model that most of the page works with; among equals one with a density of its own, which no GAN has, and among
 * these that with the largest latent space.
 */
function best(models) {
  const tools = ["sample", "encode", "score"];
  const worth = ({ capabilities, latent, family }) =>
    1e6 * tools.filter((tool) => capabilities.includes(tool)).length + 5e5 * (family !== "gan") + latent.size;
  return models.reduce((one, other) => (worth(other) > worth(one) ? other : one));
}

function chooser(models) {
  const options = models.map((model) => {
    const failed = model.status !== "ready";
    return h(
      "option",
      { value: refOf(model), disabled: failed, title: failed ? model.reason : "" },
      (model.title ?? model.name) + (failed ? " (failed)" : ""),
    );
  });
  const select = document.querySelector("#model");
  select.replaceChildren(...options);
  select.disabled = false;
  select.onchange = () => attempt(() => open(select.value, kept()));
}

/** What goes along to another model: the sampling and the tool, no places. */
function kept() {
  const { seed, count, temperature, truncation, tool } = session?.state ?? INITIAL;
  const said = read("");
  return { ...said, values: defined({ seed, count, temperature, truncation, tool }) };
}

/**
 * Show a model, as an address says. The latest wish wins, whichever is answered first.
 * @param {string} ref @param {ReturnType<typeof read>} said
 * @returns {Promise<boolean>} whether it is shown: another may have been wished for meanwhile
 */
async function open(ref, said) {
  const turn = ++opening;
  const overtaken = () => turn !== opening;
  const next = await opened(client, ref, said, notices.failed).catch((error) => {
    if (overtaken()) return null;
    if (session) document.querySelector("#model").value = session.ref;
    throw error;
  });
  if (overtaken()) return false;
  session?.close();
  session = next;
  start = { ...INITIAL, path: next.paths[0][0] };
  build(next);
  keepAddress(next);
  return true;
}

/** Lay the model's panels out. @param {import("./session.js").Session} shown */
function build(shown) {
  const panels = [samples, map, square, sliders, yours, arithmetic, film].map((make) => make(shown)).filter(Boolean);
  if (!panels.some(({ id }) => id === shown.state.tool)) shown.history.amend({ tool: panels[0]?.id ?? "" });
  picture = panels.find(({ id }) => id === "yours")?.take ?? null;
  document.querySelector("#model").value = shown.ref;
  document.querySelector("#summary").textContent = shown.manifest.summary;
  document.title = `${shown.model.title} · LatentServe`;
  areas.stage.replaceChildren(...(shown.can("decode") ? [stage(shown)] : []));
  areas.tools.replaceChildren(tabs(shown, panels));
  areas.more.replaceChildren(...(shown.can("decode") ? [recent(shown)] : []), code(shown, notices));
}

function keepAddress(shown) {
  const update = () => {
    if (shown !== session) return;
    written = `#${write(shown.ref, shown.state, start)}`;
    history.replaceState(null, "", written);
  };
  shown.history.on(() => {
    clearTimeout(timer);
    timer = setTimeout(update, ADDRESS_MS);
  });
  update();
}

/** Pages without a model say what to do. */
function empty(models) {
  const failed = models.map(({ name, reason }) => h("li", {}, `${name}: ${reason}`));
  areas.stage.replaceChildren(
    h(
      "section.stage.empty",
      {},
      h("h2", {}, "No model is published yet"),
      h(
        "p",
        {},
        "Publish one with ",
        h("code", {}, "python -m training publish runs/NAME"),
        " and load this page again.",
      ),
      failed.length ? h("ul", {}, ...failed) : "",
    ),
  );
  areas.tools.replaceChildren();
}

/** A file from anywhere: one that was made here brings back what made it, any other is looked at. @param {File} file */
async function receive(file) {
  const receipt = readReceipt(await file.arrayBuffer());
  if (receipt) return attempt(() => bringBack(receipt, file));
  return look(file);
}

function look(file) {
  if (!picture) return notices.say("This model makes pictures but reads none. Choose one that encodes.");
  session.history.amend({ tool: "yours" });
  return picture(file);
}

async function bringBack(receipt, file) {
  const { model, sampling, index, latent, label } = restoring(receipt);
  const said = read("");
  if (sampling) Object.assign(said.values, defined(sampling));
  if (!(await open(model, said))) return;
  const at = latent ? place(latent, indexOf(session.model.classes, label)) : session.state.grid[index ?? 0];
  if (latent) session.show(at);
  else if (at) session.setA(at);
  const instead = picture ? [button("Look at it as a picture", () => look(file), { className: "small" })] : [];
  await client
    .replay(file)
    .then(
      () =>
        notices.say(
          "That picture was made here: this is what made it, and the service makes the same bytes again.",
          ...instead,
        ),
      notices.failed,
    );
}

const defined = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));

function listen() {
  addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
  addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (!file) return;
    event.preventDefault();
    receive(file);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) receive(file);
  });
  addEventListener("hashchange", () => {
    const link = location.hash.includes("model=") && location.hash !== written;
    if (link) attempt(() => open(read(location.hash).model ?? session.ref, read(location.hash)));
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea");
    if (!session || typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (event.shiftKey) session.history.redo();
    else session.history.undo();
  });
}

listen();
attempt(begin);
