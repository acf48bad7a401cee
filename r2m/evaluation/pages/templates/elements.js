// Parts of cards and of the detail view. Text is set as text, never as HTML.

// Makes an element; attributes without a value are left out, children are elements and texts.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function formatScore(formats, name, value) {
  const format = formats[name];
  return (format.factor * value).toFixed(format.digits) + format.unit;
}

function scoreTexts(formats, scores) {
  return Object.keys(formats)
    .filter((name) => scores && scores[name] !== undefined)
    .map((name) => `${formats[name].label} ${formatScore(formats, name, scores[name])}`);
}

// The picture of an item with its boxes, in a frame of the picture's proportions.
function makePicture(item) {
  const holder = make("div", { class: "picture" });
  if (item.pictured === false) {
    holder.append(make("div", { class: "missing" }, "no picture"));
    return holder;
  }
  if (!item.picture) {
    holder.append(make("div", { class: "missing" }, "picture cannot be read"));
    return holder;
  }
  const [width, height] = item.size;
  const image = make("img", {
    src: item.picture, alt: item.name, width, height, loading: "lazy", decoding: "async",
  });
  image.addEventListener("error", () => {
    holder.replaceChildren(make("div", { class: "missing" }, "picture is missing"));
  });
  const frame = make("div", { class: "frame" }, image);
  frame.style.setProperty("--shape", width / height);
  for (const { label, color, box, place } of item.boxes || []) {
    const outline = make("i", { class: "box", title: label });
    outline.style.setProperty("--color", color);
    const [left, top, wide, high] = box;
    Object.assign(outline.style, {
      left: `${left}%`, top: `${top}%`, width: `${wide}%`, height: `${high}%`,
    });
    frame.append(outline);
    if (!place) continue;
    const text = make("span", { class: "label" }, label);
    text.style.setProperty("--color", color);
    Object.assign(text.style, { left: `${place[0]}%`, top: `${place[1]}%` });
    frame.append(text);
  }
  holder.append(frame);
  return holder;
}

// The words of a caption; those with attention or a concept are interactive. `place` is the
// index of the caption.
function makeWords(item, place, focusable) {
  const caption = item.captions[place];
  if (!caption.text.trim()) return [make("span", { class: "none" }, "no caption")];
  const attended = place === 0 && item.attention;
  const words = attended ? item.attention.words : caption.text.split(/\s+/).filter(Boolean);
  return words.flatMap((word, index) => {
    const named = (item.concepts || []).some(([label]) => names(label, word));
    const attributes = attended || named
      ? { class: `word live${named ? " named" : ""}`, "data-word": index, tabindex: focusable ? 0 : null }
      : { class: "word" };
    return [index ? " " : null, make("span", attributes, word)];
  });
}

function makeConcepts(item) {
  if (!item.concepts) return null;
  const chips = item.concepts.map(([word, score]) => make(
    "li", { "data-concept": word }, word,
    score === undefined ? null : make("span", {}, ` ${score.toFixed(2)}`),
  ));
  return make("ul", { class: "chips", "aria-label": "concepts" }, chips);
}

function makeTexts(texts) {
  return make("ul", { class: "texts" }, texts.map((text) => make("li", {}, text)));
}

function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

// Returns whether a word of a caption names a concept: alone, in the plural, or as part of its name.
function names(label, word) {
  const stem = (text) => text.toLowerCase().replace(/(?<=[^s]{2})(?:es|s)$/, "");
  return label.split(/[\s,]+/).some((part) => stem(part) === stem(word));
}

// Shows the attention map or the concept of a word below `root`.
function highlight(root, item, word, text) {
  clearHighlight(root);
  word?.classList.add("on");
  if (word && item.attention && word.closest("[data-place]")?.dataset.place === "0") {
    showMap(root, item.attention, Number(word.dataset.word));
  }
  for (const chip of root.querySelectorAll("[data-concept]")) {
    if (names(chip.dataset.concept, text) || chip.dataset.concept === text) chip.classList.add("on");
  }
  for (const box of root.querySelectorAll(".box")) {
    if (names(box.title, text) || box.title === text) box.classList.add("on");
  }
  if (!word) {
    for (const other of root.querySelectorAll(".word.live")) {
      if (names(text, other.textContent)) other.classList.add("on");
    }
  }
}

function clearHighlight(root) {
  for (const marked of root.querySelectorAll(".on")) marked.classList.remove("on");
  root.querySelector("canvas")?.remove();
}

// Darkens a picture where the attention for a word is low.
function showMap(root, attention, index) {
  const frame = root.querySelector(".frame");
  if (!frame) return;
  const [rows, columns] = attention.grid;
  attention.cells ??= Uint8Array.from(atob(attention.maps), (letter) => letter.charCodeAt(0));
  const canvas = make("canvas", { width: columns, height: rows, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  for (let cell = 0; cell < rows * columns; cell += 1) {
    pixels.data[4 * cell + 3] = 0.82 * (255 - attention.cells[index * rows * columns + cell]);
  }
  context.putImageData(pixels, 0, 0);
  const [top, left, height, width] = attention.part;
  Object.assign(canvas.style, {
    inset: "auto", top: `${100 * top}%`, left: `${100 * left}%`, width: `${100 * width}%`,
    height: `${100 * height}%`, boxShadow: "0 0 0 9999px rgb(0 0 0 / .82)",
  });
  frame.append(canvas);
}

// Highlights words by mouse, pen and keyboard, in elements for which `itemOf` finds an item.
function listenForWords(container, itemOf) {
  const react = (event) => {
    const target = event.target.closest?.(".word.live, [data-concept], .box");
    if (!target) return;
    const root = target.closest("[data-root]");
    const word = target.classList.contains("word") ? target : null;
    const text = word ? word.textContent : target.dataset.concept ?? target.title;
    highlight(root, itemOf(root), word, text);
  };
  const stop = (event) => {
    const root = event.target.closest?.("[data-root]");
    if (root && event.target.closest(".word.live, [data-concept], .box")) clearHighlight(root);
  };
  container.addEventListener("pointerover", react);
  container.addEventListener("focusin", react);
  container.addEventListener("pointerout", stop);
  container.addEventListener("focusout", stop);
}
