// The view of one image with all of its data.

function makeCard(item, formats) {
  const body = make("div", { class: "body" });
  const captions = item.captions || [];
  const compared = captions.some((caption) => caption.source);
  captions.slice(0, compared ? undefined : 1).forEach((caption, place) => {
    const source = compared
      ? make("span", { class: "source" },
        [caption.source, ...scoreTexts(formats, caption.scores).slice(0, 1)].join(" · "))
      : null;
    body.append(make("p", { class: "caption", "data-place": place },
      source, makeWords(item, place, false)));
  });
  if (item.note) body.append(make("p", { class: "problem" }, item.note));
  const chips = makeConcepts(item);
  if (chips) body.append(chips);
  if (!compared && captions.length > 1) {
    const others = captions.slice(1).map((caption) => caption.text);
    body.append(make("details", {},
      make("summary", {}, counted(others.length, "other caption")),
      makeTexts(others)));
  }
  if (item.references) {
    body.append(make("details", captions.length ? {} : { open: "" },
      make("summary", {}, counted(item.references.length, "reference")),
      makeTexts(item.references)));
  }
  const main = compared ? "" : scoreTexts(formats, item.scores).slice(0, 2).join(" · ");
  body.append(make("footer", {}, main ? make("b", {}, main) : null, make("span", {}, item.name)));
  return [makePicture(item), body];
}

// The scores of an item that are not those of its first caption.
function ownScores(item) {
  const first = item.captions?.[0]?.scores || {};
  return Object.fromEntries(Object.entries(item.scores || {}).filter(([name]) => !(name in first)));
}

function makeDetail(item, formats) {
  const body = make("div", { class: "body" });
  const captions = item.captions || [];
  if (captions.length && !captions.some((caption) => caption.source)) {
    body.append(make("p", { class: "caption", "data-place": 0 }, makeWords(item, 0, true)));
  }
  if (item.note) body.append(make("p", { class: "problem" }, item.note));
  if (captions.length) body.append(makeScores(item, formats));
  const own = scoreTexts(formats, ownScores(item));
  if (own.length) body.append(make("p", { class: "note" }, own.join(", ")));
  const chips = makeConcepts(item);
  if (chips) body.append(make("section", {}, make("h3", {}, "Concepts"), chips));
  if (item.references) {
    body.append(make("section", {},
      make("h3", {}, counted(item.references.length, "reference")), makeTexts(item.references)));
  }
  if (item.attention) {
    body.append(make("p", { class: "note" },
      "The picture shows where the model looked for the word under the pointer or in focus."));
  }
  const picture = makePicture(item);
  picture.querySelector("img")?.removeAttribute("loading");
  return [picture, body];
}

// A block per caption with its scores; the best caption, which is the heading, is not repeated.
function makeScores(item, formats) {
  const blocks = item.captions.map((caption, place) => make("li", {},
    caption.source ? make("span", { class: "source" }, caption.source) : null,
    caption.source || place
      ? make("p", { "data-place": place }, makeWords(item, place, true)) : null,
    make("dl", {}, Object.keys(formats).filter((name) => caption.scores?.[name] !== undefined)
      .map((name) => make("div", {}, make("dt", {}, formats[name].label),
        make("dd", {}, formatScore(formats, name, caption.scores[name])))))));
  return make("ol", { class: "scores" }, blocks);
}
