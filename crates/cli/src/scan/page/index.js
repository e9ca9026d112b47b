"use strict";
const body = document.querySelector("tbody");
const heads = [...document.querySelectorAll("th[data-kind]")];
heads.forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = head.dataset.kind === "number"
      ? (a, b) => value(a) - value(b)
      : (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true });
    const rows = [...body.rows].sort((a, b) => (descending ? -compare(a, b) : compare(a, b)));
    body.replaceChildren(...rows);
  });
});
const form = document.querySelector("form");
const search = document.querySelector("#search");
const filter = () => {
  const shown = new Set([...form.querySelectorAll("input:checked")].map((box) => box.value));
  const wanted = search.value.toLowerCase();
  let count = 0;
  for (const row of body.rows) {
    const name = row.cells[0].dataset.value.toLowerCase();
    row.hidden = !(shown.has(row.dataset.verdict) && name.includes(wanted));
    count += !row.hidden;
  }
  form.querySelector("output").textContent = `${count} of ${body.rows.length} shown`;
};
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
filter();
