import type { Plugin } from "vite";

/**
 * server.html: the same page with leave to reach another address. It confines itself to the one
 * that is typed; index.html reaches its own only.
 */
export function serverPage(): Plugin {
  return {
    name: "server-page",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const index = bundle["index.html"];
        if (index?.type !== "asset") return;
        const source = String(index.source)
          .replace("connect-src 'self'", "connect-src *")
          .replace("<html", '<html data-place="server"');
        this.emitFile({ type: "asset", fileName: "server.html", source });
      },
    },
  };
}
