"use strict";

// Sorts by the column whose heading is clicked. Cells without a value stay last in both orders.
const text = new Intl.Collator(undefined, { numeric: true });

function compare(a, b) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x === undefined) return text.compare(a.textContent, b.textContent);
  return Number(x) - Number(y);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const rows = [...table.tBodies[0].rows];
      const missing = (row) => row.cells[column].dataset.value === "";
      const known = rows.filter((row) => !missing(row));
      known.sort((a, b) => direction * compare(a.cells[column], b.cells[column]));
      table.tBodies[0].append(...known, ...rows.filter(missing));
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    });
  });
}
