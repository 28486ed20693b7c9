// Searches the rows on which two contenders disagree. Without it, all rows are shown.
"use strict";
(() => {
  const form = document.querySelector(".controls");
  if (!form) return;
  const plain = (text) => text.normalize("NFKC").toLocaleLowerCase();
  const pairs = [...document.querySelectorAll("details.pair")].map((pair) => ({
    count: pair.querySelector(".count"),
    more: pair.querySelector("details.more"),
    rows: [...pair.querySelectorAll("ol.rows > li")].map((row) => ({ row, text: plain(row.textContent) })),
  }));
  const search = form.querySelector("#search");
  const choice = form.querySelector("#choice");
  const show = () => {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const filtered = words.length > 0 || choice.value !== "";
    let all = 0;
    let total = 0;
    for (const pair of pairs) {
      let found = 0;
      for (const { row, text } of pair.rows) {
        const fits = words.every((word) => text.includes(word)) && [row.dataset.right, ""].includes(choice.value);
        row.hidden = !fits;
        found += fits;
      }
      if (filtered && pair.more) pair.more.open = true;
      pair.count.textContent = filtered ? `${found} found` : "";
      all += found;
      total += pair.rows.length;
    }
    form.querySelector("#found").textContent = filtered ? `${all} of ${total} rows` : "";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", show);
  choice.addEventListener("change", show);
})();
