"use strict";
// An image: its tokens by position, the most important ones, masks as the judges saw them, and codebook searches.

function ImagePage({ name }) {
  const { run } = atlas;
  const row = run.sample ? run.sample.keys.indexOf(name) : -1;
  const part = usePart(row < 0 ? null : `images/${run.sample.labels[row]}`);
  if (row < 0) return h(Unknown, { what: `image ${name}`, allowed: run.sample ? h(Held) : "The run keeps no test images." });
  if (part instanceof Error) return h(Unknown, { what: `image ${name}`, allowed: part.message });
  const label = run.sample.labels[row];
  return h("main", null,
    h("h1", null, `Image ${name}`),
    h("p", { className: "lead" }, "Class ", h("a", { href: classAddress(label) }, className(label)), ". ", part && h(Readings, { part, place: row - part.first }), h("span", { className: "soft" }, ` ${run.source}`)),
    !part ? h("p", { className: "waiting" }, "Loading …") : h(React.Fragment, { key: row },
      h(Looked, { part, row }),
      h(Searches, { part, row })));
}

// Which images the atlas holds, and what shows others.
function Held() {
  const { sample, test_images: all, alone } = atlas.run;
  return h(React.Fragment, null, `${alone ? "This page" : "The atlas"} holds ${count(sample.keys.length)} of ${count(all)} test images: ${sample.origin}. `,
    !alone && ["A higher setting holds more. A page of one class with more images: ", showCommand("class", "NAME"), "."]);
}

function Readings({ part, place }) {
  const said = Object.entries(part.read).filter(([, labels]) => !missing(labels[place])).map(([judge, labels]) => `${judge}: ${className(labels[place])}`);
  return said.length > 0 && `Read by the judges as ${said.join(", ")}.`;
}

function Looked({ part, row }) {
  const { run } = atlas, place = row - part.first, tokens = part.tokens[place];
  const [method, setMethod] = useState(run.explained[0]);
  const [n, setN] = useState(part.masks[0]?.n.find(each => each >= 4) ?? Math.min(5, tokens.length));
  const [view, setView] = useState("frames");
  const [position, setPosition] = useState(null);
  const [layer, setLayer] = useState(run.tilings.length - 1);
  const tiling = tilings()[layer];
  const scores = part.scores[method][place];
  const order = useMemo(() => ranked(scores), [scores]);
  const chosen = order.slice(0, n), codes = new Set(chosen.map(each => tokens[each]));
  const masked = tokens.map((_, each) => each).filter(each => each >= run.maskable && codes.has(tokens[each]));
  const sheet = imageSheet(part, row), scale = pictureScale(400);
  return h("section", { className: "looked" },
    h("div", { className: "stage" }, h(TokenGrid, { ...sheet, scale, tokens, tiling, key: layer, label: "Image by positions; arrow keys move, Enter opens the token", onPosition: setPosition },
      view !== "mask" && view !== "plain" && h(Heat, { scores, scale, tiling }),
      view === "mask" && h(Frames, { positions: masked, scale, kind: "masked" }),
      view !== "plain" && h(Frames, { positions: chosen, scale }))),
    h("div", { className: "side" },
      h("div", { className: "controls" },
        h(Choice, { name: "method", label: "Importance by", value: method, onChange: setMethod, options: run.explained.map(each => [each, methodName(each)]) }),
        h(Choice, { name: "view", label: "Show", value: view, onChange: setView, options: [["frames", "importance and frames"], ["mask", "their codes masked, as judged"], ["plain", "the image alone"]] }),
        run.tilings.length > 1 && h(Choice, { name: "scale", label: "Scale of the positions", value: layer, onChange: value => setLayer(Number(value)), options: tilings().map((each, number) => [number, tilingName(each)]) }),
        h(Slider, { name: "n", label: `Most important positions: ${n}`, max: order.length, value: n, onChange: setN })),
      h("div", { className: "at", role: "status" }, position === null
        ? h("span", { className: "soft" }, "Point at a position of the image, or focus it with the Tab key and move with the arrow keys, to see its token.")
        : h(At, { token: tokens[position], position, score: scores[position], rank: order.indexOf(position) })),
      h("h2", null, `Tokens of the ${n} positions`),
      h("div", { className: "row tokens" }, chosen.slice(0, 40).map(each => h(TokenLink, { key: each, token: tokens[each], size: 32 }))),
      h(Judged, { part, place, method, n, share: run.tilings.length > 1 ? null : masked.length / tokens.length })));
}

// The whole picture in so many CSS pixels, or what a small screen has.
const pictureScale = size => Math.min(size, document.documentElement.clientWidth - 32) / Math.max(...atlas.run.sample.size);

function At({ token, position, score, rank }) {
  return h(React.Fragment, null, h(Patch, { token, size: 56 }), h("span", null,
    h("b", null, `Token ${token}`), `: ${kindSentence(token)}.`, h("br"),
    `${spotName(position)}. Importance: ${fixed(score)} times the standard deviation of the image's scores${rank < 0 ? "" : `, rank ${rank + 1}`}.`));
}

function Judged({ part, place, method, n, share }) {
  const masks = part.masks.filter(each => each.explained === method);
  if (masks.length === 0) return null;
  const steps = masks[0].n, at = steps.indexOf(n);
  return h(React.Fragment, null, h("h2", null, "Judges' probability of the class"),
    h(Table, {
      caption: at < 0 ? `Probability of the class. Masks were judged for n = ${steps.join(", ")}.` : `Probability of the class, with the codes of ${n} positions masked${missing(share) ? "" : ` (${percent(share)} of the image)`}, and with a random mask of the same area. Source: evaluation/image_level.`,
      heads: ["@Judge", "Whole image", "Masked", "Random mask"],
      rows: masks.map(each => [each.judge, fixed(each.before[place]), ...["importance", "random_area"].map(which => at < 0 ? "–" : fixed(each[which][place][at]))]),
    }));
}

function Searches({ part, row }) {
  const [told, setTold] = useState(null);
  const found = part.searches.map((search, place) => ({ ...search, place })).filter(search => search.image === row);
  if (found.length === 0) return null;
  const sheet = { file: part.searched.sheet, columns: part.searched.columns, rows: part.searched.rows, size: atlas.run.sample.size };
  const scale = pictureScale(160), original = imageSheet(part, row);
  const frame = box => h("i", { className: "frame region", style: scaled(box, scale) });
  const region = positions => {
    const boxes = positions.map(cell), top = Math.min(...boxes.map(box => box.top)), left = Math.min(...boxes.map(box => box.left));
    return { top, left, height: Math.max(...boxes.map(box => box.top + box.height)) - top, width: Math.max(...boxes.map(box => box.left + box.width)) - left };
  };
  const judge = found[0].judge;
  return h("section", null, h("h2", null, `Codebook searches: from ${className(found[0].source)} to ${className(found[0].target)}`),
    h("div", { className: "row searches" },
      h("figure", null, h(Sprite, { ...original, scale }, frame(region(found[0].positions))), h("figcaption", null, h("b", null, "before"), judge && [h("br", { key: "line" }), `${judge}: ${fixed(found[0].probability_before)}`])),
      found.map(search => h("figure", { key: search.place },
        h(TokenGrid, { sheet, place: search.place, scale, tokens: search.tokens, label: `After the search by ${search.extractor}`, onPosition: position => setTold(position === null ? null : search.tokens[position]) }, frame(region(search.positions))),
        h("figcaption", null, h("b", null, `${search.extractor.split("/")[0]}, ${search.method.replace("_", " ")}`), h("br"),
          judge ? `${judge}: ${fixed(search.probability_after)}` : `logit ${fixed(search.logit_before)} → ${fixed(search.logit_after)}`)))),
    h("div", { className: "at", role: "status" }, told === null ? h("span", { className: "soft" }, "Point at a position to see its token.") : h(Told, { token: told })),
    h("p", { className: "note" }, `The search replaces the tokens in the frame, so that the extractor classifies the image as the target. ${judge ? `Numbers: probability of the target by the judge ${judge}, at the recorded step where it is highest. ` : ""}Source: codebook/, evaluation/codebook_level/.`));
}
