/** What a score means, in words. */

import { signed } from "./dom.js";

const UNUSUAL = 0.1;
const OUTLIER = 0.01;

const STATISTICS = {
  elbo_nats: "its likelihood",
  reconstruction_nats: "how well it is reconstructed",
  kl_nats: "how much its code says",
  inference_gap_nats: "how loose its bound is",
  log_prior_nats: "how unlikely its code is",
  complexity_nats: "its likelihood for a picture so intricate",
  code_norm: "how far out its code lies",
};

/**
 * @param {object} score as `/score` answers it; what a model does not calibrate is null or absent
 * @returns {{word: "typical"|"unusual"|"outlier"|"unknown", title: string, sentence: string}}
 */
export function verdict({ percentile = null, outlier = null }) {
  const p = typeof outlier?.p_value === "number" ? outlier.p_value : null;
  const ranked = typeof percentile === "number" ? ` ${rank(percentile)}` : "";
  if (p === null && !ranked) {
    return {
      word: "unknown",
      title: "Scored",
      sentence: "This model was published without held-out scores to compare with.",
    };
  }
  const chance = p === null ? "" : ` p = ${small(p)}${because(outlier.statistic)}.`;
  if (p !== null && p < OUTLIER)
    return {
      word: "outlier",
      title: "An outlier",
      sentence: `The model has hardly seen anything like it.${ranked}${chance}`,
    };
  if (p !== null && p < UNUSUAL)
    return {
      word: "unusual",
      title: "Unusual",
      sentence: `Few pictures of this kind look like that.${ranked}${chance}`,
    };
  return { word: "typical", title: "Typical", sentence: `The model finds nothing strange about it.${ranked}${chance}` };
}

function rank(percentile) {
  if (percentile < 1) return "Practically all held-out pictures score higher.";
  if (percentile > 99) return "It scores higher than practically all held-out pictures.";
  return `It scores higher than ${Math.round(percentile)} % of held-out pictures.`;
}

function because(statistic) {
  return typeof statistic === "string" ? `, by ${STATISTICS[statistic] ?? statistic.replaceAll("_", " ")}` : "";
}

function small(p) {
  return p < 0.001 ? "less than 0.001" : String(Number(p.toPrecision(2)));
}

/** A discriminator's logit as words, with the calibrated probability where there is one. */
export function realism(logit, probability = 1 / (1 + Math.exp(-logit))) {
  const share = 100 * probability;
  const word = share >= 50 ? "real" : "made up";
  return `The discriminator takes it for ${word} (logit ${signed(logit, 2)}, ${Math.round(share)} % real).`;
}

/** The class that a picture is taken for, and how surely. */
export function classification({ label, probabilities }) {
  return `It is taken for ${label} (${Math.round(100 * Math.max(...probabilities))} % sure).`;
}

/**
 * The ELBO as bars on one axis: from 0 to the reconstruction, from there back by the KL, and what remains.
 * @returns {{name: string, nats: number, from: number, to: number}[]} from and to as shares of the axis
 */
export function elboBars({ reconstruction_nats: reconstruction, kl_nats: kl, elbo_nats: elbo }) {
  const ends = [0, reconstruction, elbo];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const share = (value) => (value - low) / (high - low || 1);
  const bar = (name, nats, one, other) => ({
    name,
    nats,
    from: share(Math.min(one, other)),
    to: share(Math.max(one, other)),
  });
  return [
    bar("Reconstruction", reconstruction, 0, reconstruction),
    bar("− KL", -kl, reconstruction, elbo),
    bar("= ELBO", elbo, 0, elbo),
  ];
}
