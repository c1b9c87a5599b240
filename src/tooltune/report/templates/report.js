// The list of samples. Data becomes text nodes and nothing else: never markup, attributes that
// load, or code. Rows are made when shown, their bodies when opened.
(() => {
  const holder = document.getElementById("data");
  const list = document.getElementById("list");
  const filters = document.getElementById("filters");
  if (!holder || !filters) return;
  const data = JSON.parse(holder.textContent);
  const PAGE = 100;
  const STATES = {
    fixed: ["↑", "Fixed"],
    broken: ["↓", "Broken"],
    right: ["✓", "Right"],
    wrong: ["✗", "Wrong"],
    unpaired: ["–", "Unpaired"],
  };
  const OUTCOMES = {
    call: "called a tool",
    abstained: "made no call",
    malformed: "malformed call",
    skipped: "skipped",
  };
  const MARKS = { same: "=", wrong: "≠", missing: "−", extra: "+" };
  const wanted = { state: "", kind: "", dataset: "", words: [] };
  const texts = new Map();
  let found = data.rows;
  let shown = 0;

  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const address = (row) => `#sample=${encodeURIComponent(`${row.dataset}/${row.id}`)}`;
  const spaced = (text) => text.replaceAll("_", " ");

  function searchable(row) {
    if (!texts.has(row)) {
      const parts = [row.id, row.question, row.answer, ...row.expected];
      for (const side of [row.base, row.tuned]) {
        if (side) parts.push(side.text, side.outcome, side.skipped, ...side.reasons);
      }
      for (const place of row.messages) parts.push(data.messages[place].text);
      texts.set(row, parts.join("\n").toLowerCase());
    }
    return texts.get(row);
  }

  // Whether a row passes every filter but the one named.
  function passes(row, but) {
    if (but !== "state" && wanted.state && row.state !== wanted.state) return false;
    if (but !== "kind" && wanted.kind && row.kind !== wanted.kind) return false;
    if (wanted.dataset && row.dataset !== wanted.dataset) return false;
    return wanted.words.every((word) => searchable(row).includes(word));
  }

  function update() {
    for (const button of filters.querySelectorAll("button[data-filter]")) {
      const { filter, value } = button.dataset;
      const n = data.rows.filter((row) => (!value || row[filter] === value) && passes(row, filter));
      button.setAttribute("aria-pressed", String(wanted[filter] === value));
      button.querySelector(".count").textContent = n.length.toLocaleString("en");
    }
    show(data.rows.filter((row) => passes(row)));
    document.getElementById("told").textContent =
      found.length === data.rows.length ? "" : `${plural(found.length, "sample")} found`;
  }

  function show(rows) {
    found = rows;
    shown = 0;
    list.replaceChildren();
    showMore();
  }

  function showMore() {
    const rows = found.slice(shown, shown + PAGE).map(item);
    list.append(...rows);
    shown += rows.length;
    const left = found.length - shown;
    const more = document.getElementById("more");
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en")}`;
    return rows;
  }

  function item(row) {
    const [glyph, label] = STATES[row.state];
    const want = row.kind === "abstain" ? "no call" : row.expected.map((c) => c.split("(")[0]).join(", ");
    const summary = make(
      "summary",
      "",
      make("span", `mark ${row.state}`, make("i", "", glyph), label),
      make("bdi", "question", row.question || "(no user message)"),
      make("bdi", row.kind === "abstain" ? "want none" : "want", want),
    );
    const details = make("details", "sample", summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(body(row));
    });
    return make("li", "", details);
  }

  function body(row) {
    const link = make("a", "", "link to this sample");
    link.setAttribute("href", address(row)); // a fragment, its data percent-encoded
    return make(
      "div",
      "body",
      make("p", "meta", make("bdi", "", row.id), " · ", make("bdi", "", spaced(row.dataset)), " · ", link),
      context(row),
      expectation(row),
      make("div", "sides", side("Base", row.base, row), side("Tuned", row.tuned, row)),
    );
  }

  function context(row) {
    const messages = row.messages.map((place) => data.messages[place]);
    const tools = row.tools.map((place) => data.tools[place]);
    const last = messages.findLast((message) => message.role === "user");
    const box = make("div", "context");
    if (last && last.text !== row.question) {
      box.append(make("h4", "", "Last user message"), make("pre", "quote", last.text));
    }
    if (messages.length) {
      box.append(fold(`Whole prompt, ${plural(messages.length, "message")}`, () => messages.map(spoken)));
    }
    if (tools.length) box.append(fold(`${plural(tools.length, "tool")} offered`, () => tools.map(offered)));
    return box;
  }

  // A closed section whose content is made when it is first opened.
  function fold(title, content) {
    const details = make("details", "fold", make("summary", "", title));
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(...content());
    });
    return details;
  }

  function spoken(message) {
    return make(
      "div",
      "message",
      make("b", "", message.role, message.name && make("bdi", "", ` ${message.name}`)),
      message.reasoning && make("pre", "reasoning", message.reasoning),
      message.text && make("pre", "", message.text),
      ...message.calls.map((call) => make("pre", "call", call)),
    );
  }

  function offered(tool) {
    return make(
      "div",
      "message",
      make("b", "", tool.name),
      tool.description && make("p", "", tool.description),
      tool.parameters && make("pre", "", tool.parameters),
    );
  }

  function expectation(row) {
    const box = make("div", "expected", make("h4", "", "Expected"));
    if (row.kind === "abstain") {
      box.append(make("p", "none", "No tool call."));
      if (row.answer) box.append(fold("The trace's own answer", () => [make("pre", "", row.answer)]));
      return box;
    }
    for (const call of row.expected) box.append(make("pre", "call", call));
    if (row.answer) box.append(fold("The trace's own turn", () => [make("pre", "", row.answer)]));
    return box;
  }

  function side(title, result, row) {
    const box = make("section", "side", make("h4", "", title));
    if (!result) {
      box.append(make("p", "none", "Not evaluated."));
      return box;
    }
    const verdict = result.correct ? "right" : "wrong";
    box.firstChild.append(
      make("span", `mark ${verdict}`, make("i", "", STATES[verdict][0]), STATES[verdict][1]),
      make("small", "", OUTCOMES[result.outcome] || result.outcome),
    );
    const why = [...result.reasons];
    if (result.skipped && !why.includes(result.skipped)) why.push(result.skipped);
    if (result.finish === "length") why.push("cut off at the token limit");
    if (why.length) box.append(make("ul", "reasons", ...why.map((text) => make("li", "", spaced(text)))));
    if (result.calls.length) box.append(make("div", "diffs", ...result.calls.map(callDiff)));
    else if (row.kind === "call") box.append(make("p", "none", "No call."));
    box.append(make("h5", "", "Output"), make("pre", "output", result.text || "(nothing)"));
    return box;
  }

  function callDiff(call) {
    const name = make("p", `name ${call.state}`, make("i", "", MARKS[call.state]));
    if (call.actual === null) name.append(make("code", "", call.expected), make("small", "", "call missing"));
    else if (call.expected === null) name.append(make("code", "", call.actual), make("small", "", "call not expected"));
    else if (call.actual === call.expected) name.append(make("code", "", call.actual));
    else name.append(make("code", "bad", call.actual), make("small", "", "expected"), make("code", "", call.expected));
    if (call.status !== null && call.status !== "ok") name.append(make("small", "bad", spaced(call.status)));
    const whole = call.actual === null || call.expected === null; // then its arguments need no marks
    return make("div", `diff ${call.state}`, name, ...call.arguments.map((arg) => argumentDiff(arg, whole)));
  }

  function argumentDiff(arg, whole) {
    const value = arg.state === "same" || arg.state === "missing" ? arg.expected : arg.actual;
    const line = make(
      "p",
      `argument ${arg.state}`,
      make("i", "", whole ? "" : MARKS[arg.state]),
      make("code", "key", arg.key),
      make("code", "value", value),
    );
    if (whole) return line;
    if (arg.state === "wrong") line.append(make("small", "", "expected"), make("code", "value", arg.expected));
    if (arg.state === "missing") line.append(make("small", "", "missing"));
    if (arg.state === "extra") line.append(make("small", "", "not expected"));
    return line;
  }

  // The address bar may name one sample: show it alone, open.
  function follow() {
    const alone = document.getElementById("alone");
    const row = data.rows.find((candidate) => address(candidate) === location.hash);
    alone.hidden = !row;
    filters.hidden = Boolean(row);
    if (!row) {
      update();
      return;
    }
    show([row]);
    list.querySelector("details").open = true;
    document.getElementById("samples").scrollIntoView();
  }

  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-filter]");
    if (!button) return;
    wanted[button.dataset.filter] = button.dataset.value;
    update();
  });
  let waiting = 0;
  document.getElementById("search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      wanted.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      update();
    }, 120);
  });
  document.getElementById("dataset")?.addEventListener("change", (event) => {
    wanted.dataset = event.target.value;
    update();
  });
  document.getElementById("more").addEventListener("click", () => {
    showMore()[0]?.querySelector("summary").focus();
  });
  document.getElementById("leave").addEventListener("click", () => {
    location.hash = "samples";
  });
  addEventListener("hashchange", follow);
  follow();
})();
