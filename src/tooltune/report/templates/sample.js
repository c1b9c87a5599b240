// One sample in full: what was asked, what would be right, and what each model made of it.
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

const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const spaced = (text) => text.replaceAll("_", " ");
const nameOf = (row) => `${row.dataset}/${row.id}${row.repeat ? `#${row.repeat}` : ""}`;
const address = (row) => `#sample=${encodeURIComponent(nameOf(row))}`;

// A closed section whose content is made when it is first opened.
function fold(title, content) {
  const details = make("details", "fold", make("summary", "", title));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...content());
  });
  return details;
}

function sampleBody(row, data) {
  const link = make("a", "", "link to this sample");
  link.setAttribute("href", address(row)); // a fragment, its data percent-encoded
  const copy = make("button", "plainly", "copy link");
  copy.type = "button";
  copy.addEventListener("click", () => copyLink(row, copy));
  const sides = make("div", row.sides.length > 2 ? "sides many" : "sides");
  row.sides.forEach((result, at) => sides.append(oneSide(data.columns[at], result, row)));
  return make(
    "div",
    "body",
    make("p", "meta", make("bdi", "", row.id), row.repeat && ` · answer ${row.repeat + 1}`, " · ", make("bdi", "", spaced(row.dataset)), " · ", link, " · ", copy),
    contextOf(row, data),
    expectation(row),
    sides,
  );
}

function copyLink(row, button) {
  const url = location.href.split("#")[0] + address(row);
  const told = (text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "copy link"; }, 2000);
  };
  const shown = () => {
    location.hash = address(row);
    told("it is in the address bar");
  };
  if (navigator.clipboard) navigator.clipboard.writeText(url).then(() => told("copied"), shown);
  else shown();
}

function contextOf(row, data) {
  const messages = (row.messages ?? []).map((place) => data.messages[place]);
  const tools = (row.tools ?? []).map((place) => data.tools[place]);
  const last = messages.findLast((message) => message.role === "user");
  const box = make("div", "context");
  if (last) box.append(make("h4", "", "Last user message"), make("pre", "quote", last.text));
  if (messages.length) {
    box.append(fold(`Whole prompt, ${plural(messages.length, "message")}`, () => messages.map(spoken)));
  }
  if (tools.length) box.append(fold(`${plural(tools.length, "tool")} offered`, () => tools.map(offered)));
  return box;
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
  if (row.any) box.append(make("p", "none", "A call of any of the tools."));
  else if (row.kind === "abstain") box.append(make("p", "none", "No tool call."));
  for (const call of row.expected ?? []) box.append(make("pre", "call", call));
  if (row.accepted) box.append(fold("What else counts as right", () => row.accepted.map(alternative)));
  const title = row.kind === "abstain" ? "The trace's own answer" : "The trace's own turn";
  if (row.answer) box.append(fold(title, () => [make("pre", "", row.answer)]));
  return box;
}

function alternative(calls, place) {
  const none = calls.length === 0 && make("p", "none", "No call.");
  return make("div", "", place > 0 && make("p", "none", "or"), none, ...calls.map((call) => make("pre", "call", call)));
}

function oneSide(column, result, row) {
  const box = make("section", "side", make("h4", "", column.label));
  if (!result) {
    box.append(make("p", "none", "Not evaluated."));
    return box;
  }
  const verdict = result.correct ? "right" : "wrong";
  box.firstChild.append(
    make("span", `mark ${verdict}`, make("i", "", STATES[verdict][0]), STATES[verdict][1]),
    make("small", "", OUTCOMES[result.outcome] || result.outcome),
  );
  const why = whyOf(result);
  if (why.length) box.append(make("ul", "reasons", ...why.map((text) => make("li", "", text))));
  if (result.calls.length) box.append(make("div", "diffs", ...result.calls.map(callDiff)));
  else if (row.kind === "call") box.append(make("p", "none", "No call."));
  if (result.reasoning) box.append(fold("Reasoning", () => [make("pre", "reasoning", result.reasoning)]));
  const read = result.read && make("small", "", `read as ${result.read}`);
  box.append(make("h5", "", "Output", read), outputOf(result));
  return box;
}

function whyOf(result) {
  const why = (result.reasons ?? []).map(spaced);
  if (result.skipped && !why.includes(spaced(result.skipped))) why.push(spaced(result.skipped));
  if (result.detail) why.push(result.detail);
  if (result.finish === "length") why.push("cut off at the token limit");
  if (result.meant && !result.correct) why.push("right by meaning: the arguments differ only in form");
  for (const [kind, n] of Object.entries(result.schema ?? {})) {
    why.push(`against the schema: ${spaced(kind)}${n > 1 ? `, ${n} times` : ""}`);
  }
  return why;
}

// The text as it was generated, the attempts that the parser saw in it marked.
function outputOf(result) {
  const box = make("pre", "output");
  let at = 0;
  for (const [start, end, status] of result.spans ?? []) {
    const mark = make("mark", status === "ok" ? "seen" : "seen bad", result.text.slice(start, end));
    mark.title = spaced(status);
    box.append(readable(result.text.slice(at, start)), mark);
    at = end;
  }
  box.append(readable(result.text.slice(at)) || (at ? "" : "(nothing)"));
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
  const line = make(
    "p",
    `argument ${arg.state}`,
    make("i", "", whole ? "" : MARKS[arg.state]),
    make("code", "key", arg.key),
  );
  if (arg.state !== "wrong" || whole) {
    line.append(make("code", "value", arg.actual ?? arg.expected));
    if (!whole && arg.state === "missing") line.append(make("small", "", "missing"));
    if (!whole && arg.state === "extra") line.append(make("small", "", "not expected"));
    return line;
  }
  line.append(
    make("code", "value", ...marked(arg.actual, arg.expected)),
    make("small", "", "expected"),
    make("code", "value", ...marked(arg.expected, arg.actual)),
  );
  return line;
}

// A text, the part that it does not share with another marked; nothing where they share little.
function marked(text, other) {
  const least = Math.min(text.length, other.length);
  let start = 0;
  while (start < least && text[start] === other[start]) start += 1;
  let end = 0;
  while (end < least - start && text.at(-1 - end) === other.at(-1 - end)) end += 1;
  if (start + end < least / 2 || start + end < 6) return [text];
  const middle = text.slice(start, text.length - end);
  return [text.slice(0, start), middle && make("mark", "", middle), end > 0 && text.slice(text.length - end)];
}

