/**
 * A picture of any size made into what a model reads, in the page, so that what is shown is what is scored.
 *
 * Pure functions on grey or colour numbers. A photograph of dark ink on light paper is not what a model of light ink on
 * nothing has seen: `suggested` notices, and `prepared` inverts it and cuts the ink out as MNIST's makers did (scaled
 * into 20 of 28 pixels, centred by mass: LeCun et al. 1998).
 *
 * @typedef {{data: Uint8ClampedArray, width: number, height: number}} Rgba
 * @typedef {{height: number, width: number, channels: number, background: number[]}} ImageSpace
 * @typedef {{invert: boolean, cutOut: boolean}} Treatment
 * @typedef {{values: Float32Array, width: number, height: number}} Plane
 */

const INK_SHARE = 20 / 28;
/** Above this deviation of its border a picture is a scene, not ink on paper. */
const CALM_BORDER = 36;
const INK_THRESHOLD = 48;

/** ITU-R 601. */
const luma = (red, green, blue) => 0.299 * red + 0.587 * green + 0.114 * blue;

/** The planes of a picture, laid on the model's background: one of luma, or three. @returns {Plane[]} */
export function planes({ data, width, height }, { channels, background }) {
  const found = Array.from({ length: channels }, () => ({ values: new Float32Array(width * height), width, height }));
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    const alpha = data[4 * pixel + 3] / 255;
    const over = [0, 1, 2].map((channel) => alpha * data[4 * pixel + channel] + (1 - alpha) * background[channel]);
    if (channels === 1) found[0].values[pixel] = luma(...over);
    else found.forEach((plane, channel) => (plane.values[pixel] = over[channel]));
  }
  return found;
}

/** What should be done to a picture before the model sees it. @param {Rgba} picture @param {ImageSpace} space @returns {Treatment} */
export function suggested(picture, space) {
  if (space.channels !== 1 || (picture.width === space.width && picture.height === space.height)) {
    return { invert: false, cutOut: false };
  }
  const [plane] = planes(picture, space);
  const border = borderOf(plane);
  const paper = median(border);
  const deviation = Math.sqrt(border.reduce((sum, value) => sum + (value - paper) ** 2, 0) / border.length);
  const dark = luma(...space.background) < 128;
  return { invert: dark ? paper > 128 : paper < 128, cutOut: deviation < CALM_BORDER };
}

/** A picture as the model reads it. @param {Rgba} picture @param {ImageSpace} space @param {Treatment} treatment */
export function prepared(picture, space, { invert, cutOut }) {
  let found = planes(picture, space);
  if (invert) found = found.map((plane) => ({ ...plane, values: plane.values.map((value) => 255 - value) }));
  const { width, height, channels } = space;
  const data = new Uint8Array(width * height * channels);
  const box = cutOut && channels === 1 ? cutOutInk(found[0], space) : fitted(found[0], space);
  const cleaned = cutOut && channels === 1 ? [cleanedInk(found[0])] : found;
  cleaned.forEach((plane, channel) => {
    const background = invert ? 255 - space.background[channel] : space.background[channel];
    const base = channels === 1 && cutOut ? 0 : background;
    draw(plane, box, space, base).forEach((value, pixel) => (data[channels * pixel + channel] = Math.round(value)));
  });
  return { data, width, height, channels };
}

/** Where a whole picture lands: as large as fits, centred. */
function fitted(plane, { width, height }) {
  const scale = Math.min(width / plane.width, height / plane.height);
  const [wide, high] = [Math.max(1, Math.round(plane.width * scale)), Math.max(1, Math.round(plane.height * scale))];
  const to = { left: Math.floor((width - wide) / 2), top: Math.floor((height - high) / 2), width: wide, height: high };
  return { from: { left: 0, top: 0, width: plane.width, height: plane.height }, to };
}

/** Ink alone: the paper's level becomes 0 and the strongest ink 255. @param {Plane} plane @returns {Plane} */
function cleanedInk(plane) {
  const paper = median(borderOf(plane));
  const sorted = plane.values.slice().sort();
  const range = Math.max(32, sorted[Math.floor(0.995 * (sorted.length - 1))] - paper);
  const level = (value) => Math.min(255, Math.max(0, (255 * (value - paper - 0.15 * range)) / (0.75 * range)));
  return { ...plane, values: plane.values.map(level) };
}

/** Where ink lands: its box within 20 of 28 pixels, its centre of mass in the middle. */
function cutOutInk(plane, space) {
  const ink = cleanedInk(plane);
  const from = inkBox(ink);
  if (!from) return fitted(plane, space);
  const scale = (INK_SHARE * Math.min(space.width, space.height)) / Math.max(from.width, from.height);
  const [width, height] = [Math.max(1, Math.round(from.width * scale)), Math.max(1, Math.round(from.height * scale))];
  const [massX, massY] = centreOfMass(ink, from);
  const inside = (start, size, room) => Math.min(Math.max(0, start), room - size);
  const left = inside(Math.round(space.width / 2 - massX * width), width, space.width);
  const top = inside(Math.round(space.height / 2 - massY * height), height, space.height);
  return { from, to: { left, top, width, height } };
}

function inkBox({ values, width, height }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  values.forEach((value, pixel) => {
    if (value < INK_THRESHOLD) return;
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  });
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** As shares of the box. */
function centreOfMass({ values, width }, box) {
  let [mass, x, y] = [0, 0, 0];
  for (let row = 0; row < box.height; row += 1) {
    for (let column = 0; column < box.width; column += 1) {
      const value = values[(box.top + row) * width + box.left + column];
      mass += value;
      x += value * (column + 0.5);
      y += value * (row + 0.5);
    }
  }
  return [x / mass / box.width, y / mass / box.height];
}

/** A box of a plane, averaged into a box of the model's picture. @returns {Float32Array} */
function draw(plane, { from, to }, { width, height }, background) {
  const found = new Float32Array(width * height).fill(background);
  for (let row = 0; row < to.height; row += 1) {
    for (let column = 0; column < to.width; column += 1) {
      const x = [from.left + (column * from.width) / to.width, from.left + ((column + 1) * from.width) / to.width];
      const y = [from.top + (row * from.height) / to.height, from.top + ((row + 1) * from.height) / to.height];
      found[(to.top + row) * width + to.left + column] = average(plane, x, y);
    }
  }
  return found;
}

/** The mean over a rectangle, pixels at its edge by the share that lies in it. */
function average({ values, width, height }, [left, right], [top, bottom]) {
  let [sum, weight] = [0, 0];
  for (let y = Math.floor(top); y < Math.min(height, Math.ceil(bottom)); y += 1) {
    const high = Math.min(bottom, y + 1) - Math.max(top, y);
    for (let x = Math.floor(left); x < Math.min(width, Math.ceil(right)); x += 1) {
      const share = high * (Math.min(right, x + 1) - Math.max(left, x));
      sum += share * values[y * width + x];
      weight += share;
    }
  }
  return sum / weight;
}

function borderOf({ values, width, height }) {
  return values.filter((_, pixel) => {
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    return x === 0 || y === 0 || x === width - 1 || y === height - 1;
  });
}

function median(values) {
  const sorted = values.slice().sort();
  return sorted[Math.floor(sorted.length / 2)];
}
