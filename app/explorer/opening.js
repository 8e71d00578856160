/** Opening a model: its description, its first places, and what an address says of them. */

import { restore } from "./address.js";
import { place } from "./places.js";
import { INITIAL, indexOf, placesOf, Session } from "./session.js";

/**
 * A session on a model, in the state that an address says.
 * @param {import("./latentserve.js").LatentServe} client @param {string} ref
 * @param {ReturnType<typeof import("./address.js").read>} said @param {(error: Error) => void} failed
 */
export async function opened(client, ref, said, failed) {
  const { seed, count, temperature, truncation, label } = { ...INITIAL, ...said.values };
  const wish = { seed, count, temperature, truncation, label };
  // Asked for at once with the description: pictures are what the reader came for.
  const sampling = client.sample(ref, wish).then(
    (answer) => ({ answer }),
    (error) => ({ error }),
  );
  const session = new Session(client, await client.model(ref), failed);
  const { answer, error } = await sampling;
  if (error && session.can("sample")) throw error;
  wish.label = indexOf(session.model.classes, label);
  const grid = answer ? placesOf(answer, session.model.classes, wish) : [];
  const [a = null, b = null, c = null, d = null] = grid.length ? grid : await heldOut(session);
  session.history.amend({ ...wish, grid, a, b, c, d, ...restore(said, grid, session.size) });
  return session;
}

/** Places for a model that cannot sample: the first of its map. */
async function heldOut(session) {
  if (!session.manifest.map || !session.can("decode")) return [];
  const { points } = await session.client.map(session.ref);
  return points.slice(0, 4).map(({ latent, label }) => place(latent, session.classes.length ? label : null));
}
