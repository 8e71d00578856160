/** The receipt in a PNG that the service made: an iTXt chunk, plain text behind its keyword (PNG, 11.3.3.4). */

const KEYWORD = "latentserve";
/** The keyword's end, then no compression, no language, no translated keyword. */
const PLAIN = [0, 0, 0, 0, 0];

/** @param {ArrayBuffer} file @returns {object|null} what made the picture; null where nothing says so */
export function readReceipt(file) {
  const bytes = new Uint8Array(file);
  const view = new DataView(file);
  const start = [...new TextEncoder().encode(KEYWORD), ...PLAIN];
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    if (kind === "iTXt" && start.every((byte, index) => content[index] === byte)) {
      return parsed(new TextDecoder().decode(content.subarray(start.length)));
    }
  }
  return null;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * What a receipt asks of the page: the model, what to sample, and which of it or which latent to show.
 * @returns {{model: string, sampling: object|null, index: number|null, latent: number[]|null, label: number|null}}
 */
export function restoring(receipt) {
  const origins = receipt.images ?? [receipt];
  const [first] = origins;
  const model = `${receipt.model}@${receipt.version}`;
  if (first.latent) {
    return { model, sampling: null, index: null, latent: first.latent, label: first.label ?? null };
  }
  const { seed, temperature, truncation } = first;
  const labels = new Set(origins.map(({ label = null }) => label));
  const label = labels.size === 1 ? [...labels][0] : null;
  const last = Math.max(...origins.map(({ index }) => index));
  const [index, count] = origins.length === 1 ? [last, Math.max(16, last + 1)] : [null, last + 1];
  return { model, sampling: { seed, temperature, truncation, count, label }, index, latent: null, label };
}
