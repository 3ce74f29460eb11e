import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // any folder of any host
  build: { outDir: "dist/site", target: "es2022", assetsInlineLimit: 0 },
  worker: { format: "es" },
});
