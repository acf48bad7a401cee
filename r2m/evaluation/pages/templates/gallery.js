// The list of images: search, groups, order, range, and the cards that are near the window.

const SHEET = 60; // full rows of 1 to 6 columns

let shownData = null;

function reportMissingData(file) {
  if (shownData) return;
  document.getElementById("tools").hidden = true;
  document.getElementById("grid").replaceChildren(make("p", { class: "problem" },
    `${file} is missing or damaged: keep it beside this page, or write a page with --single_file.`));
}

function showGallery(data) {
  shownData = data;
  const find = (id) => document.getElementById(id);
  const { items, scores: formats } = data;
  const page = find("grid");
  const cards = new Map(); // number of an item -> its card, once it was near the window
  let shown = items.map((_, number) => number); // numbers of the items, in the order of the page
  let sheets = []; // parts of the page with SHEET cards each
  let current = -1; // place in `shown` of the card that Tab reaches
  let descending = true;

  const cardOf = (number) => {
    if (!cards.has(number)) {
      const item = items[number];
      cards.set(number, make("article",
        { class: "card", "data-root": number, tabindex: -1, "aria-label": item.name },
        ...makeCard(item, formats)));
    }
    return cards.get(number);
  };
  const fill = (sheet) => {
    if (sheet.childElementCount) return;
    const first = Number(sheet.dataset.first);
    sheet.append(...shown.slice(first, first + SHEET).map(cardOf));
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) fill(entry.target);
    }
  }, { rootMargin: "1500px 0px" });

  // The cards are in sheets, so that the browser lays out one of them at a time.
  function layOut() {
    observer.disconnect();
    sheets = [];
    for (let first = 0; first < shown.length; first += SHEET) {
      const sheet = make("div", { class: "grid sheet", "data-first": first });
      sheet.style.setProperty("--cards", Math.min(SHEET, shown.length - first));
      sheets.push(sheet);
    }
    page.replaceChildren(...sheets);
    estimateHeights();
    sheets.forEach((sheet) => observer.observe(sheet));
  }
  const columns = () => getComputedStyle(sheets[0]).gridTemplateColumns.split(" ").length;
  function estimateHeights() {
    if (sheets.length) page.style.setProperty("--columns", columns());
  }
  window.addEventListener("resize", estimateHeights);

  // Search

  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = [];
  const textOf = (number) => {
    const item = items[number];
    texts[number] ??= plain([item.name, item.note || "", ...(item.references || []),
      ...(item.captions || []).map((caption) => caption.text),
      ...(item.concepts || []).map(([word]) => word)].join("\n"));
    return texts[number];
  };

  function select() {
    makeCurrent(-1);
    const terms = plain(find("query").value).split(/\s+/).filter(Boolean);
    const group = find("group").value;
    const order = find("order").value;
    const format = formats[order];
    const bound = (id) => (format && find(id).value !== "" ? Number(find(id).value) : null);
    const [least, most] = [bound("least"), bound("most")];
    const scoreOf = (number) => items[number].scores?.[order];
    // Compared as they are shown: a range to 0.3 includes what is shown as 0.3.
    const shownScore = (number) => Number((format.factor * scoreOf(number)).toFixed(format.digits));
    shown = items.map((_, number) => number).filter((number) => {
      if (group && !items[number].groups?.includes(group)) return false;
      if (least !== null || most !== null) {
        if (scoreOf(number) === undefined) return false;
        if (least !== null && shownScore(number) < least) return false;
        if (most !== null && shownScore(number) > most) return false;
      }
      return terms.every((term) => textOf(number).includes(term));
    });
    const sign = descending ? -1 : 1;
    if (order === "name") {
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      shown.sort((one, other) => -sign * compare(items[one].name, items[other].name));
    } else if (format) { // images without the score are last in either direction
      const value = (number) => scoreOf(number) ?? sign * -Infinity;
      const compare = (one, other) => (value(one) === value(other) ? one - other
        : sign * (value(one) - value(other)) || 0);
      const has = (number) => scoreOf(number) !== undefined;
      shown = [...shown.filter(has).sort(compare), ...shown.filter((number) => !has(number))];
    } else if (!descending) shown.reverse();
    find("range").hidden = !format;
    find("range-name").textContent = format ? `${format.label} from` : "";
    find("direction").textContent = format
      ? (descending ? "↓ highest first" : "↑ lowest first")
      : (descending ? "↓ forward" : "↑ backward");
    find("direction").setAttribute("aria-pressed", String(!descending));
    layOut();
    find("nothing").hidden = shown.length > 0;
    find("count").textContent = shown.length === items.length
      ? counted(items.length, "image")
      : `${shown.length.toLocaleString("en")} of ${counted(items.length, "image")}`;
    makeCurrent(shown.length ? 0 : -1);
  }

  // Makes the card at a place the one that Tab reaches.
  function makeCurrent(place) {
    if (shown[current] !== undefined) cardOf(shown[current]).tabIndex = -1;
    current = place;
    if (place >= 0) cardOf(shown[place]).tabIndex = 0;
  }

  // Tools

  const option = (value, text) => make("option", { value }, text);
  const groups = new Map();
  for (const item of items) {
    for (const name of item.groups || []) groups.set(name, (groups.get(name) || 0) + 1);
  }
  find("group").append(option("", "all images"),
    ...[...groups].map(([name, count]) => option(name, `${name} (${count.toLocaleString("en")})`)));
  find("group").closest("label").hidden = !groups.size;
  find("order").append(option("", "as listed"), option("name", "name"),
    ...Object.entries(formats).map(([name, format]) => option(name, format.label)));
  let waiting = 0;
  const selectSoon = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(select);
  };
  find("tools").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["query", "least", "most"]) find(id).addEventListener("input", selectSoon);
  find("group").addEventListener("change", select);
  find("order").addEventListener("change", () => {
    descending = true;
    find("least").value = "";
    find("most").value = "";
    select();
  });
  find("direction").addEventListener("click", () => {
    descending = !descending;
    select();
  });
  find("reset").addEventListener("click", () => {
    for (const id of ["query", "group", "least", "most"]) find(id).value = "";
    select();
    find("query").focus();
  });

  // One image

  const dialog = find("detail");
  function open(place) {
    makeCurrent(place);
    const item = items[shown[place]];
    find("detail-name").textContent = item.name;
    find("detail-place").textContent = `${place + 1} / ${shown.length}`;
    find("panes").dataset.root = shown[place];
    find("panes").replaceChildren(...makeDetail(item, formats));
    find("previous").disabled = place === 0;
    find("next").disabled = place === shown.length - 1;
    if (!dialog.open) dialog.showModal();
  }
  const step = (by) => {
    if (shown[current + by] !== undefined) open(current + by);
  };
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  find("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => focusCard(current));
  page.addEventListener("click", (event) => {
    const card = event.target.closest(".picture")?.closest(".card");
    if (card) open(shown.indexOf(Number(card.dataset.root)));
  });
  page.addEventListener("focusin", (event) => {
    const card = event.target.closest(".card");
    if (card) makeCurrent(shown.indexOf(Number(card.dataset.root)));
  });
  const itemOf = (root) => items[Number(root.dataset.root)];
  listenForWords(page, itemOf);
  listenForWords(dialog, itemOf);

  // Keys

  function focusCard(place) {
    if (shown[place] === undefined) return;
    fill(sheets[Math.floor(place / SHEET)]);
    makeCurrent(place);
    cardOf(shown[place]).focus();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog.open) {
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      return;
    }
    if (event.target.matches("input, select, button, summary")) return;
    if (event.key === "/") {
      event.preventDefault();
      find("query").focus();
    }
    if (!event.target.matches(".card")) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
    const target = { Home: 0, End: shown.length - 1 }[event.key] ?? current + moves[event.key];
    if (event.key !== "Enter" && shown[target] === undefined) return;
    event.preventDefault(); // no scrolling; Enter presses no button of the dialog
    if (event.key === "Enter") open(current);
    else focusCard(target);
  });
  window.addEventListener("beforeprint", () => sheets.forEach(fill));
  select();
}
