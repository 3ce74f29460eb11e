import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { serverPage } from "./server-page.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/**
 * The runtime's WebAssembly lies in a site under its own names, listed with its hash by
 * `muqrt web`; the engine hands its bytes to the runtime, which then looks for no file.
 */
function runtime(names: string[]): Plugin {
  return {
    name: "runtime",
    transform(code, id) {
      if (!id.includes("onnxruntime-web")) return;
      const asset = /new URL\("([^"]+\.wasm)",import\.meta\.url\)/g;
      return code.replace(asset, 'new URL("$1",self.location.href)');
    },
    generateBundle() {
      const licence = "onnxruntime-licence.txt";
      const source = readFileSync(here(licence));
      this.emitFile({ type: "asset", fileName: licence, source });
      for (const name of names) {
        const source = readFileSync(here(`node_modules/onnxruntime-web/dist/${name}`));
        this.emitFile({ type: "asset", fileName: `runtime/${name}`, source });
      }
    },
  };
}

const engine = { engine: here("src/index.ts"), worker: here("src/engine/worker.ts") };

/** The page (`vite build`), or the npm package (`vite build --mode npm`). */
export default defineConfig(({ mode }) => {
  const isPackage = mode === "npm";
  const folder = isPackage ? "" : "assets/";
  const wasm = ["ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.asyncify.wasm"];
  return {
    base: "./", // any folder of any host
    publicDir: false,
    plugins: isPackage ? [runtime([])] : [runtime(wasm), serverPage()],
    build: {
      outDir: isPackage ? "dist/npm" : "dist/site",
      target: "es2022",
      assetsInlineLimit: 0,
      modulePreload: false,
      reportCompressedSize: false,
      rolldownOptions: {
        input: isPackage ? engine : { ...engine, index: here("index.html") },
        preserveEntrySignatures: "exports-only",
        // The page's script starts worker.js beside itself.
        output: {
          entryFileNames: `${folder}[name].js`,
          chunkFileNames: `${folder}[name].js`,
          assetFileNames: `${folder}[name][extname]`,
        },
      },
    },
  };
});
