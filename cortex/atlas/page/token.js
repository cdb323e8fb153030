"use strict";
// A token: how it is drawn, where it stands, its classes, and what it causes.

const SERIES_OF_CAUSES = { masked: ["this code", "random positions"], placed: ["this code", "a random code"] };

function Token({ name }) {
  const token = Number(name);
  const known = /^\d+$/.test(name) && token < atlas.run.codes;
  const code = useCode(known ? token : null);
  if (!known) return h(Unknown, { what: `token ${name}`, allowed: `Tokens are 0 to ${atlas.run.codes - 1}.` });
  if (code instanceof Error) return h(Unknown, { what: `token ${name}`, allowed: code.message });
  const { codes } = atlas;
  return h("main", null,
    h("h1", null, `Token ${token}`),
    h("p", { className: "lead" }, "Label: ", h("b", null, kindSentence(token)), h("span", { className: "soft" }, ` (${sureSentence(token)}, given the sample of images)`), ". ",
      codes.count[token] > 0
        ? `The code occurs ${count(codes.count[token])} times in ${count(codes.images[token])} train images: ${percent(codes.share[token])} of all positions. `
        : "The code does not occur in the train images. ",
      codes.first[token] >= 0 && [`${percent(codes.class_share[token])} of its occurrences are in images of `,
        h("a", { key: "class", href: classAddress(codes.first[token]) }, className(codes.first[token])), ", where every class counts as equally many images."]),
    !code ? h("p", { className: "waiting" }, "Loading …") : h(React.Fragment, null,
      h("div", { className: "columns" }, atlas.run.patches && h(Drawn, { token }), h(Place, { code })),
      h(Nearest, { code }),
      atlas.run.sample && h(Contexts, { token, code }),
      h(Classes, { token, code }),
      h(Causes, { code })));
}

function Drawn({ token }) {
  const { spread, contexts } = atlas.codes;
  if (!hasPatch(token)) return h("section", null, h("h2", null, "As drawn"), h("p", { className: "note" }, "No test image holds this code."));
  const one = (which, text) => h("figure", { key: which }, h(Patch, { token, which, size: 96 }), h("figcaption", null, text));
  return h("section", null, h("h2", null, "As drawn"),
    h("div", { className: "row" }, one("patch", "typical"), one("patch_mean", "mean"), one("patch_spread", "spread")),
    h("p", { className: "note" }, `From ${count(contexts[token])} positions of the test images. The typical patch is the closest one to the mean. Spread: standard deviation of each pixel (black: none); over all pixels ${fixed(spread[token], 0)} of 255 grey levels. Source: `, source("codes.parquet"), "."));
}

function Place({ code }) {
  const most = Math.max(...code.heat), several = atlas.run.tilings.length > 1;
  if (most === 0) return null;
  return h("section", null, h("h2", null, "Where in the grid"),
    h("div", { className: "row" }, tilings().map(({ rows, columns, start, end }, number) => h("div", {
      key: number, className: "places", style: { gridTemplateColumns: `repeat(${columns}, 1fr)`, aspectRatio: `${columns} / ${rows}` }, role: "img",
      "aria-label": `Occurrences by position in a grid of ${rows} × ${columns}`,
    }, code.heat.slice(start, end).map((times, place) => h("i", { key: place, style: { opacity: times / most }, title: `${spotName(start + place)}: ${count(times)} times` }))))),
    h("p", { className: "note" }, `Occurrences by position in the train images, at most ${count(most)}. `,
      several ? "One grid for each scale. " : `Mean place: row ${fixed(code.row + 1, 1)}, column ${fixed(code.column + 1, 1)} (from 1; the table counts from 0). `, "Source: ", source("codes.parquet"), "."));
}

function Nearest({ code }) {
  return h("section", null, h("h2", null, "Nearest codes"),
    h("div", { className: "row tokens" }, code.nearest.map((other, place) => h(TokenLink, { key: other, token: other, note: fixed(code.distances[place]) }))),
    h("p", { className: "note" }, "Below each code: Euclidean distance of the codebook vectors."));
}

function Contexts({ token, code }) {
  const { sample, explained } = atlas.run;
  const labels = [...new Set(code.contexts.map(each => sample.labels[each.image]))];
  const parts = useParts(labels.map(label => `images/${label}`));
  const by = new Map(parts instanceof Error ? [] : labels.map((label, place) => [label, parts?.[place]]));
  const size = Math.max(...sample.size), scale = 112 / (size * 0.62);
  return h("section", null, h("h2", null, "Where it matters most, in images of all classes"),
    code.contexts.length === 0 ? h("p", { className: "note" }, `None of these ${sample.keys.length} images holds this code.`)
      : parts instanceof Error ? h("p", { className: "waiting" }, parts.message)
      : !parts ? h("p", { className: "waiting" }, "Loading …")
        : h("div", { className: "row contexts" }, code.contexts.map(({ image, position, positions, score }) => {
          const part = by.get(sample.labels[image]);
          const { sheet, place } = imageSheet(part, image), box = around(position, 0.62);
          return h("figure", { key: image },
            h("a", { className: "image", href: imageAddress(sample.keys[image]), title: `Image ${sample.keys[image]}` },
              h(Sprite, { sheet, place, scale, box },
                h("i", { className: "frame", style: scaled(shifted(cell(position), box), scale) })),
              h(ImageThumb, { part, row: image, positions, best: position })),
            h("figcaption", null, className(sample.labels[image]), h("br"), `score ${fixed(score)}`));
        })),
    h("p", { className: "note" }, `Images: ${sample.origin}. Above: the position of this code with the highest score, enlarged. Below: the whole image, with all positions of this code framed. Score: importance at the position, mean of ${explained.map(methodName).join(", ")}, as a multiple of the standard deviation of the image's scores. It explains the image's own class, whatever class the code marks. ${atlas.run.source}`,
      !atlas.run.alone && [" Other images can matter more. A page with images from all test images: ", showCommand("token", token), "."]));
}

function ImageThumb({ part, row, positions, best }) {
  const { sheet, place } = imageSheet(part, row), scale = 64 / Math.max(...sheet.size);
  return h(Sprite, { sheet, place, scale, className: "thumb" },
    h(Frames, { positions: positions.filter(each => each !== best), scale, kind: "frame thin" }), h(Frames, { positions: [best], scale }));
}

// A box of an image around a position, a share of its sides long.
function around(position, share) {
  const [height, width] = atlas.run.sample.size, { top, left, ...of } = cell(position);
  const size = { height: height * share, width: width * share };
  const clip = (start, length, all) => Math.max(0, Math.min(all - length, start));
  return { top: clip(top + of.height / 2 - size.height / 2, size.height, height), left: clip(left + of.width / 2 - size.width / 2, size.width, width), ...size };
}

const shifted = (box, frame) => ({ ...box, top: box.top - frame.top, left: box.left - frame.left });

function Classes({ token, code }) {
  const { rows } = code, { explained } = atlas.run;
  const order = (rows.token || []).map((_, row) => row);
  const shown = order.filter(row => !missing(rows.log_odds?.[row])).sort((a, b) => rows.log_odds[b] - rows.log_odds[a]).slice(0, 12);
  const logOdds = row => interval(...["", "_low", "_high"].map(end => rows[`log_odds${end}`]?.[row]), value => fixed(value));
  const data = shown.map(row => ({
    name: toldApart(rows.label[row]), value: rows.log_odds[row], low: rows.log_odds_low[row], high: rows.log_odds_high[row], series: "log-odds", said: logOdds(row),
  }));
  const rank = (name, row) => missing(rows[`contrast_rank/${name}`]?.[row]) ? "–" : rows[`contrast_rank/${name}`][row] + 1;
  const caption = [
    `${order.length < code.of ? `${order.length} of ${code.of} classes: those of the highest share. ` : ""}Frequency: share of the class's positions that hold the code. Share: share of the code's occurrences that are in the class, where every class counts as equally many images. Log-odds: natural logarithm of the odds that a position holds the code, in the class less in the other classes; +0.69 doubles the odds. ${IMPORTANCE_UNIT} Rank: place in the class's contrast list of concept tokens, from 1 (the table counts from 0); the list counts the ${atlas.run.top_n} most important positions of each train image. Intervals: 95 %, over images, not corrected for the number of comparisons. Source: `,
    source("dictionary.parquet"), ".",
  ];
  return h("section", null, h("h2", null, "Classes"),
    order.length === 0 ? h("p", { className: "note" }, "The dictionary has no row of this code.") : h(React.Fragment, null,
      data.length > 0 && h(Plot, { spec: intervalSpec(data, "log-odds against the other classes", ["log-odds"]), data, label: `Log-odds of token ${token} by class` }),
      h(Table, {
        caption,
        heads: ["@Class", "Share", "Log-odds", "Times", "Images", "Frequency", ...explained.map(name => `Importance, ${methodName(name)}`), ...explained.map(name => `Rank, ${methodName(name)}`)],
        rows: order.map(row => [
          h("a", { href: classAddress(rows.label[row]) }, toldApart(rows.label[row])), percent(rows.class_share[row]), logOdds(row), count(rows.count[row]), count(rows.images[row]), percent(rows.share[row], 1),
          ...explained.map(name => fixed(rows[`importance/${name}`]?.[row])), ...explained.map(name => rank(name, row)),
        ]),
      })));
}

function Causes({ code }) {
  const { rows } = code;
  const kinds = atlas.run.causes;
  if (kinds.length === 0) return null;
  const measured = kind => (rows[kind] || []).map((_, row) => row).filter(row => !missing(rows[kind][row]));
  const text = {
    masked: "All positions of the code are painted black, in test images of the class.",
    placed: "The code is put into an image of another class, at the positions that it has in an image of this class.",
  };
  return h("section", null, h("h2", null, "Causes"),
    kinds.every(kind => measured(kind).length === 0)
      ? h("p", null, "Not measured for this code. ", measuredSentence())
      : h("div", { className: "columns" }, kinds.map(kind => h("div", { key: kind }, h("h3", null, { masked: "Masked", placed: "Put in place of other codes" }[kind]),
        h("p", null, text[kind]), h(Cause, { kind, rows, measured: measured(kind) })))),
    h("p", null, causesTogether()),
    h("p", { className: "note" }, "Change of the judges' probability of the class, in percentage points; mean over judges and images, 95 % interval over images, not corrected for the number of codes. Random control of the same area. Source: ", source("dictionary.parquet"), "."));
}

// Which pairs were measured, of how many.
function measuredSentence() {
  const { pairs, marking, marked } = atlas.run.measured;
  return `The run measures ${count(pairs)} of ${count(atlas.run.pairs)} pairs of a code and a class; the setting dictionary.causes.pairs limits their number. `
    + `Codes that mark a class come first: ${count(marking)} of ${count(marked)} are measured${pairs > marking ? `, and ${count(pairs - marking)} of the first codes of every class by contrast` : ""}.`;
}

// What all measured pairs show; nothing where none has two images.
function causesTogether() {
  const { masked, placed } = atlas.run.measured;
  const said = [
    masked?.images && `Masking lowers the judges' probability of the class more than random masks of equal area do for ${count(masked.lower)} of ${count(masked.images)} pairs, and less for ${count(masked.higher)}.`,
    placed?.images && `Put in place of other codes, the code raises it more than a random code does for ${count(placed.higher)} of ${count(placed.images)} pairs, and less for ${count(placed.lower)}.`,
  ].filter(Boolean);
  return said.length > 0 && `All measured pairs of a code and a class, with at least two images: ${said.join(" ")} Of the other pairs, the 95 % interval of the difference holds 0.`;
}

function Cause({ kind, rows, measured }) {
  const series = SERIES_OF_CAUSES[kind];
  const value = (name, row) => missing(rows[name]?.[row]) ? null : 100 * rows[name][row];
  const data = measured.flatMap(row => ["", "_random"].map((which, place) => ({
    name: toldApart(rows.label[row]), series: series[place],
    ...Object.fromEntries(["value", "low", "high"].map(end => [end, value(`${kind}${which}${end === "value" ? "" : `_${end}`}`, row)])),
    said: interval(...["", "_low", "_high"].map(end => rows[`${kind}${which}${end}`]?.[row]), points),
  })));
  if (data.length === 0) return h("p", { className: "note" }, "Not measured for this code.");
  return h(React.Fragment, null, h(Legend, { series }),
    h(Plot, { spec: intervalSpec(data, "change of probability, points", series), data, label: `Change of the judges' probability: ${series.join(", ")}` }),
    h(Table, {
      heads: ["@Class", "Difference", ...series, "Images"],
      rows: measured.map(row => [toldApart(rows.label[row]), ...["_excess", "", "_random"].map(which => interval(...["", "_low", "_high"].map(end => rows[`${kind}${which}${end}`]?.[row]), points)), count(rows[`${kind}_images`][row])]),
    }));
}
