// Scales, composes and converts pictures in libvips, with its threads and libuv's.
const sharp = require('sharp');

module.exports = async () => {
  const red = sharp({ create: { width: 640, height: 480, channels: 3, background: { r: 255, g: 0, b: 0 } } });
  const square = await sharp({ create: { width: 100, height: 100, channels: 4, background: { r: 0, g: 0, b: 255, alpha: 1 } } }).png().toBuffer();
  const composed = await red.composite([{ input: square, left: 0, top: 0 }]).png().toBuffer();
  const kinds = await Promise.all(['jpeg', 'webp', 'png', 'avif'].map(async (kind) => {
    const small = await sharp(composed).resize(64, 48).toFormat(kind).toBuffer();
    const { format, width, height } = await sharp(small).metadata();
    return `${format} ${width}x${height}`;
  }));
  const { channels } = await sharp(composed).stats();
  const svg = await sharp(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10" fill="lime"/></svg>')).raw().toBuffer();
  const noise = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'black', noise: { type: 'gaussian', mean: 128, sigma: 30 } } }).raw().toBuffer();
  return {
    value: { kinds, red: Math.round(channels[0].mean * 640 * 480 / 255), blue: Math.round(channels[2].mean * 640 * 480 / 255), svg: [...svg.subarray(0, 3)] },
    random: [Math.random(), noise.toString('hex')],
  };
};
