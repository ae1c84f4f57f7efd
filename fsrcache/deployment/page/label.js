// From a picture to its probabilities, by model.onnx beside this file.
import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL(".", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need headers that a static server does not send

const model = new Uint8Array(await (await fetch("model.onnx")).arrayBuffer());
const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });

// Return uint8 [1, 3, h, w] of a picture: its own pixels, transparency over white.
async function pixelsOf(file) {
  const picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, width, height); // RGBA, row by row
  const size = width * height;
  const pixels = new Uint8Array(3 * size);
  for (let i = 0; i < size; i++)
    for (let channel = 0; channel < 3; channel++) pixels[channel * size + i] = data[4 * i + channel];
  return new ort.Tensor("uint8", pixels, [1, 3, height, width]);
}

// Return the K probabilities of a picture file.
export async function probabilitiesOf(file) {
  const { probabilities } = await session.run({ faces: await pixelsOf(file) });
  return Array.from(probabilities.data);
}
