"use strict";
// The frame of all pages: head, search, keys, and the page of the address.

function Unknown({ what, allowed }) {
  return h("main", null, h("h1", null, atlas.run.alone ? "Not on this page" : "Not in this atlas"), h("p", null, `No ${what}. `, allowed));
}

// What a page of one token or class says of all others.
function Elsewhere({ page, name }) {
  const { address, run } = atlas.run.alone, shown = ["token", "class"].includes(page);
  return h(Unknown, {
    what: `${page} ${name}`.trim(),
    allowed: h(React.Fragment, null, "This page holds ", h("a", { href: "#" }, decodeURIComponent(address).replace("/", " ")), " alone. ",
      shown ? ["To write that page: ", h("code", { key: "command" }, `cortex show ${page} ${quoted(name)} --run ${quoted(run)}`)] : "The atlas of the run has it."),
  });
}

// A word of a command in a shell.
const quoted = word => /^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

// The address that a searched text stands for.
function searched(text) {
  const wanted = text.trim().replace(/^(token|code|class|image)\s+/i, ""), { run } = atlas;
  if (/^\d+$/.test(wanted) && Number(wanted) < run.codes) return tokenAddress(Number(wanted));
  const lower = wanted.toLowerCase();
  const label = labelOf(wanted) ?? run.labels.find(each => className(each).toLowerCase().startsWith(lower)) ?? run.labels.find(each => className(each).toLowerCase().includes(lower));
  if (label !== undefined && wanted) return classAddress(label);
  const key = run.sample?.keys.find(each => each === wanted) ?? run.sample?.keys.find(each => each.includes(wanted));
  return wanted && key ? imageAddress(key) : null;
}

function Search({ field }) {
  const [text, setText] = useState("");
  const [failed, setFailed] = useState("");
  const go = event => {
    event.preventDefault();
    const address = searched(text);
    setFailed(address || !text.trim() ? "" : `Nothing named ${text.trim()}`);
    if (!address) return;
    setText("");
    field.current.blur();
    location.hash = address;
  };
  return h("form", { className: "search", role: "search", onSubmit: go },
    h("input", { ref: field, type: "search", value: text, list: "names", placeholder: "Token, class or image", "aria-label": "Search: number of a token, name of a class, key of an image", onChange: event => { setText(event.target.value); setFailed(""); } }),
    h("datalist", { id: "names" }, atlas.run.labels.map(label => h("option", { key: label, value: className(label) }))),
    h("span", { className: "failed", role: "status" }, failed));
}

function About() {
  const { run } = atlas, { bounds } = run;
  const facts = [
    ["Run", run.run],
    ["Codes", `${count(run.codes)}, in grids of ${tilings().map(tilingName).join(", ")}`],
    ["Dictionary", `${count(run.rows)} of ${count(run.pairs)} pairs of a code and a class: pairs in at least ${count(run.least_images)} train ${run.least_images === 1 ? "image" : "images"} of the class, and pairs whose causes were measured`],
    ["Images", run.sample ? `${count(run.sample.keys.length)} of ${count(run.test_images)} test images: ${run.sample.origin}. ${run.source}` : "none: the run keeps no test images"],
    ["Importance", run.scores.join(", ")],
    ["Judges", run.judges.join(", ") || "none"],
    ["Causes", run.causes.length ? `${measuredSentence()} ${causesTogether() || ""}` : "not measured"],
    ["Written by", Object.entries(run.written_by).filter(([name]) => name !== "packages").map(([name, value]) => `${name} ${value}`).join(", ")],
  ];
  return h("main", null, h("h1", null, "About this atlas"),
    h("p", { className: "lead" }, "A look-up of the tokens, classes and images of a run. The report of the run answers how far importance can be trusted: ", h("a", { href: "../report.html" }, "report.html"), "."),
    h("dl", { className: "facts" }, facts.map(([name, value]) => h(React.Fragment, { key: name }, h("dt", null, name), h("dd", null, value)))),
    h("h2", null, "Terms"),
    h("ul", null, h("li", null, h("b", null, "code"), ": a vector of the generator's codebook, with a number."), h("li", null, h("b", null, "token"), ": the code at one position of an image. Token 12 is an occurrence of code 12."),
      h("li", null, h("b", null, "extractor"), ": a classifier that reads the tokens of an image. Importance and concept tokens explain it."), h("li", null, h("b", null, "judge"), ": a classifier that reads the pixels of an image. It tests the explanations.")),
    h("h2", null, "Labels of codes"),
    h("ul", null, h("li", null, h("b", null, "marks a class"), `: one class has at least ${percent(bounds.marks)} of the code's occurrences, where every class counts as equally many images.`),
      h("li", null, h("b", null, "shared by classes"), `: two occurrences, in different images, have the same class at least ${fixed(bounds.shared, 1)} times as often as by chance.`), h("li", null, h("b", null, "background"), ": all other codes."),
      h("li", null, h("b", null, "hardly used"), `: fewer train images hold the code than ${percent(bounds.least_share)} of the mean number of train images of a class.`)),
    h("p", null, `The probability of a label is the probability that it holds for its bound, given the sample of images. It says nothing of other settings of the bounds. A label of a probability below ${atlas.run.sure} is called probable and has a short bar on the wall. The method's description, METHOD.md, defines labels, log-odds and causes in section 12.`),
    h("h2", null, "Keys"),
    h("p", null, h("kbd", null, "←"), h("kbd", null, "→"), h("kbd", null, "↑"), h("kbd", null, "↓"), " move over the wall and over an image; ", h("kbd", null, "Enter"), " opens; ", h("kbd", null, "/"), " searches; ", h("kbd", null, "Escape"), " goes back."),
    h("h2", null, "Libraries"),
    h("p", null, "React, Vega and Vega-Lite; their licences are in the folder lib."));
}

// Where a page was left, by the entry of the browser's history: its height, and how far it was scrolled.
const left = new Map();

function rememberPlace() {
  const { entry } = history.state ?? {};
  if (entry && readAddress().page !== "wall") left.set(entry, { top: scrollY, height: document.documentElement.scrollHeight });
}

// Back and forward lead to the place where a page was left; all else leads to its beginning. Plots come late: until the
// page is as high as it was, it scrolls again.
function findPlace() {
  if (!history.state?.entry) history.replaceState({ entry: Math.random() }, "");
  const place = left.get(history.state.entry);
  scrollTo(0, place?.top ?? 0);
  if (!place?.top) return;
  const watch = new ResizeObserver(() => {
    scrollTo(0, place.top);
    if (document.documentElement.scrollHeight >= place.height) watch.disconnect();
  });
  watch.observe(document.body);
  setTimeout(() => watch.disconnect(), 2000);
}

function App() {
  const address = useAddress();
  const field = useRef(null);
  const where = `${address.page}/${address.name}`, moves = useRef(0);
  useEffect(() => {
    const pressed = event => {
      const typing = event.target.matches("input[type=search]");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        field.current?.focus();
      } else if (event.key === "Escape" && typing) {
        event.target.blur();
      } else if (event.key === "Escape" && readAddress().page !== "wall") {
        moves.current > 1 ? history.back() : (location.hash = atlas.run.alone ? "" : wallMemory.address || "#wall"); // not out of the atlas
      }
    };
    addEventListener("keydown", pressed);
    addEventListener("scroll", rememberPlace, { passive: true });
    return () => {
      removeEventListener("keydown", pressed);
      removeEventListener("scroll", rememberPlace);
    };
  }, []);
  useLayoutEffect(() => {
    moves.current += 1;
    const title = { wall: "Codes", token: `Token ${address.name}`, class: address.name, image: address.name, classes: "Classes", about: "About" }[address.page];
    document.title = `${title || "Atlas"} – atlas of the run ${atlas.run.run}`;
    if (address.page === "wall") {
      wallMemory.entered = true;
      return;
    }
    findPlace();
    const heading = document.querySelector("main h1");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true }); // a screen reader goes on from here
  }, [where]);
  const Page = new Map([["token", Token], ["class", ClassPage], ["image", ImagePage], ["classes", ClassesPage], ["about", About]]).get(address.page);
  const { alone } = atlas.run;
  const other = alone && address.page !== "image" && where !== decodeURIComponent(alone.address);
  const link = (page, text) => h("a", { href: `#${page}`, "aria-current": address.page === page ? "page" : undefined }, text);
  return h(React.Fragment, null,
    h("header", null, h("a", { className: "home", href: alone ? "#" : wallMemory.address || "#wall" }, "Atlas ", h("span", null, atlas.run.run)),
      !alone && h("nav", { "aria-label": "Pages" }, link("wall", "Codes"), link("classes", "Classes"), link("about", "About")), !alone && h(Search, { field })),
    other ? h(Elsewhere, address) : address.page === "wall" ? h(Wall, { address }) : Page ? h(Page, { key: where, name: address.name }) : h(Unknown, { what: `page ${address.page}`, allowed: h("a", { href: "#wall" }, "All codes") }));
}

addEventListener("DOMContentLoaded", () => {
  history.scrollRestoration = "manual";
  const root = document.getElementById("atlas");
  if (!atlas.run || !atlas.codes) {
    root.textContent = "Parts of the atlas are missing: copy the whole folder, not index.html alone.";
    return;
  }
  ReactDOM.createRoot(root).render(h(App));
});
