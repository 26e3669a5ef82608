"use strict";
// The gallery: rows of pictures, cut out of two strips per image, and the viewer that enlarges them.
(() => {
  const ROWS = 20;
  const find = (selector) => document.querySelector(selector);
  const content = JSON.parse(find("#content").textContent);
  const viewer = find("#viewer");
  let shown = [];
  let page = 0;
  let current = {image: 0, column: 0};

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  // A row's tiles by column: the position of each in its strip.
  for (const row of content.rows) {
    row.tiles = new Map();
    row.pictures.forEach((column, position) => row.tiles.set(column, {position, mask: false}));
    row.masks.forEach(([column, iou], position) => row.tiles.set(column, {position, iou, mask: true}));
  }
  const columnsOf = {};
  for (const row of content.rows) {
    const columns = (columnsOf[row.split] ??= new Set());
    for (const column of row.tiles.keys()) columns.add(column);
  }
  for (const split in columnsOf) columnsOf[split] = [...columnsOf[split]].sort((a, b) => a - b);

  function strip(row, mask, position, className) {
    const image = make("img", {className, loading: "lazy", decoding: "async", alt: ""});
    const count = mask ? row.masks.length : row.pictures.length;
    image.style.width = `${100 * count}%`;
    image.style.left = `${-100 * position}%`;
    image.src = `${encodeURIComponent(content.folder)}/${encodeURIComponent(row.id)}.${mask ? "png" : "jpg"}`;
    return image;
  }

  function picture(row, column) {
    const {position, mask} = row.tiles.get(column);
    const box = make("span", {className: "picture"}, strip(row, false, 0, "photo"));
    box.style.aspectRatio = row.size.join("/");
    if (column > 0) box.append(strip(row, mask, position, mask ? "layer mask" : "layer"));
    box.lastChild.alt = `${content.columns[column]} of ${row.id}`;
    return box;
  }

  const figure = (iou) => (iou == null ? "" : iou.toFixed(3));

  function tile(row, column, number) {
    const title = content.columns[column];
    if (!row.tiles.has(column)) return make("span", {className: "tile none"}, `no ${title}`);
    const {iou} = row.tiles.get(column);
    const caption = make("span", {className: "caption"}, title, make("b", {}, figure(iou)));
    const button = make("button", {type: "button", className: "tile"}, picture(row, column), caption);
    button.addEventListener("click", () => enlarge(number, column));
    return button;
  }

  function article(row, number) {
    const tags = row.tags.map((id) => content.classes[id]).join(", ");
    const tiles = columnsOf[row.split].map((column) => tile(row, column, number));
    return make("article", {className: "row"},
      make("h3", {}, make("b", {}, row.id), [row.split, tags].filter(Boolean).join(" · ")),
      make("div", {className: "tiles"}, ...tiles));
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(shown.length / ROWS));
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = page * ROWS;
    const rows = shown.slice(first, first + ROWS);
    find("#rows").replaceChildren(...rows.map((row, k) => article(row, first + k)));
    const status = rows.length
      ? `${first + 1}–${first + rows.length} of ${shown.length} images`
      : "no matching images";
    for (const pager of document.querySelectorAll(".pager")) {
      pager.querySelector("output").textContent = status;
      pager.querySelector("[data-page='-1']").disabled = page === 0;
      pager.querySelector("[data-page='1']").disabled = page === pages - 1;
    }
  }

  function select() {
    const split = find("#split").value;
    const label = find("#class").value;
    const order = find("#order").value;
    const by = Number(find("#by").value);
    shown = content.rows.filter((row) =>
      (!split || row.split === split) && (!label || row.tags.includes(Number(label))));
    if (order !== "list") {
      const sign = order === "worst" ? 1 : -1;
      const iou = (row) => row.tiles.get(by)?.iou ?? null;
      const hasIou = (row) => iou(row) !== null;  // images without this IoU come last
      shown.sort((a, b) => hasIou(b) - hasIou(a) || sign * (iou(a) - iou(b)));
    }
    page = 0;
    draw();
  }

  function changePage(step) {
    page += step;
    draw();
    find("#gallery .pager").scrollIntoView();
  }

  function enlarge(image, column) {
    const row = shown[image];
    current = {image, column};
    const large = picture(row, column);
    large.style.setProperty("--ratio", row.size[0] / row.size[1]);
    find("#large").replaceChildren(large);
    const iou = figure(row.tiles.get(column).iou);
    find("#viewer-title").textContent =
      [row.id, content.columns[column], iou && `IoU ${iou}`].filter(Boolean).join(" · ");
    if (!viewer.open) viewer.showModal();
  }

  function stepBy(step) {
    const columns = [...shown[current.image].tiles.keys()];
    const position = columns.indexOf(current.column) + step;
    enlarge(current.image, columns[(position + columns.length) % columns.length]);
  }

  function imageBy(step) {
    const image = (current.image + step + shown.length) % shown.length;
    enlarge(image, shown[image].tiles.has(current.column) ? current.column : 0);
  }

  function focusCurrent() {  // when the viewer closes
    page = Math.floor(current.image / ROWS);
    draw();
    const row = find("#rows").children[current.image % ROWS];
    const columns = columnsOf[shown[current.image].split];
    row.querySelector(".tiles").children[columns.indexOf(current.column)].focus();
  }

  function setOpacity(event) {
    document.documentElement.style.setProperty("--opacity", event.target.value / 100);
    for (const slider of [find("#opacity"), find("#large-opacity")]) slider.value = event.target.value;
  }

  const option = (value, text) => make("option", {value}, text);
  find("#split").append(...Object.keys(columnsOf).map((split) => option(split, split)));
  const tagged = new Set(content.rows.flatMap((row) => row.tags));
  const labels = [...tagged].sort((a, b) => a - b);
  find("#class").append(...labels.map((id) => option(id, content.classes[id])));
  const scored = new Set(content.rows.flatMap((row) =>
    row.masks.filter(([, iou]) => iou !== null).map(([column]) => column)));
  const scores = [...scored].sort((a, b) => b - a);
  find("#by").append(...scores.map((column) => option(column, content.columns[column])));
  if (!scores.length) for (const id of ["#order", "#by"]) find(id).disabled = true;

  for (const id of ["#split", "#class", "#order", "#by"]) find(id).addEventListener("change", select);
  for (const id of ["#opacity", "#large-opacity"]) find(id).addEventListener("input", setOpacity);
  for (const button of document.querySelectorAll("[data-page]"))
    button.addEventListener("click", () => changePage(Number(button.dataset.page)));
  for (const button of document.querySelectorAll("[data-step]"))
    button.addEventListener("click", () => stepBy(Number(button.dataset.step)));
  for (const button of document.querySelectorAll("[data-image]"))
    button.addEventListener("click", () => imageBy(Number(button.dataset.image)));
  find("#close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", focusCurrent);
  viewer.addEventListener("keydown", (event) => {
    const moves = {
      ArrowLeft: () => stepBy(-1),
      ArrowRight: () => stepBy(1),
      ArrowUp: () => imageBy(-1),
      ArrowDown: () => imageBy(1),
    };
    if (event.target.type === "range" || !(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  });
  select();
})();
