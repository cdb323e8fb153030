"use strict";
// Data parts, addresses and numbers: what all pages share.

const h = React.createElement;
const { useEffect, useLayoutEffect, useMemo, useRef, useState } = React;

// Files of the atlas by path, as addresses of their content, where the page holds them; none where they are beside it.
const files = JSON.parse(document.getElementById("files")?.textContent ?? "{}");

// The address of a file. That of content that the page holds becomes short, for it stands in many places.
function addressOf(path) {
  if (files[path]?.startsWith("data:")) {
    const [head, content] = files[path].split(",");
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    files[path] = URL.createObjectURL(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
  }
  return files[path] ?? path;
}

// A page from a file may load scripts, but not data. Each part is a script that calls atlas.receive.
const atlas = {
  parts: new Map(),
  scripts: new Map(),
  receive(name, value) {
    atlas.parts.set(name, value);
  },
  script(path) {
    if (!atlas.scripts.has(path)) {
      atlas.scripts.set(path, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = addressOf(path);
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${path} is missing in the folder of the atlas`));
        document.head.append(script);
      }));
    }
    return atlas.scripts.get(path);
  },
  get run() {
    return atlas.parts.get("run");
  },
  get codes() {
    return atlas.parts.get("codes");
  },
};

// A part by name: undefined while it loads, or of no name; an Error where it is missing.
function usePart(name) {
  const parts = useParts(name ? [name] : []);
  return parts instanceof Error || !parts ? parts : parts[0];
}

// Several parts: undefined until all are there; an Error where one is missing.
function useParts(names) {
  const [, renew] = useState(0);
  const [error, setError] = useState(null);
  const key = names.join(" ");
  useEffect(() => {
    let wanted = true;
    setError(null);
    Promise.all(names.filter(name => !atlas.parts.has(name)).map(name => atlas.script(`data/${name}.js`)))
      .then(() => wanted && renew(count => count + 1), problem => wanted && setError(problem));
    return () => { wanted = false; };
  }, [key]);
  return error || (names.every(name => atlas.parts.has(name)) ? names.map(name => atlas.parts.get(name)) : undefined);
}

const CODES_OF_PART = 64;

// A code by its token; nothing of null.
function useCode(token) {
  const part = usePart(token === null ? null : `tokens/${Math.floor(token / CODES_OF_PART)}`);
  return part instanceof Error || !part ? part : part[token % CODES_OF_PART];
}

// Addresses: #wall?kind=0&class=3, #token/12, #class/river, #image/KEY, #classes, #about.
function readAddress() {
  const text = location.hash.slice(1) || atlas.run.alone?.address || "";
  const [path, query = ""] = text.split("?");
  const [page, ...rest] = path.split("/");
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch (error) { /* an address that is no text stays as it is */ }
  return { page: page || "wall", name, query: new URLSearchParams(query) };
}

function useAddress() {
  const [address, setAddress] = useState(readAddress);
  useEffect(() => {
    const changed = () => setAddress(readAddress());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

const tokenAddress = token => `#token/${token}`;
const imageAddress = key => `#image/${encodeURIComponent(key)}`;
// Classes whose name another class has, or that is the number of another, are told apart by their numbers.
const classAddress = label => `#class/${encodeURIComponent(isOnlyName(label) ? className(label) : label)}`;
const className = label => atlas.run.classes[label] ?? String(label);
const toldApart = label => isOnlyName(label) ? className(label) : `${className(label)} (${label})`;
const isNumber = name => Object.hasOwn(atlas.run.classes, name);

function labelsByName() {
  if (!atlas.byName) {
    atlas.byName = new Map();
    for (const [label, name] of Object.entries(atlas.run.classes)) {
      atlas.byName.set(name, [...(atlas.byName.get(name) || []), Number(label)]);
    }
  }
  return atlas.byName;
}

function isOnlyName(label) {
  const name = className(label);
  return labelsByName().get(name)?.length === 1 && (!isNumber(name) || Number(name) === Number(label));
}

// A number comes before a name, as for cortex show.
const labelOf = name => isNumber(name) ? Number(name) : labelsByName().get(name)?.[0];

// Tilings of an image by positions: one, or one for each scale of tokens, from coarse to fine.
function tilings() {
  let start = 0;
  return atlas.run.tilings.map(([rows, columns]) => {
    const tiling = { start, rows, columns, end: start + rows * columns };
    start = tiling.end;
    return tiling;
  });
}

function spot(position) {
  const tiling = tilings().find(each => position < each.end), place = position - tiling.start;
  return { tiling, row: Math.floor(place / tiling.columns), column: place % tiling.columns };
}

const tilingName = ({ rows, columns }) => `${rows} × ${columns}`;

function spotName(position) {
  const { tiling, row, column } = spot(position);
  return `Row ${row + 1}, column ${column + 1}${atlas.run.tilings.length > 1 ? ` of the scale ${tilingName(tiling)}` : ""}`;
}

// Numbers as text. A minus is a minus, not a hyphen.
const minus = text => text.replace("-", "−");
const missing = value => value === null || value === undefined;
const count = value => missing(value) ? "–" : value.toLocaleString("en-US");
const fixed = (value, digits = 2) => missing(value) ? "–" : minus(Object.is(Number(value.toFixed(digits)), -0) ? (0).toFixed(digits) : value.toFixed(digits));
const signed = (value, digits = 2) => missing(value) ? "–" : (value > 0 ? "+" : "") + fixed(value, digits);
const percent = (share, digits = 0) => {
  if (missing(share)) return "–";
  const more = share > 0 && share < 0.01 ? Math.max(digits, 2) : digits;
  return `${fixed(100 * share, more)} %`;
};
const points = change => missing(change) ? "–" : signed(100 * change, 1);
// A value with its 95 % interval; a dash where there is none, as of a single image.
const interval = (value, low, high, show) => missing(value) ? "–" : missing(low) ? `${show(value)} (–)` : `${show(value)} (${show(low)} to ${show(high)})`;
// Extractors by name; with the attribution where the run has several.
const methodName = name => {
  const several = new Set(atlas.run.explained.map(each => each.split("/")[0])).size > 1;
  return several ? name.replace("/", ", ") : name.split("/")[1];
};

// A table of the run, as a link where it lies beside the folder of the atlas.
const source = name => atlas.run.tables ? h("a", { key: name, href: atlas.run.tables + name }, name) : name;

// A command that writes a page with images that the atlas does not hold.
const showCommand = (what, name) => h("code", { key: "command" }, `cortex show ${what} ${name} --run ${quoted(`results/${atlas.run.run}`)}`);

// Labels of a low probability are weak.
const isWeak = token => atlas.codes.sure[token] < atlas.run.sure;
const marks = (token, label) => atlas.codes.kind[token] === 0 && atlas.codes.first[token] === label;
const probably = token => isWeak(token) ? "probably " : "";

// A token's label in a few words.
function shortLabel(token) {
  const { kind, first } = atlas.codes;
  return `${probably(token)}${["", "shared", "background", "hardly used"][kind[token]] || `marks ${toldApart(first[token])}`}`;
}

// What importance in a table is.
const IMPORTANCE_UNIT = "Importance: mean score where the code stands, as a multiple of the standard deviation of an image's scores.";

// How sure the label is, and of what.
function sureSentence(token) {
  const { sure, kind } = atlas.codes, { bounds } = atlas.run;
  const what = bounds && kind[token] === 0 ? `that this class has at least ${percent(bounds.marks)} of its occurrences` : "that this label is right";
  return `probability ${sure[token] > 0.995 ? "above 0.99" : fixed(sure[token])} ${what}`;
}

// The classes that share a code, that of the highest share first.
function sharing(token) {
  const labels = atlas.codes.shared[token] ?? [atlas.codes.first[token]];
  const names = labels.slice(0, 3).map(className), more = labels.length - names.length;
  return `most often ${names.join(", ")}${more > 0 ? ` and ${count(more)} more` : ""}`;
}

function kindSentence(token) {
  const { kind, first } = atlas.codes;
  const name = `${probably(token)}${atlas.run.kinds[kind[token]]}`;
  if (kind[token] === 0 && first[token] >= 0) return `${probably(token)}marks the class ${className(first[token])}`;
  if (kind[token] === 1 && first[token] >= 0) return `${probably(token)}shared by classes, ${sharing(token)}`;
  return name;
}
