/** Pixels on canvases. */

/** @typedef {import("./latentserve.js").Pixels} Pixels */

/** @param {Pixels} pixels @returns {ImageData} */
export function imageData({ data, width, height, channels }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[4 * pixel + channel] = data[channels * pixel + (channels === 3 ? channel : 0)];
    }
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}

/** Show pixels on a canvas, in their own size; CSS scales. @param {HTMLCanvasElement} canvas @param {Pixels} pixels */
export function paint(canvas, pixels) {
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
  }
  canvas.getContext("2d").putImageData(imageData(pixels), 0, 0);
}

/** Show many of one size as a grid. @param {HTMLCanvasElement} canvas @param {Pixels[]} pictures @param {number} columns */
export function paintGrid(canvas, pictures, columns) {
  const [{ width, height }] = pictures;
  canvas.width = columns * width;
  canvas.height = Math.ceil(pictures.length / columns) * height;
  const context = canvas.getContext("2d");
  pictures.forEach((picture, index) => {
    context.putImageData(imageData(picture), (index % columns) * width, Math.floor(index / columns) * height);
  });
}

/** The pixels of a picture file's address, reduced to a channel where the model has one. @returns {Promise<Pixels>} */
export async function pixelsOf(source, channels) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
  const kept = new Uint8Array(width * height * channels);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < channels; channel += 1)
      kept[channels * pixel + channel] = data[4 * pixel + channel];
  }
  return { data: kept, width, height, channels };
}

/** Where two pictures differ: one channel, white where they are a whole range apart. @returns {Pixels} */
export function difference(one, other) {
  const { width, height, channels } = one;
  const data = new Uint8Array(width * height);
  for (let pixel = 0; pixel < data.length; pixel += 1) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) {
      sum += Math.abs(one.data[channels * pixel + channel] - other.data[channels * pixel + channel]);
    }
    data[pixel] = Math.round(sum / channels);
  }
  return { data, width, height, channels: 1 };
}
