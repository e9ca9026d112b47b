"use strict";
for (const moments of document.querySelectorAll(".moments")) {
  const chart = document.querySelector(`svg.chart[data-face="${moments.dataset.face}"]`);
  const buttons = [...moments.querySelectorAll("button")];
  const chosen = moments.querySelector(".chosen");
  const choose = (button) => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    const large = button.querySelector("img").cloneNode();
    large.removeAttribute("width");
    large.removeAttribute("height");
    large.alt = "The face at " + button.getAttribute("aria-label");
    const caption = document.createElement("p");
    caption.textContent = button.getAttribute("aria-label");
    chosen.replaceChildren(large, caption);
    button.scrollIntoView({ block: "nearest", inline: "center" });
    if (!chart) return;
    const { left, width, seconds } = chart.dataset;
    const at = Number(left) + (Number(button.dataset.time) / Number(seconds)) * (width - left);
    const cursor = chart.querySelector(".cursor");
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.removeAttribute("hidden");
  };
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = step && buttons[buttons.indexOf(button) + step];
      if (!next) return;
      event.preventDefault();
      next.focus();
      choose(next);
    });
  }
  chart?.addEventListener("click", (event) => {
    const box = chart.getBoundingClientRect();
    const { left, width, seconds } = chart.dataset;
    const x = ((event.clientX - box.left) / box.width) * width;
    const time = ((x - left) / (width - left)) * seconds;
    const away = (button) => Math.abs(button.dataset.time - time);
    choose(buttons.reduce((best, button) => (away(button) < away(best) ? button : best)));
  });
}
