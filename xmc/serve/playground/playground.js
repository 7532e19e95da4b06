// The page of `xmc serve`: one query, answered by one run or by two side by side.
// What comes from the service enters the page as text, never as HTML.

const PAUSE_MS = 180;
const TOKEN = "xmc-token";
const $ = (id) => document.getElementById(id);
const form = $("search");
const fields = Object.fromEntries([...form.elements].filter(({ name }) => name).map((field) => [field.name, field]));
let runs = [];
let searching = new AbortController();
let pause;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON answer of the service; Refused with its own sentence where it answers with an error. */
async function ask(path, { body, signal } = {}) {
  const headers = body ? { "content-type": "application/json" } : {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.authorization = `Bearer ${token}`;
  let response, answer;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: JSON.stringify(body) });
    answer = await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    const what = response ? `answered ${response.status}, not in JSON` : `cannot be reached: ${error.message}`;
    throw new Refused(response?.status ?? 0, `The service ${what}.`);
  }
  if (response.ok) return answer;
  throw new Refused(response.status, answer.error?.message ?? `The service answered ${response.status}.`);
}

/** An element with classes and children; a string becomes text. */
function make(tag, classes = "", ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...children);
  return element;
}

// ---- the form, and its state in the link ----

const chosen = () => [fields.run.value, fields.with.value].filter((name, place) => place === 0 || name);
const valueOf = (field) => (field.type === "checkbox" ? (field.checked ? "yes" : "no") : field.value.trim());
const usual = (field) => (field.type === "checkbox" ? "yes" : (field.defaultValue ?? field.options[0]?.value ?? ""));

function writeLink() {
  const changed = Object.values(fields).filter((field) => valueOf(field) !== usual(field));
  const words = new URLSearchParams(changed.map((field) => [field.name, valueOf(field)]));
  history.replaceState(null, "", changed.length ? `#${words}` : location.pathname + location.search);
  document.title = fields.q.value.trim() ? `${fields.q.value.trim()} – xmc` : "xmc";
}

function readLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  for (const field of Object.values(fields)) {
    const value = words.get(field.name) ?? usual(field);
    if (field.type === "checkbox") field.checked = value !== "no";
    else if (field === fields.run || field === fields.with) choose(field, value);
    else field.value = value;
  }
}

/** Choose a run by name, also one that is not here: the service says that better. */
function choose(select, name) {
  select.value = name;
  if (select.value === name) return;
  select.add(new Option(name));
  select.value = name;
}

/** Offer what the chosen runs can do, and say why not where they cannot. */
function offer() {
  const able = (ability) => chosen().every((name) => runs.find((run) => run.name === name)?.[ability] ?? true);
  const set = fields.answer.value === "set";
  for (const part of form.querySelectorAll(".best")) part.hidden = set;
  for (const part of form.querySelectorAll(".set")) part.hidden = !set;
  fields.p.disabled = !able("calibrated");
  $("p-why").textContent = fields.p.disabled ? "Needs a calibrated run: xmc check calibrate." : "";
  const { disabled, valueAsNumber } = fields.p;
  $("p-shown").textContent = disabled || valueAsNumber === 0 ? "any" : percent(valueAsNumber);
  fields.answer.options[1].disabled = !able("label_sets") && !set;
  $("answer-why").textContent = able("label_sets") ? "" : "Label sets need: xmc check conformal.";
}

function bodyFor(run) {
  const body = { texts: [fields.q.value.trim()] };
  if (run) body.run = run;
  const ids = fields.allowed.value.split(",").map((id) => id.trim());
  if (ids.some(Boolean)) body.allowed = ids.filter(Boolean);
  const sets = { alpha: fields.alpha.valueAsNumber, risk: fields.risk.value };
  if (fields.answer.value === "set") return { ...body, sets };
  if (!fields.p.disabled && Number(fields.p.value) > 0) body.min_probability = Number(fields.p.value);
  return { ...body, k: fields.k.valueAsNumber, certify: fields.certify.checked };
}

// ---- searching ----

/** Search now; an answer to what was asked before never comes after. */
async function search() {
  clearTimeout(pause);
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  offer();
  writeLink();
  if (!fields.q.value.trim()) return welcome();
  $("results").ariaBusy = "true";
  const columns = [];
  // one after the other, so that the time of one run is not spent waiting for the other
  for (const name of chosen()) columns.push(await answerOf(name, signal));
  if (signal.aborted) return;
  show(columns);
  const known = new Set(runs.map(({ generation }) => generation));
  if (columns.every(({ answer }) => !answer || known.has(answer.generation))) return;
  await loadRuns().catch(() => {}); // a run has changed, and with it perhaps what can be asked of it
  offer();
}

async function answerOf(name, signal) {
  const body = bodyFor(name);
  const started = performance.now();
  try {
    const answer = await ask("v1/search", { body, signal });
    return { name, body, answer, hits: answer.results[0].hits, tripMs: performance.now() - started };
  } catch (refused) {
    if (!signal.aborted && refused.status === 401) askToken(refused.message);
    return { name, refused, hits: [] };
  }
}

async function loadRuns() {
  const answer = await ask("v1/runs");
  ({ runs } = answer);
  fields.k.max = answer.limits.k;
  for (const [select, first] of [[fields.run, []], [fields.with, [new Option("nothing", "")]]]) {
    const { value } = select;
    select.replaceChildren(...first, ...runs.map(({ name }) => new Option(name)));
    if (value) choose(select, value);
  }
}

function askToken(message) {
  $("token-form").hidden = false;
  $("token-why").textContent = message;
  $("token").focus();
}

async function start() {
  try {
    await loadRuns();
  } catch (refused) {
    if (refused.status === 401) return askToken(refused.message);
    return $("results").replaceChildren(make("p", "note bad", refused.message));
  }
  if (!$("token-form").hidden) fields.q.focus();
  $("token-form").hidden = true;
  return search();
}

// ---- showing ----

const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`);
const ms = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;
const labels = (count) => `${count.toLocaleString("en")} label${count === 1 ? "" : "s"}`;
const CERTIFICATES = {
  true: ["good", "proven exact", "These are the exact best labels: nothing better was left out."],
  false: ["warn", "approximate", "Not proven: a better label may have been left out."],
  null: ["", "exactness not told", "Not asked for, or it cannot be told of such a search."],
};

function facts(pairs) {
  const list = make("dl", "facts");
  for (const [term, ...values] of pairs) list.append(make("div", "", make("dt", "", term), make("dd", "", ...values)));
  return list;
}

/** Without a query: which runs can be asked. */
function welcome() {
  $("results").ariaBusy = "false";
  document.body.classList.remove("comparing");
  $("summary").textContent = "Nothing is asked yet. These runs answer here:";
  $("results").replaceChildren(...runs.map(cardOf));
}

function cardOf(run) {
  const [tone, word] = run.calibrated ? ["good", "calibrated"] : ["", "not calibrated"];
  const heading = make("header", "", make("h2", "", run.name), make("span", `chip ${tone}`, word));
  const card = make("section", "card column", heading);
  card.append(facts([
    ["labels", run.labels.toLocaleString("en")],
    ["index", `${run.backend}, ${run.exact ? "exact" : "approximate"}, ${run.similarity}`],
    ["dimension", `${run.dimension}`],
    ["label sets", run.label_sets ? "yes" : "no"],
    ["second stage", run.reranked ? "yes" : "no"],
    ["generation", make("code", "", run.generation)],
  ]));
  if (run.reload_error) card.append(make("p", "note warn", run.reload_error));
  return card;
}

function show(columns) {
  const [one, two] = columns;
  $("results").ariaBusy = "false";
  document.body.classList.toggle("comparing", columns.length > 1);
  $("results").replaceChildren(columnOf(one, two), ...(two ? [columnOf(two, one)] : []));
  $("summary").textContent = two ? difference(one, two) : oneLine(one);
}

function oneLine({ answer, hits, refused }) {
  if (refused) return "No answer.";
  return hits.length ? `${labels(hits.length)} from ${answer.run}.` : "Nothing relevant.";
}

const ranks = (hits) => new Map(hits.map((hit) => [hit.label_id, hit.rank]));

/** What two lists have in common, in one sentence. */
function difference(one, two) {
  if (one.refused || two.refused) return "There is nothing to compare.";
  const others = ranks(two.hits);
  const shared = one.hits.filter((hit) => others.has(hit.label_id));
  const moved = shared.filter((hit) => others.get(hit.label_id) !== hit.rank).length;
  const only = ({ name, hits }) => `${hits.length - shared.length} only in ${name}`;
  return `${labels(shared.length)} in both, ${moved} of them at another rank; ${only(one)}, ${only(two)}.`;
}

function columnOf({ name, body, answer, hits, refused, tripMs }, other) {
  const heading = make("header", "", make("h2", "", name));
  const column = make("section", "card column", heading);
  column.ariaLabel = name;
  if (refused) {
    column.append(make("p", "note bad", refused.message));
    column.lastChild.role = "alert";
    return column;
  }
  const [result] = answer.results;
  const [tone, word, meaning] = CERTIFICATES[result.certified];
  heading.append(make("span", `chip ${tone}`, word));
  heading.lastChild.title = meaning;
  const { waited_ms, searched_ms, batch_queries } = answer.timing;
  const times = [["searched", ms(searched_ms)], ["waited", ms(waited_ms)], ["round trip", ms(tripMs)]];
  if (batch_queries > 1) times.push(["searched together", `${batch_queries} queries`]);
  if (hits[0]?.probability === null) times.push(["probabilities", "none, it is not calibrated"]);
  column.append(facts([...times, ["generation", make("code", "", answer.generation)]]));
  column.append(hits.length ? listOf(hits, other) : nothing(result.abstained, body));
  if (result.no_match) column.append(make("p", "why", "The best score is exactly 0: nothing matches, and these are the first labels by id."));
  if (result.truncated) column.append(make("p", "why", "These are all the labels that are searched."));
  return column;
}

function nothing(abstained, { min_probability, sets }) {
  let why = sets ? "The label set is empty." : `No label is at least ${percent(min_probability)} probable.`;
  if (!abstained) why = "There was no label to search among.";
  return make("p", "nothing", make("strong", "", abstained ? "Nothing relevant" : "No labels"), make("span", "", why));
}

function listOf(hits, other) {
  const others = other && !other.refused ? ranks(other.hits) : null;
  const list = make("ol", "", ...hits.map((hit) => hitOf(hit, others, other?.name)));
  list.role = "list"; // Safari forgets it where the numbers are not its own
  list.firstChild.tabIndex = 0; // one stop for Tab; arrows go on from there
  return list;
}

function hitOf(hit, others, name) {
  const text = make("div", "text", make("span", "id", hit.label_id), hit.text);
  if (others) text.append(...moves(hit, others.get(hit.label_id), name));
  const figures = make("div", "figures");
  if (hit.probability !== null) {
    figures.append(make("span", "bar"));
    figures.lastChild.style.setProperty("--share", hit.probability);
    figures.append(make("span", "probability", make("span", "quiet", "probability "), percent(hit.probability)));
  }
  figures.append(make("span", "score", `score ${hit.score.toPrecision(4)}`));
  const item = make("li", "hit", make("span", "rank", `${hit.rank}`), text, figures);
  item.tabIndex = -1;
  item.classList.toggle("only", Boolean(others && !others.has(hit.label_id)));
  return item;
}

/** How a hit stands to the other list: only here, or so many ranks higher or lower. */
function moves({ rank }, otherRank, name) {
  if (otherRank === undefined) return [make("span", "chip warn", "only here")];
  const up = otherRank - rank;
  if (!up) return [];
  const words = make("span", "quiet", ` ranks ${up > 0 ? "higher" : "lower"} than in ${name}`);
  return [make("span", "chip", `${up > 0 ? "↑" : "↓"} ${Math.abs(up)}`, words)];
}

// ---- keys and events ----

/** Where a key leads from the element that has the focus. */
function targetOf(key, from) {
  if (key === "/") return from.matches("input, select") ? null : fields.q;
  if (from === fields.q) return key === "ArrowDown" ? document.querySelector(".hit") : null;
  if (!from.matches(".hit")) return null;
  const lists = [...document.querySelectorAll("ol")];
  const row = [...from.parentElement.children].indexOf(from);
  const beside = (step) => [...(lists[lists.indexOf(from.parentElement) + step]?.children ?? [])];
  return {
    ArrowDown: from.nextElementSibling,
    ArrowUp: from.previousElementSibling ?? fields.q,
    ArrowLeft: beside(-1)[row] ?? beside(-1).at(-1),
    ArrowRight: beside(1)[row] ?? beside(1).at(-1),
    Home: from.parentElement.firstChild,
    End: from.parentElement.lastChild,
    Escape: fields.q,
  }[key];
}

function step(event) {
  const target = event.ctrlKey || event.metaKey || event.altKey ? null : targetOf(event.key, document.activeElement);
  if (!target) return;
  event.preventDefault();
  target.focus();
  for (const hit of target.matches(".hit") ? target.parentElement.children : []) hit.tabIndex = hit === target ? 0 : -1;
}

document.addEventListener("keydown", step);
form.addEventListener("input", () => {
  offer();
  clearTimeout(pause);
  pause = setTimeout(search, PAUSE_MS);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  start();
});
window.addEventListener("hashchange", () => {
  readLink();
  search();
});
$("settings").open = !matchMedia("(max-width: 34rem)").matches;
readLink(); // at once, so that what is typed while the runs are asked for stays
fields.q.focus(); // the attribute autofocus acts later, when the token may have been asked for
start();
