// Set TeX with KaTeX: reads [[tex, display], ...] as JSON, writes the list of their HTML. Wrong TeX is an error.
import { readFileSync } from "node:fs";
import katex from "katex";

const set = ([tex, displayMode]) => {
  try {
    return katex.renderToString(tex, { displayMode, throwOnError: true, strict: "ignore" });
  } catch (error) {
    console.error(`KaTeX cannot set ${tex.trim()}\n  ${error.message}`);
    process.exit(1);
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(set)));
