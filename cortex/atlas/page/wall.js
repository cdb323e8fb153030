"use strict";
// The wall: all codes as patches, in the order of likeness or another, and the filters.

const GAP = 3;
const STEPS = 50; // of the slider of importance
const SORTS = { likeness: "likeness", frequency: "frequency", importance: "importance", number: "number", odds: "log-odds of the class" };
const MARKS = 0; // the kind of codes that mark a class
// Where the wall was left, and whether a person comes to it now: then it takes the focus.
const wallMemory = { address: null, scroll: 0, active: 0, entered: false };

// Which codes are shown, in their order, by the address's query and the rows of the chosen class.
function chosenCodes(query, rows) {
  const { order, kind, images, importance } = atlas.codes;
  const filter = Object.fromEntries(["kind", "images", "importance"].map(name => [name, query.get(name) === null ? null : Number(query.get(name))]));
  const by = query.get("by") || atlas.run.explained[0];
  const sort = query.get("sort") || "likeness";
  let places = order, scores = importance[by] || [];
  let odds = null;
  if (rows) {
    const above = rows.token.map((token, row) => row).filter(row => rows.log_odds_low?.[row] > 0);
    odds = new Map(above.map(row => [rows.token[row], rows.log_odds[row]]));
    scores = Object.fromEntries(rows.token.map((token, row) => [token, rows[`importance/${by}`]?.[row]]));
    places = order.filter(token => filter.kind === MARKS ? marks(token, Number(query.get("class"))) : odds.has(token));
  }
  const found = places.filter(token => (filter.kind === null || kind[token] === filter.kind)
    && (filter.images === null || images[token] >= filter.images)
    && (filter.importance === null || (!missing(scores[token]) && scores[token] >= filter.importance)));
  const keys = { frequency: token => -atlas.codes.count[token], importance: token => -(scores[token] ?? -Infinity), number: token => token, odds: token => -(odds?.get(token) ?? 0) };
  return sort in keys ? [...found].sort((a, b) => keys[sort](a) - keys[sort](b) || a - b) : found;
}

// Changes a filter; a slider on its way does not fill the history.
function setFilter(query, changes, { replace = false } = {}) {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) value === "" || value === null ? next.delete(name) : next.set(name, value);
  const address = `#wall${next.size ? `?${next}` : ""}`;
  replace ? location.replace(address) : (location.hash = address);
}

function Filters({ query, shown }) {
  const { run, codes } = atlas;
  const by = query.get("by") || run.explained[0];
  const known = useMemo(() => (codes.importance[by] || []).filter(value => value !== null), [by]);
  const least = Math.min(...known), most = Math.max(...known);
  const images = Number(query.get("images") || 0);
  const limits = useMemo(() => {
    const top = Math.max(...codes.images);
    return [0, ...Array.from({ length: 30 }, (_, step) => Math.round(Math.exp(Math.log(top) * (step + 1) / 30)))].filter((value, place, all) => all.indexOf(value) === place);
  }, []);
  const select = (name, label, options) => h("label", null, label,
    h("select", { name, value: query.get(name) ?? "", onChange: event => setFilter(query, { [name]: event.target.value }) },
      options.map(([value, text]) => h("option", { key: value, value }, text))));
  const sorts = Object.entries(SORTS).filter(([name]) => name !== "odds" || query.get("class"));
  return h("form", { className: "filters", onSubmit: event => event.preventDefault() },
    select("class", "Class", [["", "all classes"], ...run.labels.map(label => [String(label), className(label)])]),
    select("kind", "Label", [["", "all labels"], ...run.kinds.map((kind, place) => [String(place), `${kind} (${count(codes.kind.filter(each => each === place).length)})`])]),
    select("sort", "Order by", sorts.map(([name, text]) => [name === "likeness" ? "" : name, text])),
    run.explained.length > 1 && select("by", "Importance by", run.explained.map((name, place) => [place ? name : "", methodName(name)])),
    h("label", null, `In at least ${count(images)} train images`, h("input", {
      type: "range", name: "images", min: 0, max: limits.length - 1, value: limits.findLastIndex(limit => limit <= images),
      onChange: event => setFilter(query, { images: limits[event.target.value] || "" }, { replace: true }),
    })),
    known.length > 0 && h("label", null, `Importance: ${query.get("importance") === null ? "any" : `at least ${fixed(Number(query.get("importance")))}`}`, h("input", {
      type: "range", name: "importance", min: 0, max: STEPS, value: query.get("importance") === null ? 0 : Math.round(STEPS * (Number(query.get("importance")) - least) / (most - least || 1)),
      onChange: event => setFilter(query, { importance: Number(event.target.value) ? (least + (most - least) * event.target.value / STEPS).toPrecision(4) : "" }, { replace: true }),
    })),
    h("p", { className: "found", role: "status" }, h("b", null, count(shown)), ` of ${count(run.codes)} codes`,
      query.size > 0 && h("a", { href: "#wall" }, "Clear filters")));
}

function Wall({ address }) {
  const { query } = address;
  const label = query.get("class");
  const part = usePart(label === null ? null : `classes/${label}`);
  const rows = label === null ? null : part?.rows;
  const tokens = useMemo(() => label !== null && !rows ? [] : chosenCodes(query, rows), [query.toString(), rows]);
  return h("main", { className: "wall-page" },
    h("h1", null, "Codes of the run ", atlas.run.run),
    h("p", { className: "lead" }, "A token is one position of an image; its number is that of a code. ", atlas.run.patches
      ? "Each picture is a code of the codebook as the generator draws it: the patch closest to the mean of its patches in the test images. A code looks different beside other codes. "
      : `Each field is a code of the codebook. ${atlas.run.tilings.length > 1 ? "Tokens of several scales have no patch of their own. " : "The run keeps no test images. "}`,
    query.get("sort") ? "" : "Adjacent codes on this page have similar codebook vectors. ",
    label !== null && (query.get("kind") === String(MARKS) ? `Shown are codes that mark the class ${className(label)}.` : `Shown are codes whose log-odds for the class ${className(label)} are above zero with their 95 % interval.`)),
    h(Filters, { query, shown: tokens.length }),
    h(KindLegend),
    part instanceof Error ? h("p", { className: "waiting" }, part.message)
      : label !== null && !rows ? h("p", { className: "waiting" }, "Loading …")
        : h(Tiles, { tokens, hash: location.hash }));
}

const KindLegend = () => h("p", { className: "legend" },
  atlas.run.kinds.map((kind, place) => h("span", { key: kind }, h("i", { className: `kind-${place}` }), kind)),
  h("span", null, h("i", { className: "kind-0 short" }), `short bar: label of a probability below ${atlas.run.sure}`));

// Only rows near the window are in the document: a codebook may have 16,384 codes and more.
function Tiles({ tokens, hash }) {
  const place = useRef(null), focusing = useRef(false), quiet = useRef(false);
  const saved = useRef(wallMemory.address === hash ? wallMemory.scroll : -1); // where the wall was left; null once there
  const [width, setWidth] = useState(0);
  const [range, setRange] = useState([0, 1]);
  const [active, setActive] = useState(wallMemory.address === hash ? wallMemory.active : 0);
  const [told, setTold] = useState(null);
  const size = atlas.run.codes <= 1024 ? 44 : 34;
  const step = size + GAP;
  const columns = Math.max(1, Math.floor((width + GAP) / step));
  const rows = Math.ceil(tokens.length / columns);
  const chosen = Math.min(active, tokens.length - 1);
  wallMemory.address = hash;
  wallMemory.active = chosen;

  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    watch.observe(place.current);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    const look = () => {
      const top = -place.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / step) - 2), last = Math.ceil((top + innerHeight) / step) + 2;
      setRange(old => old[0] === first && old[1] === last ? old : [first, last]);
      if (saved.current === null) wallMemory.scroll = scrollY;
    };
    if (width && saved.current !== null) {
      scrollTo(0, Math.max(0, saved.current));
      quiet.current = saved.current < 0; // at first, the hint on keys stays
      saved.current = null;
    }
    if (width && wallMemory.entered) {
      wallMemory.entered = false;
      focusing.current = true;
    }
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [columns, width, tokens]);
  useLayoutEffect(() => {
    if (focusing.current) place.current.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
    focusing.current = quiet.current = false;
  });

  const move = event => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -chosen, End: tokens.length - 1 - chosen };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(tokens.length - 1, chosen + steps[event.key]));
    if (Math.abs(steps[event.key]) === columns && chosen + steps[event.key] !== next) return;
    const top = place.current.getBoundingClientRect().top + Math.floor(next / columns) * step;
    if (top < 70) scrollBy(0, top - 70);
    if (top + step > innerHeight - 60) scrollBy(0, top + step - innerHeight + 60);
    focusing.current = true;
    setActive(next);
    setTold(tokens[next]);
    setRange(([first, last]) => [Math.min(first, Math.floor(next / columns)), Math.max(last, Math.floor(next / columns) + 1)]);
  };
  const first = range[0] * columns, last = Math.min(tokens.length, range[1] * columns);
  const visible = Array.from({ length: width ? Math.max(0, last - first) : 0 }, (_, offset) => first + offset);
  if (width && chosen >= 0 && !visible.includes(chosen)) visible.push(chosen); // the focus is not lost by scrolling
  return h(React.Fragment, null,
    h("div", { className: "wall", ref: place, style: { height: rows * step }, onKeyDown: move, role: "group", "aria-label": "Codes; arrow keys move, Enter opens" },
      visible.map(index => {
        const token = tokens[index];
        return h(Patch, {
          as: "a",
          key: token,
          token,
          size,
          className: `tile kind-${atlas.codes.kind[token]} ${isWeak(token) ? "weak" : ""}`,
          href: tokenAddress(token),
          style: { left: (index % columns) * step, top: Math.floor(index / columns) * step },
          tabIndex: index === chosen ? 0 : -1,
          "aria-label": `Token ${token}: ${kindSentence(token)}`,
          onFocus: () => { setActive(index); quiet.current || setTold(token); },
          onClick: () => { wallMemory.active = index; },
          onMouseEnter: () => setTold(token),
        });
      })),
    tokens.length === 0 && h("p", { className: "waiting" }, "No code passes all filters."),
    h("div", { className: "told", "aria-hidden": told === null }, told === null
      ? h("span", null, "Point at a code, or move with the arrow keys. Enter opens it; / searches; Escape goes back.")
      : h(Told, { token: told })));
}

function Told({ token }) {
  const { codes } = atlas;
  return h(React.Fragment, null, h(Patch, { token, size: 40 }),
    h("span", null, h("b", null, `Token ${token}`), `: ${kindSentence(token)} (${sureSentence(token)}). `,
      `${count(codes.count[token])} times in ${count(codes.images[token])} train images.`));
}
