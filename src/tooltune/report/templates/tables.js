// The tables above the samples: sort by a column, show the rows that are folded away.
(() => {
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      const column = heads.indexOf(head);
      if (column < 0 || !event.target.closest("button")) return;
      const words = head.dataset.sort === "words";
      const first = words ? "ascending" : "descending";
      const other = words ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        if (words) return sign * value(a).localeCompare(value(b));
        const [left, right] = [value(a), value(b)];
        if (left === "" || right === "") return (left === "") - (right === ""); // unknown is last
        return sign * (Number(left) - Number(right));
      };
      const hidden = [...body.rows].filter((row) => row.hidden).length;
      const rows = [...body.rows].sort(compare);
      rows.forEach((row, place) => { row.hidden = place >= rows.length - hidden; });
      body.append(...rows);
    });
    const all = table.parentElement.querySelector("button[data-all]");
    all?.addEventListener("click", () => {
      for (const row of body.rows) row.hidden = false;
      all.remove();
    });
  }
})();

