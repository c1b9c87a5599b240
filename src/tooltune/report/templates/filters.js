// What is wanted of the samples, and which of them are that. No part of this touches the page.
// A facet is a property of samples: it reads one value, or a list of them, of a sample.
function makeFilters(data) {
  const wanted = { state: "", kind: "", dataset: "", failure: "", status: "", tool: "", words: [] };
  const pair = { from: 0, to: Math.min(1, data.columns.length - 1) };
  let only = -1; // the evaluation whose failures and statuses count, all of them at -1
  const facts = new Map();
  const own = new Map();
  const messages = [];
  const hits = new Map();

  const facets = {
    state: stateOf, // the first, by which samples are ranked
    kind: (row) => row.kind,
    dataset: (row) => row.dataset,
    failure: (row) => factsOf(row).failures[only + 1],
    status: (row) => factsOf(row).statuses[only + 1],
    tool: (row) => factsOf(row).tools,
  };
  const names = Object.keys(facets);
  const RANK = { fixed: 0, broken: 0, wrong: 1, unpaired: 2, right: 3 };
  const readers = Object.values(facets);

  function distinct(values) {
    return values.length < 2 ? values : [...new Set(values)];
  }

  function stateOf(row) {
    if (data.columns.length < 2) return row.sides[0].correct ? "right" : "wrong";
    const [before, after] = [row.sides[pair.from], row.sides[pair.to]];
    if (!before || !after) return data.paired ? "unpaired" : (before ?? after)?.correct ? "right" : "wrong";
    if (Boolean(before.correct) !== Boolean(after.correct)) return after.correct ? "fixed" : "broken";
    return after.correct ? "right" : "wrong";
  }

  // What does not change: the tools that a sample is about (those that are due, and those that
  // any model called), and failures and statuses, of all evaluations first and then of each.
  function factsOf(row) {
    let known = facts.get(row);
    if (!known) {
      const sides = row.sides.filter(Boolean);
      const called = sides.flatMap((side) => side.calls.map((call) => call.actual));
      const ofEach = (read) => {
        const each = row.sides.map((side) => (side ? read(side) : []));
        return [distinct(each.flat()), ...each];
      };
      known = {
        tools: distinct([...(row.wanted ?? []), ...called.filter((name) => name !== null)]),
        failures: ofEach((side) => (side.class ? [side.class] : [])),
        statuses: ofEach((side) => side.statuses ?? ["none"]),
      };
      facts.set(row, known);
    }
    return known;
  }

  // A sample's own words; those of its prompt are looked up in the messages, which samples share.
  function ownText(row) {
    let text = own.get(row);
    if (text === undefined) {
      const parts = [row.id, row.question, row.answer ?? "", ...(row.expected ?? [])];
      for (const side of row.sides) {
        if (side) parts.push(side.text, side.outcome ?? "", side.skipped ?? "", ...(side.reasons ?? []));
      }
      text = parts.join("\n").toLowerCase();
      own.set(row, text);
    }
    return text;
  }

  function messageText(place) {
    messages[place] ??= data.messages[place].text.toLowerCase();
    return messages[place];
  }

  function messageHits(word) {
    if (!hits.has(word)) {
      if (hits.size > 20) hits.clear();
      hits.set(word, data.messages.map((_, place) => messageText(place).includes(word)));
    }
    return hits.get(word);
  }

  function textPasses(row) {
    return wanted.words.every((word) => {
      if (ownText(row).includes(word)) return true;
      const inside = messageHits(word);
      return (row.messages ?? []).some((place) => inside[place]);
    });
  }

  // The samples that pass every filter, what changed first, else as in the file; and for each facet
  // how many each of its values would leave (under "" all of them) if the other filters stayed.
  function apply() {
    const ranked = [[], [], [], []];
    const tables = names.map(() => new Map([["", 0]]));
    const asked = names.map((name) => wanted[name]);
    const values = new Array(names.length);
    const has = (value, one) => (typeof value === "string" ? value === one : value.includes(one));
    const bump = (table, value) => table.set(value, (table.get(value) ?? 0) + 1);
    const count = (at) => {
      bump(tables[at], "");
      if (typeof values[at] === "string") bump(tables[at], values[at]);
      else for (const value of values[at]) bump(tables[at], value);
    };
    for (const row of data.rows) {
      let failing = -1;
      let failures = 0;
      for (let at = 0; at < readers.length; at += 1) {
        values[at] = readers[at](row);
        if (asked[at] && !has(values[at], asked[at])) {
          failing = at;
          failures += 1;
        }
      }
      if (failures > 1 || !textPasses(row)) continue;
      if (failures) {
        count(failing);
        continue;
      }
      ranked[RANK[values[0]]].push(row);
      for (let at = 0; at < readers.length; at += 1) count(at);
    }
    const counts = Object.fromEntries(names.map((name, at) => [name, tables[at]]));
    return { rows: ranked.flat(), counts };
  }

  // Make the texts of a search ready while nobody waits.
  function warm(from = 0) {
    const to = from + 250;
    for (const row of data.rows.slice(from, to)) ownText(row);
    for (let place = from; place < Math.min(to, data.messages.length); place += 1) messageText(place);
    if (to < Math.max(data.rows.length, data.messages.length)) setTimeout(warm, 20, to);
  }

  return {
    wanted,
    pair,
    stateOf,
    apply,
    warm,
    set only(place) { only = place; },
    get only() { return only; },
  };
}

