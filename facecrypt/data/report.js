"use strict";
// Without this script, the two pictures of a face stand side by side.
for (const pair of document.querySelectorAll(".compare")) {
  const slider = pair.querySelector("input");
  const show = () => {
    pair.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % original, " + (100 - slider.value) + " % saved");
  };
  slider.addEventListener("input", show);
  pair.classList.add("live");
  slider.hidden = false;
  show();
}
