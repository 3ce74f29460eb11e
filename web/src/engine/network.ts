/** The model's two parts in ONNX Runtime: front end and encoder. */

import type { InferenceSession } from "onnxruntime-web";
import type { Backend } from "../types.ts";
import type { Frames } from "./frames.ts";

type Runtime = typeof import("onnxruntime-web/wasm");

/** What a network is made of. */
export interface Parts {
  frontEnd: Uint8Array;
  encoder: Uint8Array;
  /** By the names that the graphs know them by. */
  weights: Map<string, Uint8Array>;
}

/** Runs one window at a time. */
export class Network {
  private constructor(
    readonly backend: Backend,
    private readonly runtime: Runtime,
    private readonly frontEnd: InferenceSession,
    private readonly encoder: InferenceSession,
  ) {}

  /** @param binary the bytes of the runtime's WebAssembly for this backend. */
  static async open(backend: Backend, binary: Uint8Array<ArrayBuffer>, parts: Parts) {
    const runtime = await runtimeOf(backend);
    runtime.env.wasm.wasmBinary = binary.buffer;
    // More threads would need cross-origin isolation, and were hardly faster.
    runtime.env.wasm.numThreads = 1;
    const options: InferenceSession.SessionOptions = {
      executionProviders: [backend],
      externalData: [...parts.weights].map(([path, data]) => ({ path, data })),
    };
    const [frontEnd, encoder] = [
      await runtime.InferenceSession.create(parts.frontEnd, options),
      await runtime.InferenceSession.create(parts.encoder, options),
    ];
    return new Network(backend, runtime, frontEnd, encoder);
  }

  /** Frames of samples at the model's rate. */
  async frames(waveform: Float32Array): Promise<Frames> {
    const input = new this.runtime.Tensor("float32", waveform, [1, waveform.length]);
    const { frames } = await this.frontEnd.run({ waveform: input }, ["frames"]);
    return { values: frames!.data as Float32Array, width: frames!.dims[2]! };
  }

  /** The probability of every tag. */
  async tags({ values, width }: Frames): Promise<Float32Array> {
    const dims = [1, values.length / width, width];
    const frames = new this.runtime.Tensor("float32", values, dims);
    const { tags } = await this.encoder.run({ frames }, ["tags"]);
    return tags!.data as Float32Array;
  }

  async close(): Promise<void> {
    await this.frontEnd.release();
    await this.encoder.release();
  }
}

/** The two runtimes are apart, so that the larger one is only loaded where it is wanted. */
async function runtimeOf(backend: Backend): Promise<Runtime> {
  return backend === "webgpu"
    ? await import("onnxruntime-web/webgpu")
    : await import("onnxruntime-web/wasm");
}
