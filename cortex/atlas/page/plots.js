"use strict";
// Plots by Vega-Lite, which loads when the first plot is shown. Colours are those of the style sheet.

const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function useTheme() {
  const [dark, setDark] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)"), changed = () => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

function themed() {
  const axis = { labelColor: color("ink"), titleColor: color("ink"), gridColor: color("line"), domainColor: color("soft"), tickColor: color("soft"), titleFontWeight: 500, titleFontSize: 12, labelFontSize: 12, labelLimit: 160, labelSeparation: 8 };
  return {
    background: "transparent", font: "system-ui, sans-serif", axis, view: { stroke: null },
    legend: { labelColor: color("ink"), titleColor: color("ink"), orient: "top", labelFontSize: 12, symbolOpacity: 1, labelLimit: 320 },
    header: { labelColor: color("ink"), labelFontSize: 12, titleColor: color("ink") },
  };
}

const SERIES = ["series-1", "series-2", "series-3", "series-4"];

// A plot: spec(width) is its specification, the label what a screen reader says.
function Plot({ spec, label, data }) {
  const place = useRef(null);
  const dark = useTheme();
  const [width, setWidth] = useState(0);
  const [error, setError] = useState(null);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(place.current);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    let view = null, wanted = width > 0;
    if (!wanted) return undefined;
    atlas.script("lib/vega.js").then(() => atlas.script("lib/vega-lite.js")).then(() => {
      if (!wanted) return null;
      const compiled = vegaLite.compile({ ...spec(width), data: { values: data }, config: themed() }).spec;
      view = new vega.View(vega.parse(compiled), { renderer: "svg", container: place.current, hover: true });
      return view.runAsync();
    }).catch(setError);
    return () => { wanted = false; view?.finalize(); };
  }, [width, dark, JSON.stringify(data)]);
  return h("div", { className: "plot", role: "img", "aria-label": label, ref: place }, error && `No plot: ${error.message}`);
}

// Estimates with intervals, one below the other: data of name, value, low, high, said (as text) and series.
function intervalSpec(data, title, series) {
  const y = { field: "name", type: "nominal", sort: [...new Set(data.map(row => row.name))], title: null };
  const tooltip = [{ field: "name", title: "class" }, { field: "series", title: "of" }, { field: "said", title }];
  const layers = series.map((name, place) => {
    const yOffset = (place - (series.length - 1) / 2) * 11;
    const shade = { color: { value: color(SERIES[place]) } };
    return {
      transform: [{ filter: `datum.series === ${JSON.stringify(name)}` }],
      layer: [
        { mark: { type: "rule", strokeWidth: 2, yOffset }, encoding: { y, x: { field: "low", type: "quantitative", title }, x2: { field: "high" }, tooltip, ...shade } },
        { mark: { type: "point", filled: true, size: 60, opacity: 1, yOffset }, encoding: { y, x: { field: "value", type: "quantitative", title }, tooltip, ...shade } },
      ],
    };
  });
  return width => ({
    width: Math.max(120, Math.min(560, width - 170)),
    height: { step: series.length > 1 ? 34 : 22 },
    layer: [{ mark: { type: "rule", color: color("soft"), strokeDash: [3, 3] }, encoding: { x: { datum: 0 } } }, ...layers],
  });
}

// Curves with intervals over n, a panel for each judge.
function curveSpec(data, x, title, series) {
  const judges = [...new Set(data.map(row => row.judge))];
  const shade = { color: { field: "series", type: "nominal", scale: { domain: series, range: SERIES.map(color) }, title: null } };
  return width => ({
    columns: width < 620 ? 1 : 2,
    facet: { field: "judge", type: "nominal", title: null, sort: judges, header: { labelExpr: "'judge ' + datum.value", labelAnchor: "start", labelFontWeight: 600 } },
    spec: {
      width: Math.max(160, Math.min(400, (width < 620 ? width : width / 2) - 90)),
      height: 190,
      layer: [
        { mark: { type: "rule", color: color("soft"), strokeDash: [3, 3] }, encoding: { y: { datum: 0 } } },
        { mark: { type: "errorband", opacity: 0.15 }, encoding: { x: { field: "x", type: "quantitative", title: x }, y: { field: "low", type: "quantitative", title }, y2: { field: "high" }, ...shade } },
        { mark: { type: "line", point: { filled: true, size: 40 } }, encoding: { x: { field: "x", type: "quantitative", title: x }, y: { field: "value", type: "quantitative", title }, tooltip: [{ field: "series" }, { field: "x", title: x }, { field: "said", title }], ...shade } },
      ],
    },
  });
}
// The series of a plot, in words.
const Legend = ({ series }) => h("p", { className: "legend" }, series.map((name, place) =>
  h("span", { key: name }, h("i", { style: { background: `var(--${SERIES[place]})` } }), name)));
