// The page shows every label without this. This keeps a person's answers, sorts and filters.
// Answers stay in this browser until they are saved; the key is the hash of the labels they are about.
(() => {
  const { labels, format } = document.body.dataset;
  const key = `taco-kd-reviews-${labels}`;
  const all = [...document.querySelectorAll(".tile")];
  const sample = [...document.querySelectorAll("#sample .tile")];
  const cards = [...document.querySelectorAll("#cards .tile")];
  const grid = document.getElementById("cards");
  let answers = {};
  try { answers = JSON.parse(localStorage.getItem(key)) || {}; } catch { /* a browser that keeps nothing */ }

  function show() {
    for (const card of all) {
      const given = answers[card.dataset.box];
      for (const button of card.querySelectorAll(".answers button")) {
        button.setAttribute("aria-pressed", String(button.dataset.answer === given));
      }
    }
    const done = sample.filter((card) => answers[card.dataset.box]).length;
    const others = Object.keys(answers).length - done;
    document.getElementById("count").textContent =
      `${done} of ${sample.length} answered` + (others ? `, and ${others} outside the sample` : "");
  }

  function keep() {
    try { localStorage.setItem(key, JSON.stringify(answers)); } catch { /* still saved as a file */ }
    show();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".answers button");
    if (!button) return;
    const box = button.closest(".tile").dataset.box;
    if (answers[box] === button.dataset.answer) delete answers[box];
    else answers[box] = button.dataset.answer;
    keep();
  });

  function file() {
    const reviews = Object.entries(answers).map(([box, answer]) => ({ box: Number(box), answer }));
    return JSON.stringify({ format, labels, reviews }, null, 1);
  }

  document.getElementById("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([file()], { type: "application/json" }));
    link.download = "reviews.json";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  document.getElementById("load").addEventListener("change", async (event) => {
    const [given] = event.target.files;
    if (!given) return;
    try {
      const found = JSON.parse(await given.text());
      if (found.format !== format || found.labels !== labels) throw new Error("they are about other labels");
      answers = Object.fromEntries(found.reviews.map(({ box, answer }) => [box, answer]));
      keep();
    } catch (error) {
      window.alert(`These answers cannot be loaded: ${error.message}`);
    }
    event.target.value = "";
  });
  document.getElementById("clear").addEventListener("click", () => {
    if (window.confirm("Forget all answers in this browser?")) { answers = {}; keep(); }
  });

  const number = (card, name) => Number(card.dataset[name]);
  const orders = {
    harm: (a, b) => number(a, "rank") - number(b, "rank") || number(b, "weight") - number(a, "weight"),
    score: (a, b) => number(b, "score") - number(a, "score"),
    weight: (a, b) => number(b, "weight") - number(a, "weight"),
    label: (a, b) => a.dataset.label.localeCompare(b.dataset.label) || orders.harm(a, b),
  };
  const [sort, folder, suspicion] = ["sort", "folder", "suspicion"].map((id) => document.getElementById(id));
  function arrange() {
    let shown = 0;
    for (const card of [...cards].sort(orders[sort.value])) {
      const fits = (!folder.value || card.dataset.label === folder.value)
        && (!suspicion.value || card.dataset.suspicion === suspicion.value);
      card.hidden = !fits;
      shown += fits;
      grid.append(card);
    }
    document.getElementById("shown").textContent = `${shown} shown`;
  }
  for (const select of [sort, folder, suspicion]) select.addEventListener("change", arrange);
  show();
  arrange();
})();
