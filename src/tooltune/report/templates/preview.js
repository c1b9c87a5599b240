// The list of rows and their tokens. Data becomes text nodes and nothing else: never markup,
// attributes that load, or code. Rows are made when shown, their tokens when opened.
(() => {
  const holder = document.getElementById("data");
  const list = document.getElementById("list");
  const about = document.getElementById("about");
  if (!holder || !list) return;
  const data = JSON.parse(holder.textContent);
  const PAGE = 100;
  const wanted = { flag: "", tool: "", least: 0, most: Infinity, words: [] };
  const told = new WeakMap(); // token element -> [id, kind, position]
  let found = data.rows;
  let shown = 0;

  const count = (n) => n.toLocaleString("en");

  // The end of a place, where the row is; the whole of it stands in the opened row.
  function short(source) {
    const name = source.split("/").at(-1);
    return name.length > 18 ? `…${name.slice(-17)}` : name;
  }

  function searchable(row) {
    return [row.source, row.id, row.question, row.code, row.reason, ...row.tools].join("\n").toLowerCase();
  }

  function passes(row) {
    if (wanted.flag && !row.flags.includes(wanted.flag)) return false;
    if (wanted.tool && !row.tools.includes(wanted.tool)) return false;
    if (row.tokens < wanted.least || row.tokens > wanted.most) return false;
    return wanted.words.every((word) => searchable(row).includes(word));
  }

  function update() {
    found = data.rows.filter(passes);
    document.getElementById("told").textContent =
      found.length === data.rows.length ? "" : `${count(found.length)} of ${count(data.rows.length)}`;
    shown = 0;
    list.replaceChildren();
    explain(null);
    showMore();
  }

  function showMore() {
    list.append(...found.slice(shown, shown + PAGE).map(item));
    shown = Math.min(found.length, shown + PAGE);
    const more = document.getElementById("more");
    const left = found.length - shown;
    more.hidden = left === 0;
    more.textContent = `Show ${count(Math.min(PAGE, left))} more of ${count(left)}`;
  }

  function item(row) {
    const rejected = row.flags.includes("rejected");
    const summary = make(
      "summary",
      "",
      make("bdi", "where", short(row.source)),
      make("bdi", "question", rejected ? row.code : row.question || "(no user message)"),
      make("bdi", "called", row.tools.join(", ") || "no calls"),
      make("span", "size", rejected ? "rejected" : `${count(row.targets)} of ${count(row.tokens)}`),
    );
    const details = make("details", rejected ? "row rejected" : "row", summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(body(row));
    });
    return make("li", "", details);
  }

  function body(row) {
    const box = make("div", "body", make("p", "meta", make("bdi", "", row.source), row.id && " · ", make("bdi", "", row.id)));
    if (row.code) box.append(make("p", "why", make("b", "", row.code), " ", make("bdi", "", row.reason)));
    if (row.truncated) box.append(make("p", "why cut", make("b", "", "truncated"), " ", make("bdi", "", row.truncated)));
    const children = new Map();
    row.branches.forEach((branch, i) => {
      const key = branch.parent === null ? -1 : branch.parent;
      children.set(key, [...(children.get(key) || []), i]);
    });
    grow(box, row, children, -1, 0);
    const first = box.querySelector(".t");
    if (first) first.tabIndex = 0;
    return box;
  }

  // Append the branches that continue `parent`, each with those that continue it.
  function grow(box, row, children, parent, depth) {
    const following = children.get(parent) || [];
    following.forEach((index, place) => {
      const branch = row.branches[index];
      const into = following.length > 1 ? make("div", "forks") : box;
      if (following.length > 1) {
        into.append(make("p", "fork", `branch ${place + 1} of ${following.length}, at token ${count(depth)}`));
        box.append(into);
      }
      into.append(tokensOf(branch, depth));
      grow(into, row, children, index, depth + branch.ids.length);
    });
  }

  function tokensOf(branch, depth) {
    const box = make("div", "tokens");
    let at = 0;
    let speaker = null;
    for (const [length, kind] of branch.runs) {
      const [role, , turn, weight, reason] = data.kinds[kind];
      const who = `${role} ${turn}`;
      if (who !== speaker) box.append(heading(role, turn, reason));
      speaker = who;
      for (let i = 0; i < length; i += 1, at += 1) {
        const id = branch.ids[at];
        const node = make("span", `t ${weight > 0 ? "hit" : turn === null ? "context" : "muted"}`, visible(data.texts[id]));
        node.tabIndex = -1;
        told.set(node, [id, kind, depth + at]);
        box.append(node);
      }
    }
    return box;
  }

  function heading(role, turn, reason) {
    if (turn === null) return make("span", "says", `context: ${role}`);
    return make("span", "says", make("b", "", `${role}, messages[${turn}]`), reason === "trained" ? "" : ` ${reason}`);
  }

  // White space that is a token of its own is shown by signs; line feeds still break the line.
  function visible(text) {
    if (text === "") return "∅";
    if (text !== " " && /^\s+$/.test(text)) return text.replaceAll(" ", "·").replaceAll("\n", "↵\n").replaceAll("\t", "⇥");
    return text;
  }

  function explain(node) {
    const known = node && told.get(node);
    about.hidden = !known;
    if (!known) return;
    const [id, kind, position] = known;
    const [role, part, turn, weight, reason] = data.kinds[kind];
    const facts = [
      ["token", JSON.stringify(data.texts[id])],
      ["id", String(id)],
      ["position", count(position)],
      ["role", role],
      ["part", part],
      ["turn", turn === null ? "" : `messages[${turn}]`],
      ["weight", String(weight)],
    ];
    const shownFacts = facts.filter(([, value]) => value !== "" && value !== null && value !== undefined);
    about.replaceChildren(
      ...shownFacts.map(([name, value]) => make("div", "", make("span", "", `${name} `), make("b", "", value))),
      make("div", "reason", reason),
    );
  }

  // Arrow keys walk the tokens of the open row; only one of them is in the tab order.
  function walk(event) {
    const here = event.target;
    if (!told.has(here)) return;
    const tokens = [...here.closest(".body").querySelectorAll(".t")];
    const at = tokens.indexOf(here);
    const kindOf = (i) => told.get(tokens[i])[1];
    let to = at;
    if (event.key === "ArrowRight") to = at + 1;
    else if (event.key === "ArrowLeft") to = at - 1;
    else if (event.key === "ArrowDown") while (to < tokens.length - 1 && kindOf(to) === kindOf(at)) to += 1;
    else if (event.key === "ArrowUp") while (to > 0 && kindOf(to) === kindOf(at)) to -= 1;
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = tokens.length - 1;
    else return;
    event.preventDefault();
    to = Math.max(0, Math.min(tokens.length - 1, to));
    here.tabIndex = -1;
    tokens[to].tabIndex = 0;
    tokens[to].focus();
  }

  const on = (id, event, change) => {
    const node = document.getElementById(id);
    if (node) node.addEventListener(event, () => { change(node.value); update(); });
  };
  for (const button of document.querySelectorAll("button[data-flag]")) {
    button.addEventListener("click", () => {
      wanted.flag = button.dataset.flag;
      for (const other of document.querySelectorAll("button[data-flag]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      update();
    });
  }
  on("search", "input", (text) => { wanted.words = text.toLowerCase().split(/\s+/).filter(Boolean); });
  on("tool", "change", (name) => { wanted.tool = name; });
  on("least", "input", (text) => { wanted.least = Number(text) || 0; });
  on("most", "input", (text) => { wanted.most = Number(text) || Infinity; });
  document.getElementById("more").addEventListener("click", showMore);
  list.addEventListener("mouseover", (event) => explain(told.has(event.target) ? event.target : document.activeElement));
  list.addEventListener("mouseleave", () => explain(document.activeElement));
  list.addEventListener("focusin", (event) => explain(event.target));
  list.addEventListener("focusout", () => explain(null));
  list.addEventListener("click", (event) => { if (told.has(event.target)) event.target.focus(); });
  list.addEventListener("keydown", walk);
  update();
})();
