"use strict";
// A class: codes that mark it, typical codes, concept tokens, images with importance, and the effect of masking on the judges.

const LISTS = { contrast: "important more often than in other classes", count: "most often important (the published list)" };
const LISTED = 20, TYPICAL = 10;

function ClassPage({ name }) {
  const label = labelOf(name);
  const part = usePart(label === undefined ? null : `classes/${label}`);
  if (label === undefined) return h(Unknown, { what: `class ${name}`, allowed: h("a", { href: "#classes" }, "All classes") });
  if (part instanceof Error) return h(Unknown, { what: `class ${name}`, allowed: "The run has no images of it." });
  const { run } = atlas;
  return h("main", null,
    h("h1", null, className(label), h("span", { className: "soft" }, ` class ${label}`)),
    part && part.judged.length > 0 && h(Judges, { judged: part.judged }),
    !part ? h("p", { className: "waiting" }, "Loading …") : h(React.Fragment, null,
      h(Marking, { label }),
      h(TypicalCodes, { part, label }),
      h(ConceptTokens, { rows: part.rows, label }),
      run.sample && h(ClassImages, { label }),
      run.judges.length > 0 && h(Masking, { changes: part.changes })));
}

// How many images the judges assign to the class.
function Judges({ judged }) {
  const said = judged.map(({ judge, right, of }) => `${judge} ${count(right)} of ${count(of)}`).join(", ");
  const few = judged.some(({ right, of }) => right < atlas.run.few_right * of);
  return h("p", { className: few ? "lead warn" : "lead" }, `Test images that the judges assign to the class: ${said}.`,
    few && " Effects of masks say little here: the images do not show the class, or the judges do not recognize it.");
}

// The codes whose label is that they mark the class: the first answer to what its tokens are.
function Marking({ label }) {
  const { codes, run } = atlas, { bounds } = run;
  const found = codes.kind.map((_, token) => token).filter(token => marks(token, label)).sort((a, b) => codes.class_share[b] - codes.class_share[a]);
  const bound = `at least ${percent(bounds.marks)} of its occurrences are in images of the class, where every class counts as equally many images`;
  return h("section", null, h("h2", null, "Codes that mark the class"),
    found.length > 0 && h("div", { className: "row tokens" }, found.slice(0, 2 * LISTED).map(token => h(TokenLink, { key: token, token, note: `${percent(codes.class_share[token])}${isWeak(token) ? ", weak" : ""}` }))),
    h("p", { className: "note" }, found.length > 0
      ? `${count(found.length)} ${found.length === 1 ? "code marks" : "codes mark"} the class: ${bound}. Below each code: this share. Weak: a label of a probability below ${atlas.run.sure}. `
      : `No code marks the class. A code marks it if ${bound}. `,
    found.length > 0 && !run.alone && h("a", { href: `#wall?class=${label}&kind=${MARKS}` }, "These codes on the wall")));
}

function ConceptTokens({ rows, label }) {
  const [list, setList] = useState("contrast");
  const ranks = name => rows[`${list}_rank/${name}`] || [];
  const tokens = name => rows.token.map((token, row) => [ranks(name)[row], token]).filter(pair => !missing(pair[0])).sort((a, b) => a[0] - b[0]).slice(0, LISTED);
  return h("section", null, h("h2", null, "Concept tokens"),
    h("p", null, "Codes that are important for an extractor in images of the class. Many of them occur in other classes, too."),
    h(Choice, { name: "list", label: "List", value: list, onChange: setList, options: Object.entries(LISTS) }),
    h("dl", { className: "lists" }, atlas.run.explained.map(name => h(React.Fragment, { key: name }, h("dt", null, methodName(name)),
      h("dd", { className: "row tokens" }, tokens(name).map(([, token]) => h(TokenLink, { key: token, token, note: shortLabel(token) })), tokens(name).length === 0 && h("span", { className: "note" }, "none"))))),
    h("p", { className: "note" }, `The first ${LISTED} codes of each list, the first one on the left; important: among the ${atlas.run.top_n} highest positions of a train image. Below each code: its label. Scores: ${atlas.run.scores.join(", ")}. Source: `, source("dictionary.parquet"), "."));
}

function ClassImages({ label }) {
  const { run } = atlas, positions = tilings().at(-1).end - run.maskable;
  const part = usePart(`images/${label}`);
  const [method, setMethod] = useState(run.explained[0]);
  const [n, setN] = useState(Math.min(run.top_n, positions));
  const [view, setView] = useState("frames");
  const plain = view === "plain";
  if (part instanceof Error) return null;
  return h("section", null, h("h2", null, "Images, and what is important in them"), h("p", null, run.source),
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
    caption: [`A judge's probability of the class changes when its contrast tokens are painted black. The list counts the ${atlas.run.top_n} most important positions of each train image. The table shows this change less the change by its frequent tokens, in percentage points, with 95 % intervals over ${rows[0].pairs} images. Columns: the area that both masks hide, as a share of the class's positions. Equal number: as many tokens in both masks, which can hide different areas. Intervals are not corrected for the number of comparisons. The words better and worse stand where a difference is significant after this correction. Source: `, source("metrics/comparisons.parquet"), " (concept_level)."],
    heads: ["@Scores of", "@Judge", ...areas.map(area => missing(area) ? "equal number" : percent(area))],
    rows: pairs.map(pair => [methodName(of(pair)), pair.judge, ...areas.map(area => said(rows.find(row => of(row) === of(pair) && row.judge === pair.judge && row.area === area)))]),
  }));
}

function TypicalCodes({ part, label }) {
  const { rows } = part, { explained, alone } = atlas.run;
  const typical = rows.token.map((_, row) => row).filter(row => rows.log_odds_low?.[row] > 0), shown = typical.slice(0, TYPICAL);
  return h("section", null, h("h2", null, "Typical codes"),
    shown.length === 0 ? h("p", { className: "note" }, "No code has log-odds whose 95 % interval is above zero.") : h(Table, {
      caption: [`Codes that are more frequent in the class than in the other classes, by the lower end of the interval of their log-odds: ${shown.length} of ${count(typical.length)}. `,
        !alone && typical.length > shown.length && [h("a", { key: "all", href: `#wall?class=${label}&sort=odds` }, "All on the wall"), ". "],
        `Share: share of the code's occurrences that are in the class, where every class counts as equally many images. Log-odds: natural logarithm of the odds that a position holds the code, in the class less in the other classes, with 95 % intervals, not corrected for the number of comparisons. Images: train images of the class that hold the code. Frequency: share of the class's positions that hold it. ${IMPORTANCE_UNIT} Source: `, source("dictionary.parquet"), "."],
      heads: ["@Token", "@Label", "Share", "Log-odds", "Images", "Frequency", ...explained.map(name => `Importance, ${methodName(name)}`)],
      rows: shown.map(row => [
        h(TokenLink, { token: rows.token[row], size: 28 }), h("span", { className: "said" }, kindSentence(rows.token[row])), percent(rows.class_share[row]),
        interval(rows.log_odds[row], rows.log_odds_low[row], rows.log_odds_high[row], value => fixed(value)), count(rows.images[row]), percent(rows.share[row], 1), ...explained.map(name => fixed(rows[`importance/${name}`]?.[row])),
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
    h("p", { className: "lead" }, `${count(run.labels.length)} classes; behind each, the number of codes that mark it. Weak: codes whose label has a probability below ${atlas.run.sure}.`),
    h("ul", { className: "classes" }, run.labels.map(label => h("li", { key: label }, h("a", { href: classAddress(label) }, toldApart(label)), h("span", { className: "soft" }, words(marked.get(label) || [0, 0]))))));
}
