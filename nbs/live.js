/* Live cells: a code cell marked `#| live: true` can be edited and run on its page. Pressing Run loads Python, which is Pyodide
   (MPL-2.0), from the folder pyodide beside this file, and nothing from anywhere else. It runs in a worker, so that the page stays
   alive and Stop always works. This one file is the page's script and the worker's. */
"use strict";

(() => {
// ---------------------------------------------------------------- in the worker: Python

// One namespace for all cells of a page. run(code) gives what a notebook would show under the cell, and the error, if any.
const PYTHON = `
import ast, contextlib, io, pprint, traceback

space, number = {"__name__": "__main__"}, 0

def run(code):
    global number
    number += 1
    name, shown, error = f"<cell {number}>", io.StringIO(), ""
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            body = ast.parse(code, name).body
            last = body.pop() if body and isinstance(body[-1], ast.Expr) and not code.rstrip().endswith(";") else None
            exec(compile(ast.Module(body, []), name, "exec"), space)
            value = eval(compile(ast.Expression(last.value), name, "eval"), space) if last else None
            if value is not None: print(repr(value) if isinstance(value, str) else pprint.pformat(value, width=79, sort_dicts=False))
        except BaseException as problem:
            here = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == name]
            line = here[-1] if here else getattr(problem, "lineno", None)
            said = str(problem.msg if isinstance(problem, SyntaxError) else problem).split("\\n")[0]
            error = (f"Line {line}: " if line else "") + type(problem).__name__ + (f": {said}" if said else "")
    return [shown.getvalue()[:20000].rstrip("\\n"), error]

run`;

function worker() {
  const load = async () => {
    const home = new URL("pyodide/", self.location).href;
    importScripts(home + "pyodide.js");
    return (await loadPyodide({indexURL: home})).runPython(PYTHON);
  };
  const loaded = load().catch(problem => ({missing: problem.message}));
  self.onmessage = async ({data}) => {
    const run = await loaded;
    if (run.missing) return postMessage({missing: run.missing});
    postMessage({loaded: true});
    const answer = run(data), [text, error] = answer.toJs();
    answer.destroy();
    postMessage({text, error});
  };
}

// ---------------------------------------------------------------- on the page: code as it is typed

const WORDS = /^(?:False|None|True|and|as|assert|class|def|del|else|except|finally|from|global|import|in|is|lambda|not|or|pass|raise|try|while|with|yield|if|elif|for|return|break|continue)$/;
const TOKENS = /(#.*)|([rbf]{0,2}"""[^]*?"""|[rbf]{0,2}(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))|(\b\d[\w.]*)|([^\W\d]\w*)/gi;

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

// Python in the classes with which the site colours code
function coloured(code) {
  const parts = [];
  let end = 0;
  for (const token of code.matchAll(TOKENS)) {
    const [, comment, string, digits, word] = token, style = comment ? "co" : string ? "st" : digits ? "dv" : WORDS.test(word) ? "kw" : "";
    parts.push(code.slice(end, token.index), style ? make("span", {class: style}, token[0]) : token[0]);
    end = token.index + token[0].length;
  }
  return [...parts, code.slice(end), "\n"];
}

// ---------------------------------------------------------------- on the page: the cells

const SERVE = "Python runs here when the pages are served, not opened as files. Type “python -m http.server -d _docs” " +
  "in the project's folder, then open http://localhost:8000 in the browser.";
const HINT = "Edit it, then Run (Ctrl + Enter)", LOADING = "Loading Python: 12 MB, once a page …";

function page(script) {
  let python = null, loaded = false, answer = null;  // the worker; whether it has Python; what takes its answer, while a cell runs
  const cells = [...document.querySelectorAll("div.live .cell")].map(prepared).filter(cell => cell);

  function prepared(cell, n, all) {
    const shown = cell.querySelector("pre > code"), saved = [...cell.querySelectorAll(".cell-output")];
    if (!shown) return null;
    const original = shown.textContent.trimEnd(), code = make("code");
    const editor = make("textarea", {rows: 1, spellcheck: "false", autocapitalize: "off", autocomplete: "off",
                                     "aria-label": `Code ${n + 1} of ${all.length} on this page, which you can change and run`});
    const button = (text, style, press) => {
      const made = make("button", {type: "button", class: style}, text);
      made.addEventListener("click", press);
      return made;
    };
    const run = button("Run", "live-run", () => runUpTo(cells.indexOf(self)));
    const stop = button("Stop", "live-stop", stopped), reset = button("Reset", "live-reset", restore);
    const says = make("span", {class: "live-says", role: "status"}, HINT);
    const output = make("div", {class: "cell-output cell-output-stdout live-output", "aria-live": "polite"});
    const box = shown.closest("div.sourceCode") ?? shown.parentElement;
    box.replaceWith(make("div", {class: "live-code"}, make("pre", {"aria-hidden": "true"}, code), editor));
    // below the code, and folded with it where it is folded
    const below = make("div", {class: "live-bar"}, run, reset, stop, says), fold = cell.querySelector("details");
    if (fold) fold.append(below); else (cell.querySelector(".code-copy-outer-scaffold") ?? cell.querySelector(".live-code")).after(below);
    cell.append(output);

    const self = {editor, done: null,  // the code as it was last run
      say(text, running = false) { says.textContent = text; stop.hidden = !running; },
      show(text, error) {
        for (const old of saved) old.hidden = true;
        output.replaceChildren(...(text ? [make("pre", {}, make("code", {}, text))] : []), ...(error ? [make("p", {class: "live-error"}, error)] : []));
        output.hidden = !text && !error;
        reset.hidden = false;
        self.say(text || error ? "" : "It ran, and prints nothing.");
      }};
    function drawn() {
      code.replaceChildren(...coloured(editor.value));
      reset.hidden = editor.value === original && output.hidden;
    }
    function restore() {
      editor.value = original; self.done = null;
      for (const old of saved) old.hidden = false;
      output.replaceChildren(); output.hidden = true;
      self.say(HINT); drawn(); run.focus();
    }
    editor.value = original; output.hidden = true; stop.hidden = true; drawn();
    editor.addEventListener("input", drawn);
    editor.addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (event.ctrlKey || event.metaKey || event.shiftKey) return runUpTo(cells.indexOf(self));
      const line = editor.value.slice(0, editor.selectionStart).split("\n").pop();
      document.execCommand("insertText", false, "\n" + line.match(/^ */)[0] + (line.trimEnd().endsWith(":") ? "    " : ""));
    });
    return self;
  }

  const ask = (pressed, code) => new Promise(resolve => {
    answer = resolve;
    const failed = why => { forget(); resolve({text: "", error: `Python could not be loaded: ${why}`}); };
    python.onerror = event => failed(event.message ?? script);
    python.onmessage = ({data}) => {
      if (data.missing) return failed(data.missing);
      if (!data.loaded) return resolve(data);
      loaded = true;
      pressed.say("Running …", true);
    };
    pressed.say(loaded ? "Running …" : LOADING, true);
    python.postMessage(code);
  });
  function forget() {
    python?.terminate();
    python = null; loaded = false;
    for (const cell of cells) cell.done = null;
  }
  function stopped() { forget(); answer?.({stopped: true}); }

  // Run this cell, and first every cell above it that was not run as it stands, or stands below one that was not
  async function runUpTo(last) {
    if (answer) return;
    if (location.protocol === "file:") return cells[last].say(SERVE);
    python ??= new Worker(script);
    const stale = cells.findIndex(cell => cell.done !== cell.editor.value);
    for (let n = stale < 0 ? last : Math.min(stale, last); n <= last; n++) {
      const cell = cells[n], code = cell.editor.value;
      for (const below of cells.slice(n)) below.done = null;
      const {text, error, stopped} = await ask(cells[last], code);
      if (stopped) { cells[last].say("Stopped."); break; }
      cell.show(text, error);
      if (error && n < last) cells[last].show("", "A cell above has an error.");
      if (error) break;
      cell.done = code;
    }
    answer = null;
  }
}

if (typeof document === "undefined") worker(); else page(document.currentScript.src);
})();
