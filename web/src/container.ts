/** The sample rate that a file's header states: the browser's decoder does not tell it. */

// Opus is always decoded at this rate, and WebM without a rate is Opus.
const OPUS_RATE_HZ = 48_000;
const MPEG_RATES_HZ = [44_100, 48_000, 32_000];
const ADTS_RATES_HZ = [
  96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
  7_350,
];
// Where frames are looked for behind ID3 tags and padding; and elements of a WebM.
const SEARCHED_BYTES = 1 << 16;
const AUDIO_PATH = ["moov", "trak", "mdia", "minf", "stbl", "stsd"];

/** The rate of a wav, flac, ogg, mp3, aac, m4a or webm file, or undefined for something else. */
export function sampleRate(file: ArrayBuffer): number | undefined {
  try {
    return rateOf(new DataView(file));
  } catch (error) {
    if (error instanceof RangeError) return undefined; // it ends within its header
    throw error;
  }
}

function rateOf(view: DataView): number | undefined {
  if (view.byteLength < 64) return undefined;
  const magic = text(view, 0, 4);
  if (magic === "RIFF" || magic === "RF64") return wavRate(view);
  if (magic === "fLaC") return flacRate(view, 0);
  if (magic === "OggS") return oggRate(view);
  if (text(view, 4, 4) === "ftyp") return mp4Rate(view, 0, view.byteLength, AUDIO_PATH);
  if (view.getUint32(0) === 0x1a45dfa3) return webmRate(view);
  return mpegRate(view);
}

function text(view: DataView, start: number, length: number): string {
  if (start + length > view.byteLength) return "";
  return String.fromCharCode(...new Uint8Array(view.buffer, start, length));
}

function wavRate(view: DataView): number | undefined {
  for (let chunk = 12; chunk + 16 <= view.byteLength; ) {
    if (text(view, chunk, 4) === "fmt ") return view.getUint32(chunk + 12, true);
    chunk += 8 + view.getUint32(chunk + 4, true);
    chunk += chunk % 2; // padded
  }
  return undefined;
}

function flacRate(view: DataView, start: number): number {
  return (view.getUint32(start + 18) >> 12) >>> 0;
}

function oggRate(view: DataView): number | undefined {
  const packet = 27 + view.getUint8(26);
  if (text(view, packet + 1, 6) === "vorbis") return view.getUint32(packet + 12, true);
  if (text(view, packet, 8) === "OpusHead") return OPUS_RATE_HZ;
  if (text(view, packet + 1, 4) === "FLAC") return flacRate(view, packet + 9);
  return undefined;
}

/** Boxes in boxes, down to the description of a track's samples. */
function mp4Rate(
  view: DataView,
  from: number,
  to: number,
  path: string[],
  timescale = 0,
): number | undefined {
  const [name, ...inner] = path;
  for (let box = from; box + 8 <= to; ) {
    const size = view.getUint32(box) || to - box;
    const [length, header] = size === 1 ? [Number(view.getBigUint64(box + 8)), 16] : [size, 8];
    if (length < header || box + length > to) return undefined;
    const type = text(view, box + 4, 4);
    if (type === "mdhd")
      timescale = view.getUint32(box + header + (view.getUint8(box + header) ? 20 : 12));
    if (type === name) {
      const found =
        inner.length > 0
          ? mp4Rate(view, box + header, box + length, inner, timescale)
          : entryRate(view, box + header + 8, box + length, timescale);
      if (found !== undefined) return found;
    }
    box += length;
  }
  return undefined;
}

function entryRate(
  view: DataView,
  entry: number,
  to: number,
  timescale: number,
): number | undefined {
  const isAudio = ["mp4a", "alac", "fLaC", "Opus"].includes(text(view, entry + 4, 4));
  if (!isAudio || entry + 36 > to) return undefined;
  // A rate that 16 bits do not hold is 0, or a part of it; the timescale is the whole.
  const rate = view.getUint16(entry + 32);
  const isPart = timescale > 0xffff && timescale % (rate || timescale) === 0;
  return isPart ? timescale : rate || undefined;
}

function webmRate(view: DataView): number {
  const stop = Math.min(view.byteLength - 10, SEARCHED_BYTES);
  for (let at = 4; at < stop; at++) {
    if (view.getUint8(at) !== 0xb5) continue; // SamplingFrequency, of 4 or 8 bytes
    const length = view.getUint8(at + 1);
    const rate =
      length === 0x84 ? view.getFloat32(at + 2) : length === 0x88 ? view.getFloat64(at + 2) : 0;
    if (Number.isInteger(rate) && rate >= 8_000 && rate <= 192_000) return rate;
  }
  return OPUS_RATE_HZ;
}

function mpegRate(view: DataView): number | undefined {
  let start = 0;
  if (text(view, 0, 3) === "ID3") {
    const size = [6, 7, 8, 9].reduce((sum, at) => sum * 128 + (view.getUint8(at) & 127), 0);
    start = 10 + size;
  }
  const stop = Math.min(view.byteLength - 8, start + SEARCHED_BYTES);
  for (let at = start; at < stop; at++) {
    const frame = mpegFrame(view.getUint32(at));
    if (frame === undefined) continue;
    const next = at + (frame.bytes || adtsBytes(view, at));
    // One frame may be chance.
    if (next + 4 <= view.byteLength && mpegFrame(view.getUint32(next))?.rate !== frame.rate)
      continue;
    return frame.rate;
  }
  return undefined;
}

const KILOBITS: Record<string, number[]> = {
  "1/1": [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
  "1/2": [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
  "1/3": [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  "2/1": [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
  "2/2": [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
};

/** A frame of MPEG audio, or of AAC in ADTS, whose length (0 here) stands elsewhere. */
function mpegFrame(header: number): { rate: number; bytes: number } | undefined {
  if (header >>> 21 !== 0x7ff) return undefined;
  const [version, layer] = [(header >>> 19) & 3, 4 - ((header >>> 17) & 3)];
  if (layer === 4) {
    const rate = ADTS_RATES_HZ[(header >>> 10) & 15];
    return version >= 2 && rate !== undefined ? { rate, bytes: 0 } : undefined;
  }
  const base = MPEG_RATES_HZ[(header >>> 10) & 3];
  const older = version === 3 ? 1 : 2;
  const kilobits =
    KILOBITS[`${older}/${older === 2 && layer === 3 ? 2 : layer}`]?.[((header >>> 12) & 15) - 1];
  if (base === undefined || kilobits === undefined || version === 1) return undefined;
  const rate = base / (version === 3 ? 1 : version === 2 ? 2 : 4);
  const padding = (header >>> 9) & 1;
  if (layer === 1) return { rate, bytes: 4 * (Math.floor((12_000 * kilobits) / rate) + padding) };
  const perFrame = layer === 3 && older === 2 ? 72_000 : 144_000;
  return { rate, bytes: Math.floor((perFrame * kilobits) / rate) + padding };
}

function adtsBytes(view: DataView, at: number): number {
  return ((view.getUint32(at + 3) >>> 13) & 0x7ff) | ((view.getUint8(at + 3) & 3) << 11);
}
