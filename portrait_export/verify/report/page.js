"use strict";
// Sort tables by a column, and compare two masks by a slider. Without scripts the page lacks only these two.

function sortBy(heading, column) {
  const body = heading.closest("table").tBodies[0];
  const falling = heading.getAttribute("aria-sort") === "ascending";
  for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(key(a)), Number(key(b))];
    if (Number.isNaN(x) || Number.isNaN(y)) {
      if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // what has no number comes last
      return (falling ? -1 : 1) * key(a).localeCompare(key(b), "en", { numeric: true });
    }
    return (falling ? -1 : 1) * (x - y);
  };
  body.append(...[...body.rows].sort(compare));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sortBy(heading, column));
    heading.replaceChildren(button);
  });
}

for (const article of document.querySelectorAll("article.compared")) {
  const [reference, candidate] = article.querySelectorAll("img.mask");
  const slider = document.createElement("div");
  slider.className = "slider";
  const pictures = document.createElement("div");
  pictures.append(reference.cloneNode(), candidate.cloneNode());
  for (const picture of pictures.children) picture.alt = "";
  const label = document.createElement("label");
  label.textContent = "left: reference mask, right: package mask";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: 100, value: 50 });
  input.addEventListener("input", () => pictures.style.setProperty("--at", `${input.value}%`));
  label.append(input);
  slider.append(pictures, label);
  article.append(slider);
}
