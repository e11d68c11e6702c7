import { defineConfig } from "vite";

// The centre serves what is built here below /static; names carry a hash, so that they may be cached for ever.
export default defineConfig({
  base: "/static/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../static/dist",
    emptyOutDir: true,
    target: "es2022",
    // Nothing inline: the page's content policy allows files of this origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The terms of what is built in travel with it.
    license: { fileName: "licenses.md" },
    // hls.js comes in its own file, and only when somebody plays.
    chunkSizeWarningLimit: 600,
  },
});
