// The list of samples and its filters. Rows are made when shown, their bodies when opened.
(() => {
  const holder = document.getElementById("data");
  const list = document.getElementById("list");
  const form = document.getElementById("filters");
  if (!holder || !form) return;
  const at = (id) => document.getElementById(id);
  const PAGE = 100;
  const NAMES = { failure: "any failure", status: "any status", tool: "any tool", dataset: "all" };
  const MOST_OPTIONS = 400;
  let data = null;
  let filters = null;
  let found = [];
  let shown = 0;

  function start(loaded) {
    data = loaded;
    data.paired = data.columns.filter((_, place) => data.rows.some((row) => row.sides[place])).length > 1;
    filters = makeFilters(data);
    follow();
    setTimeout(filters.warm, 200);
  }

  function update() {
    const { rows, counts } = filters.apply();
    for (const button of form.querySelectorAll("button[data-filter]")) {
      const { filter, value } = button.dataset;
      button.setAttribute("aria-pressed", String(filters.wanted[filter] === value));
      button.querySelector(".count").textContent = (counts[filter].get(value) ?? 0).toLocaleString("en");
    }
    for (const select of form.querySelectorAll("select[data-facet]")) fill(select, counts[select.dataset.facet]);
    show(rows);
    at("told").textContent =
      found.length === data.rows.length ? "" : `${plural(found.length, "sample")} found`;
    at("clear").hidden = found.length === data.rows.length && !anyWanted();
  }

  function anyWanted() {
    return Object.values(filters.wanted).some((value) => value.length > 0);
  }

  // Every value that samples have, with the number that choosing it would leave.
  function fill(select, counts) {
    const name = select.dataset.facet;
    if (select.options.length === 0) {
      const all = [...counts].filter(([value]) => value !== "");
      all.sort(([a, n], [b, m]) => m - n || a.localeCompare(b));
      for (const value of ["", ...all.slice(0, MOST_OPTIONS).map(([value]) => value)]) {
        const option = make("option", "");
        option.value = value;
        select.append(option);
      }
      select.closest("label").hidden = all.length < (name === "dataset" ? 2 : 1);
    }
    for (const option of select.options) {
      const label = name === "tool" || option.value === "" ? option.value : spaced(option.value);
      option.textContent = readable(option.value === "" ? NAMES[name] : `${label} (${(counts.get(option.value) ?? 0).toLocaleString("en")})`);
    }
    select.value = filters.wanted[name];
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
    const more = at("more");
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en")}`;
    return rows;
  }

  function item(row) {
    const state = filters.stateOf(row);
    const [glyph, label] = STATES[state];
    const want = row.any ? "any call" : row.kind === "abstain" ? "no call" : (row.wanted ?? []).join(", ");
    const each = row.sides.length > 2 && make("small", "each", ...row.sides.map((side) => (side ? (side.correct ? "✓" : "✗") : "–")));
    const failure = row.sides[filters.pair.to]?.class || row.sides[filters.pair.from]?.class;
    const summary = make(
      "summary",
      "",
      make("span", `mark ${state}`, make("i", "", glyph), label, each),
      make("bdi", "question", row.question || "(no user message)"),
      make("span", "class", failure ? spaced(failure) : ""),
      make("bdi", row.kind === "abstain" ? "want none" : "want", want),
    );
    const details = make("details", "sample", summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(sampleBody(row, data));
    });
    return make("li", "", details);
  }

  function named() {
    try {
      return decodeURIComponent(location.hash.slice("#sample=".length));
    } catch {
      return ""; // no link that this page made
    }
  }

  // The address bar may name one sample: show it alone, open.
  function follow() {
    const wantsOne = location.hash.startsWith("#sample=");
    const name = wantsOne && named();
    const row = wantsOne && data.rows.find((candidate) => nameOf(candidate) === name);
    at("alone").hidden = !wantsOne;
    form.hidden = wantsOne;
    if (!wantsOne) {
      update();
      return;
    }
    at("which").textContent = row ? "One sample, by its link." : "No sample on this page has that link.";
    show(row ? [row] : []);
    const details = list.querySelector("details");
    if (row) {
      details.append(sampleBody(row, data)); // now: the page scrolls only as far as it is long
      details.open = true;
    }
    at("samples").scrollIntoView();
  }

  // Up and down walk the samples; the list grows where it ends.
  function walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const here = event.target.closest("li");
    if (!step || !here || event.target.parentElement.className !== "sample") return;
    if (step > 0 && !here.nextElementSibling && shown < found.length) showMore();
    const next = step > 0 ? here.nextElementSibling : here.previousElementSibling;
    if (!next) return;
    event.preventDefault();
    next.querySelector("summary").focus();
  }

  function reset() {
    for (const name of Object.keys(filters.wanted)) filters.wanted[name] = name === "words" ? [] : "";
    at("search").value = "";
  }

  // The tables above lead to the samples that they count.
  function lead(button) {
    reset();
    filters.wanted[button.dataset.leads] = button.dataset.value;
    filters.wanted.kind = button.dataset.kind ?? "";
    filters.wanted.dataset = button.dataset.dataset;
    filters.only = Number(button.dataset.column ?? -1);
    if (at("only")) at("only").value = String(filters.only);
    if (location.hash.startsWith("#sample=")) location.hash = "samples";
    else update();
    at("alone").hidden = true;
    at("samples").scrollIntoView();
    list.querySelector("summary")?.focus({ preventScroll: true });
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-filter]");
    if (!button) return;
    filters.wanted[button.dataset.filter] = button.dataset.value;
    update();
  });
  form.addEventListener("change", (event) => {
    const { facet, pair } = event.target.dataset;
    if (facet) filters.wanted[facet] = event.target.value;
    else if (pair) filters.pair[pair] = Number(event.target.value);
    else if (event.target.id === "only") filters.only = Number(event.target.value);
    else return;
    update();
  });
  let waiting = 0;
  at("search").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      filters.wanted.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      update();
    }, 120);
  });
  at("clear").addEventListener("click", () => {
    reset();
    update();
    at("search").focus();
  });
  at("more").addEventListener("click", () => {
    showMore()[0]?.querySelector("summary").focus();
  });
  at("leave").addEventListener("click", () => {
    location.hash = "samples";
  });
  list.addEventListener("keydown", walk);
  withData(
    holder,
    (loaded) => {
      start(loaded);
      addEventListener("hashchange", follow);
      for (const button of document.querySelectorAll("button[data-leads]")) {
        button.disabled = false;
        button.addEventListener("click", () => lead(button));
      }
    },
    () => { at("unpackable").hidden = false; },
  );
})();
