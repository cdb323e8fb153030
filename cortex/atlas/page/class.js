"use strict";
// A class: its concept tokens, its images with importance, and what masking does to the judges.

const LISTS = { contrast: "important more often than in other classes", count: "most often important (the published list)" };
const LISTED = 20;

function ClassPage({ name }) {
  const label = labelOf(name);
  const part = usePart(label === undefined ? null : `classes/${label}`);
  if (label === undefined) return h(Unknown, { what: `class ${name}`, allowed: h("a", { href: "#classes" }, "All classes") });
  if (part instanceof Error) return h(Unknown, { what: `class ${name}`, allowed: "The run has no images of it." });
  const { run } = atlas;
  return h("main", null,
    h("h1", null, className(label), h("span", { className: "soft" }, ` class ${label}`)),
    !run.alone && h("p", { className: "lead" }, h("a", { href: `#wall?class=${label}` }, "Its codes on the wall")),
    !part ? h("p", { className: "waiting" }, "Loading …") : h(React.Fragment, null,
      h(ConceptTokens, { rows: part.rows, label }),
      run.sample && h(ClassImages, { label }),
      run.judges.length > 0 && h(Masking, { changes: part.changes }),
      h(TopCodes, { part })));
}

function ConceptTokens({ rows, label }) {
  const [list, setList] = useState("contrast");
  const ranks = name => rows[`${list}_rank/${name}`] || [];
  const tokens = name => rows.token.map((token, row) => [ranks(name)[row], token]).filter(pair => !missing(pair[0])).sort((a, b) => a[0] - b[0]).slice(0, LISTED);
  return h("section", null, h("h2", null, "Concept tokens"),
    h(Choice, { name: "list", label: "List", value: list, onChange: setList, options: Object.entries(LISTS) }),
    h("dl", { className: "lists" }, atlas.run.explained.map(name => h(React.Fragment, { key: name }, h("dt", null, methodName(name)),
      h("dd", { className: "row tokens" }, tokens(name).map(([, token]) => h(TokenLink, { key: token, token, note: marksOther(token, label) })), tokens(name).length === 0 && h("span", { className: "note" }, "none"))))),
    h("p", { className: "note" }, `The first ${LISTED} codes of each list, the first one on the left; important: among the ${atlas.run.top_n} highest positions of a train image. A note such as “marks forest”: by its label, the token marks another class. Scores: ${atlas.run.scores.join(", ")}. Source: `, source("dictionary.parquet"), "."));
}

function ClassImages({ label }) {
  const { run } = atlas, positions = tilings().at(-1).end - run.maskable;
  const part = usePart(`images/${label}`);
  const [method, setMethod] = useState(run.explained[0]);
  const [n, setN] = useState(Math.min(run.top_n, positions));
  const [view, setView] = useState("frames");
  const plain = view === "plain";
  if (part instanceof Error) return null;
  return h("section", null, h("h2", null, "Images, and what is important in them"),
    h("div", { className: "controls" },
      h(Choice, { name: "method", label: "Importance by", value: method, onChange: setMethod, options: run.explained.map(each => [each, methodName(each)]) }),
      h(Choice, { name: "view", label: "Show", value: view, onChange: setView, options: [["frames", "importance and frames"], ["plain", "the images alone"]] }),
      !plain && h(Slider, { name: "n", label: `Framed positions: ${n}`, max: Math.min(positions, 64), value: n, onChange: setN })),
    !part ? h("p", { className: "waiting" }, "Loading …") : h("div", { className: "row images" }, part.tokens.map((_, place) => h(ImageLink, {
      key: place, part, row: part.first + place, size: 112, scores: plain ? undefined : part.scores[method][place], positions: plain ? [] : ranked(part.scores[method][place]).slice(0, n),
    }))),
    h("p", { className: "note" }, `Images: ${run.sample.origin}.${plain ? "" : " Colour: importance, from the lowest of the image (none) to the highest (full). Frames: the n highest positions."}`));
}

function Masking({ changes }) {
  const rows = level => changes.filter(row => row.level === level);
  const curves = rows("image_level").map(row => ({
    judge: row.judge, x: row.setting, series: methodName(`${row.attribution}/${row.extractor}`),
    value: 100 * row.difference, low: missing(row.low) ? null : 100 * row.low, high: missing(row.high) ? null : 100 * row.high,
    said: interval(row.difference, row.low, row.high, points), verdict: row.verdict,
  }));
  const series = [...new Set(curves.map(row => row.series))];
  const concept = rows("concept_level").filter(row => row.list === "contrast" && row.setting === atlas.run.top_n);
  return h("section", null, h("h2", null, "Effect of masking on the judges"),
    curves.length > 0 && h(React.Fragment, null,
      h("h3", null, "Important positions of each image"),
      h(Plot, { spec: curveSpec(curves, "n, important positions whose codes are masked", "difference, points", series), data: curves, label: "Difference of the change of probability, by n" }),
      h("p", { className: "note" }, "A judge's probability of the class changes when codes of important positions are painted black. The plot shows this change less the change by random masks of the same area, in percentage points. Below zero: important tokens carry more of the class than random ones. Bands: 95 % intervals, not corrected for the number of comparisons. Source: ", source("metrics/comparisons.parquet"), " (image_level, random_area).")),
    concept.length > 0 && h(ConceptMasks, { rows: concept }),
    curves.length + concept.length === 0 && h("p", { className: "note" }, "The run compares no masks for this class alone."));
}

// A row for each extractor and judge, a column for each area.
function ConceptMasks({ rows }) {
  const areas = [...new Set(rows.map(row => row.area))], of = row => `${row.attribution}/${row.extractor}`;
  const pairs = rows.filter((row, place) => rows.findIndex(other => of(other) === of(row) && other.judge === row.judge) === place);
  const said = row => row && [interval(row.difference, row.low, row.high, points), ["better", "worse"].includes(row.verdict) && h("b", { key: "verdict" }, ` ${row.verdict}`)];
  return h(React.Fragment, null, h("h3", null, "Concept tokens of the class"), h(Table, {
    caption: [`A judge's probability of the class changes when its contrast tokens are painted black. The list counts the ${atlas.run.top_n} most important positions of each train image. The table shows this change less the change by its frequent tokens, in percentage points, with 95 % intervals over ${rows[0].pairs} images. Columns: the area that both masks hide, as a share of the class's positions. Equal number: as many tokens in both masks, which can hide different areas. Intervals are not corrected for the number of comparisons. The words better and worse are; without one of them, a difference is not significant. Source: `, source("metrics/comparisons.parquet"), " (concept_level)."],
    heads: ["@Scores of", "@Judge", ...areas.map(area => missing(area) ? "equal number" : percent(area))],
    rows: pairs.map(pair => [methodName(of(pair)), pair.judge, ...areas.map(area => said(rows.find(row => of(row) === of(pair) && row.judge === pair.judge && row.area === area)))]),
  }));
}

function TopCodes({ part }) {
  const { rows } = part, { explained } = atlas.run;
  const shown = rows.token.map((_, row) => row).filter(row => rows.log_odds_low?.[row] > 0).slice(0, LISTED);
  return h("section", null, h("h2", null, "Typical codes"),
    shown.length === 0 ? h("p", { className: "note" }, "No code has log-odds whose 95 % interval is above zero.") : h(Table, {
      caption: [`Codes of the highest log-odds by the lower end of the 95 % interval; ${shown.length} of ${count(part.of)} codes that occur. Log-odds: natural logarithm of the odds that a position holds the code, in the class less in the other classes; intervals are not corrected for the number of comparisons. Columns as on the page of a token. Source: `, source("dictionary.parquet"), "."],
      heads: ["@Token", "@Label", "Images", "Frequency", "Share", "Log-odds", ...explained.map(name => `Importance, ${methodName(name)}`)],
      rows: shown.map(row => [
        h(TokenLink, { token: rows.token[row], size: 28 }), h("span", { className: "said" }, kindSentence(rows.token[row])), count(rows.images[row]), percent(rows.share[row], 1), percent(rows.class_share[row]),
        interval(rows.log_odds[row], rows.log_odds_low[row], rows.log_odds_high[row], value => fixed(value)), ...explained.map(name => fixed(rows[`importance/${name}`]?.[row])),
      ]),
    }));
}

function ClassesPage() {
  const { run, codes } = atlas;
  const marked = useMemo(() => {
    const found = new Map();
    codes.kind.forEach((kind, token) => {
      const [all, weak] = found.get(codes.first[token]) || [0, 0];
      if (kind === 0) found.set(codes.first[token], [all + 1, weak + isWeak(token)]);
    });
    return found;
  }, []);
  const words = ([all, weak]) => ` ${count(all)}${weak ? `, ${count(weak)} weak` : ""}`;
  return h("main", null, h("h1", null, "Classes"),
    h("p", { className: "lead" }, `${count(run.labels.length)} classes; behind each, the number of codes that mark it. Weak: codes whose label has a probability below ${SURE}.`),
    h("ul", { className: "classes" }, run.labels.map(label => h("li", { key: label }, h("a", { href: classAddress(label) }, toldApart(label)), h("span", { className: "soft" }, words(marked.get(label) || [0, 0]))))));
}
