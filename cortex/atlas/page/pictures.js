"use strict";
// Pictures: parts of sheets, patches of codes, and images with their grid of tokens laid over.

// A picture of a sheet, or a box of it, as an element; lengths of the box are in pixels of the picture.
function Sprite({ as = "span", sheet, place, scale, box, className: more = "", style: where, children, ...rest }) {
  const [height, width] = sheet.size;
  const { top, left, ...size } = box || { top: 0, left: 0, height, width };
  const column = place % sheet.columns, row = Math.floor(place / sheet.columns);
  const style = {
    ...where,
    width: size.width * scale,
    height: size.height * scale,
    backgroundImage: `url("${addressOf(sheet.file)}")`,
    backgroundSize: `${sheet.columns * width * scale}px ${sheet.rows * height * scale}px`,
    backgroundPosition: `${-(column * width + left) * scale}px ${-(row * height + top) * scale}px`,
  };
  return h(as, { className: `sprite ${scale > 1.5 ? "enlarged" : ""} ${more}`, style, ...rest }, children);
}

const hasPatch = token => Boolean(atlas.run.patches) && (atlas.codes.contexts?.[token] ?? 0) > 0;

function patchSheet(which = "patch") {
  const { files, columns, rows, size } = atlas.run.patches;
  return { file: files[which], columns, rows, size };
}

// A code's patch; its number where no image shows it.
function Patch({ token, size = 40, which = "patch", as = "span", className = "", style, ...rest }) {
  if (!hasPatch(token)) return h(as, { className: `patch bare ${className}`, style: { ...style, width: size, height: size }, ...rest }, token);
  const sheet = patchSheet(which);
  return h(Sprite, { as, sheet, place: token, scale: size / Math.max(...sheet.size), className: `patch ${className}`, style, ...rest });
}

function TokenLink({ token, size = 40, note }) {
  return h("a", { className: "token", href: tokenAddress(token), title: `Token ${token}: ${kindSentence(token)}` },
    h(Patch, { token, size }), h("b", null, token), note && h("small", null, note));
}

// Where a position is, in pixels of an image.
function cell(position) {
  const { tiling, row, column } = spot(position), [height, width] = atlas.run.sample.size;
  const size = [height / tiling.rows, width / tiling.columns];
  return { top: row * size[0], left: column * size[1], height: size[0], width: size[1] };
}

const scaled = (box, scale) => Object.fromEntries(Object.entries(box).map(([name, value]) => [name, value * scale]));

// The sheet and the place of an image of the sample.
function imageSheet(part, row) {
  return { sheet: { file: part.sheet, columns: part.columns, rows: part.rows, size: atlas.run.sample.size }, place: row - part.first };
}

// Positions by descending score: those that masks may hide, which of several scales are not the coarse ones.
const ranked = scores => scores.map((score, position) => [score, position]).slice(atlas.run.maskable).sort((a, b) => b[0] - a[0] || a[1] - b[1]).map(pair => pair[1]);

// Heat of the positions of a tiling, from their lowest to their highest score.
function Heat({ scores, scale, tiling = tilings().at(-1) }) {
  const shown = scores.slice(tiling.start, tiling.end), low = Math.min(...shown), range = Math.max(...shown) - low || 1;
  return shown.map((score, place) => h("i", {
    key: place, className: "heat", style: { ...scaled(cell(tiling.start + place), scale), opacity: 0.85 * (score - low) / range },
  }));
}

const Frames = ({ positions, scale, kind = "frame" }) => positions.map(position =>
  h("i", { key: position, className: kind, style: scaled(cell(position), scale) }));

// An image of the sample as a link, with what is laid over it.
function ImageLink({ part, row, size = 96, scores, positions = [], note }) {
  const key = atlas.run.sample.keys[row];
  const { sheet, place } = imageSheet(part, row);
  const scale = size / Math.max(...sheet.size);
  return h("a", { className: "image", href: imageAddress(key), title: `Image ${key}` },
    h(Sprite, { sheet, place, scale }, scores && h(Heat, { scores, scale }), h(Frames, { positions, scale })),
    note && h("small", null, note));
}

// An image whose positions are links to their tokens. One of them takes part in the order of focus; arrows move it.
function TokenGrid({ sheet, place, scale, tokens, label, onPosition, tiling = tilings().at(-1), children }) {
  const { rows, columns, start, end } = tiling;
  const [active, setActive] = useState(0);
  const links = useRef([]);
  const move = event => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const next = active + (steps[event.key] ?? 0);
    const wraps = event.key === "ArrowLeft" ? active % columns === 0 : event.key === "ArrowRight" && next % columns === 0;
    if (!(event.key in steps) || wraps || next < 0 || next >= rows * columns) return;
    event.preventDefault();
    setActive(next);
    links.current[next].focus();
  };
  return h(Sprite, { sheet, place, scale, className: "grid", role: "group", "aria-label": label, onKeyDown: move, onMouseLeave: () => onPosition(null) },
    children,
    tokens.slice(start, end).map((token, place) => h("a", {
      key: place,
      ref: link => { links.current[place] = link; },
      href: tokenAddress(token),
      className: "position",
      style: scaled(cell(start + place), scale),
      tabIndex: place === active ? 0 : -1,
      "aria-label": `${spotName(start + place)}: token ${token}`,
      onMouseEnter: () => onPosition(start + place),
      onFocus: () => { setActive(place); onPosition(start + place); },
    })));
}
