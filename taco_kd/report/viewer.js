// The page is whole without this: boxes are drawn at the default confidence. This moves the threshold.
// A detection is shown from its own score down; a missed object while the score that finds it is too low.
(() => {
  const viewer = document.querySelector(".viewer");
  const slider = viewer && viewer.querySelector("input[type=range]");
  if (!slider) return;
  const output = viewer.querySelector("output");
  const views = [...viewer.querySelectorAll(".view")].map((view) => ({
    detections: [...view.querySelectorAll("[data-score]")],
    missed: [...view.querySelectorAll("[data-found]")],
    found: view.querySelector(".found"),
    wrong: view.querySelector(".false"),
  }));

  function show() {
    const threshold = Number(slider.value);
    output.value = threshold.toFixed(2);
    for (const { detections, missed, found, wrong } of views) {
      const count = { right: 0, wrong: 0 };
      for (const box of detections) {
        const visible = Number(box.dataset.score) >= threshold;
        box.classList.toggle("off", !visible);
        if (visible) count[box.classList.contains("right") ? "right" : "wrong"] += 1;
      }
      for (const box of missed) box.classList.toggle("off", Number(box.dataset.found) >= threshold);
      if (found) [found.textContent, wrong.textContent] = [count.right, count.wrong];
    }
  }

  viewer.querySelectorAll(".control").forEach((control) => { control.hidden = false; });
  slider.addEventListener("input", show);
  viewer.querySelector("input[type=checkbox]").addEventListener("change", (event) => {
    viewer.classList.toggle("unlabelled", !event.target.checked);
  });
  show(); // a reload may have kept another position of the slider
})();
