"use strict";
// Slices by slider, arrow keys and wheel; the values under the pointer, read back from the colours of the images.
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const root = document.documentElement;
  const slider = document.getElementById("slice");
  const shown = document.getElementById("slice-name");
  const boxes = [...document.querySelectorAll(".box[data-scale]")];
  const all = [...document.querySelectorAll(".box")];
  root.classList.add("scripted");

  const show = index => {
    const last = told.slices.length - 1;
    index = Math.min(Math.max(index, 0), last);
    slider.value = index;
    root.style.setProperty("--column", index % told.columns);
    root.style.setProperty("--row", Math.floor(index / told.columns));
    shown.textContent = `${told.slices[index]} of ${told.depth}`;
    slider.setAttribute("aria-valuetext", `slice ${told.slices[index]} of ${told.depth}`);
    for (const box of all) box.dataset.slice = told.slices[index];
    read();
  };
  const step = by => {
    const before = Number(slider.value);
    show(before + by);
    return Number(slider.value) !== before;
  };

  const number = value => /^#?([0-9a-f]{6})$/.exec(value)[1];
  const scales = told.scales.map(scale => ({ ...scale, index: new Map(scale.colours.map((c, i) => [number(c), i])) }));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let pointer = null;

  const text = (scale, pixel) => {
    if (pixel[3] === 0) return "outside";
    const hex = [...pixel.slice(0, 3)].map(v => v.toString(16).padStart(2, "0")).join("");
    const index = scale.index.get(hex);
    if (index === undefined) return "";
    if (scale.names) return scale.names[index] || "";
    if (index < told.first) return ["", "no value", `below ${scale.low}`, `above ${scale.high}`][index];
    const levels = scale.colours.length - told.first;
    return (scale.low + (index - told.first + 0.5) / levels * (scale.high - scale.low)).toFixed(scale.digits);
  };
  const read = () => {
    for (const box of boxes) {
      const output = box.parentElement.querySelector(".value");
      if (!pointer || box.offsetParent === null) { output.textContent = ""; continue; }
      const index = Number(slider.value);
      const x = index % told.columns * told.width + pointer.x;
      const y = Math.floor(index / told.columns) * told.height + pointer.y;
      context.clearRect(0, 0, 1, 1);
      context.drawImage(box.querySelector("img"), x, y, 1, 1, 0, 0, 1, 1);
      output.textContent = text(scales[box.dataset.scale], context.getImageData(0, 0, 1, 1).data);
    }
  };
  const point = (box, event) => {
    const area = box.getBoundingClientRect();
    const across = (event.clientX - area.left) / area.width, down = (event.clientY - area.top) / area.height;
    if (across < 0 || across >= 1 || down < 0 || down >= 1) return;
    pointer = { x: Math.floor(across * told.width), y: Math.floor(down * told.height) };
    root.style.setProperty("--across", `${(pointer.x + 0.5) / told.width * 100}%`);
    root.style.setProperty("--down", `${(pointer.y + 0.5) / told.height * 100}%`);
    root.classList.add("pointed");
    read();
  };

  let turned = 0;
  for (const box of all) {
    box.addEventListener("pointermove", event => point(box, event));
    box.addEventListener("pointerleave", () => { pointer = null; root.classList.remove("pointed"); read(); });
    box.addEventListener("wheel", event => {
      if (event.ctrlKey || !event.deltaY) return;
      turned = Math.sign(turned) === Math.sign(event.deltaY) ? turned + event.deltaY : event.deltaY;
      const by = Math.sign(event.deltaY), edge = by > 0 ? told.slices.length - 1 : 0;
      if (Number(slider.value) === edge) return; // the page scrolls on
      event.preventDefault();
      if (Math.abs(turned) >= 40 || event.deltaMode !== 0) { turned = 0; step(by); }
    }, { passive: false });
  }
  slider.addEventListener("input", () => show(Number(slider.value)));
  document.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target === slider) return;
    const inside = event.target.closest && event.target.closest(".viewer");
    const by = { ArrowRight: 1, ArrowLeft: -1, ...(inside ? { ArrowUp: -1, ArrowDown: 1 } : {}) }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  show(told.start);
})();
