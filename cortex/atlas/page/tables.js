"use strict";
// Tables, and choices among a few.

// Heads that begin with "@" are of names, which stand on the left; the others of numbers. Rows are lists of cells.
function Table({ caption, heads, rows }) {
  const cell = (head, text, key) => h(head.startsWith("@") ? "th" : "td", { key }, breakable(text));
  return h("div", { className: "scroller", tabIndex: 0, role: "group", "aria-label": "Table" }, h("table", null,
    caption && h("caption", null, ...[caption].flat()),
    h("thead", null, h("tr", null, heads.map((head, place) => h("th", { key: place, className: head.startsWith("@") ? "name" : "" }, head.replace("@", ""))))),
    h("tbody", null, rows.map((cells, row) => h("tr", { key: row }, cells.map((text, place) => cell(heads[place], text, place)))))));
}

// A text that may break before its interval.
function breakable(text) {
  const place = typeof text === "string" ? text.indexOf(" (") + 1 : 0;
  return place ? [text.slice(0, place), h("wbr", { key: "break" }), text.slice(place)] : text;
}

function Choice({ name, label, value, onChange, options }) {
  return h("label", { className: "choice" }, label, h("select", { name, value, onChange: event => onChange(event.target.value) },
    options.map(([key, text]) => h("option", { key, value: key }, text))));
}

function Slider({ name, label, max, value, onChange }) {
  return h("label", { className: "choice" }, label, h("input", { type: "range", name, min: 0, max, value, onChange: event => onChange(Number(event.target.value)) }));
}
