// The page of `facecrypt ui`. The server holds the state; this shows it and sends orders.
const $ = (id) => document.getElementById(id);
const POLL = 400;
let picked = new Set();
let shownPhoto = "";
let shownState = "";
let version = 0;

async function call(method, path, body) {
  let answer;
  try {
    answer = await fetch(path, { method, body });
  } catch {
    throw new Error("facecrypt does not answer. If it was ended, start it again and open its new address.");
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

async function order(method, path, body) {
  say("");
  try {
    show(await call(method, path, body));
  } catch (error) {
    await refresh();
    say(error.message);
  }
}

async function refresh() {
  try {
    show(await call("GET", "status"));
  } catch (error) {
    say(error.message);
  }
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
  if (text) $("message").scrollIntoView({ block: "nearest" });
}

function show(status) {
  const { state, photo } = status;
  const active = state === "running";
  $("choose").hidden = Boolean(photo);
  $("drop").hidden = state === "looking";
  $("looking").hidden = state !== "looking";
  $("pick").hidden = !photo || active;
  $("running").hidden = !active;
  $("result").hidden = state !== "done";
  if (photo) showPhoto(photo, status.order);
  else shownPhoto = "";
  if (active) showProgress(status.progress);
  if (state !== shownState) {
    const before = shownState;
    shownState = state;
    if (status.message) say(status.message);
    if (state === "done") showResult(status);
    // Whoever listens or uses the keyboard is taken along, but not when the page opens.
    const next = { ready: "pick-title", cancelled: "pick-title", running: "running-title", done: "result-title" }[state];
    if (before && next) {
      $(next).focus({ preventScroll: true });
      $(next).scrollIntoView({ block: "nearest" });
    }
  }
  if (active || state === "looking") setTimeout(refresh, POLL);
}

function showPhoto(photo, order) {
  const key = JSON.stringify(photo);
  if (key === shownPhoto) return;
  shownPhoto = key;
  version += 1;
  const count = photo.faces.length;
  picked = new Set(order ? order.picked : photo.faces.keys());
  if (order) choose(order.strength, order.asked);
  $("name").textContent = `${photo.name}, ${photo.width} × ${photo.height}`;
  $("preview").src = `preview/original?${version}`;
  $("preview").alt = `${photo.name} with ${count} faces marked`;
  $("pick-help").textContent =
    count === 0
      ? "No face was found, so there is nothing to protect. Use a photo with a larger, unobstructed face."
      : count === 1
        ? "One face was found."
        : `${count} faces were found. Click a face to leave it out or take it in.`;
  $("many").hidden = count < 2;
  $("strength").hidden = $("start").hidden = count === 0;
  $("boxes").replaceChildren(...photo.faces.map((box, place) => faceButton(photo, box, place)));
  showPicked();
}

function choose(strength, asked) {
  document.querySelector(`input[name=strength][value="${CSS.escape(strength)}"]`).checked = true;
  if (strength === "protect" && asked) {
    $("asked").value = asked;
    showShare();
  }
}

function showShare() {
  $("share").textContent = `${Math.round(100 * $("asked").value)} %`;
}

function faceButton(photo, box, place) {
  const [left, top, right, bottom] = box;
  const button = document.createElement("button");
  const label = document.createElement("span");
  button.type = "button";
  button.style.left = `${(100 * left) / photo.width}%`;
  button.style.top = `${(100 * top) / photo.height}%`;
  button.style.width = `${(100 * (right - left)) / photo.width}%`;
  button.style.height = `${(100 * (bottom - top)) / photo.height}%`;
  button.setAttribute("aria-label", `Face ${place + 1}`);
  label.textContent = place + 1;
  button.append(label);
  button.addEventListener("click", () => {
    picked.has(place) ? picked.delete(place) : picked.add(place);
    showPicked();
  });
  return button;
}

function showPicked() {
  [...$("boxes").children].forEach((button, place) => button.setAttribute("aria-pressed", picked.has(place)));
  const count = picked.size;
  $("start").disabled = count === 0;
  $("start").textContent = count === 0 ? "Pick a face" : count === 1 ? "Protect 1 face" : `Protect ${count} faces`;
}

function showProgress({ step, steps, similarity }) {
  const bar = $("bar");
  if (step === 0) bar.removeAttribute("value");
  else bar.value = step / steps;
  $("phase").textContent =
    step === 0
      ? "Loading the recognisers …"
      : step < steps
        ? `Step ${step} of ${steps}`
        : "Writing the photo and looking at it as others will …";
  $("similarity").textContent =
    similarity === null ? "" : `Similarity to the original, as the surrogates see it: ${similarity.toFixed(2)}`;
}

function showResult({ result, photo, order }) {
  version += 1;
  $("download").href = fileAddress(result.name);
  $("download").download = result.name;
  $("download").textContent = `Download ${result.name}`;
  $("receipt").href = `${fileAddress("report.html")}?view`;
  $("encoding").textContent = `Saved as ${result.encoding}. The numbers below are those of this file, in which the faces were found afresh.`;
  $("summary").textContent = result.summary;
  $("summary").className = `verdict ${result.verdict.replaceAll(" ", "-")}`;
  const next = result.next;
  $("next").hidden = !next;
  if (next) {
    const label = next.preset && document.querySelector(`input[name=strength][value="${CSS.escape(next.preset)}"] ~ span b`);
    $("next").textContent = next.preset
      ? `Try again: ${label ? label.textContent : next.preset}`
      : `Try again: ask for ${Math.round(100 * next.protect)} %`;
    $("next").onclick = () => {
      choose(next.preset || "protect", next.protect);
      $("start").click();
    };
  }
  $("remarks").hidden = result.notes.length === 0;
  $("notes").replaceChildren(...result.notes.map((note) => element("p", note, "note")));
  const reports = result.faces.map((face, number) => faceReport(face, order.picked[number] + 1, photo));
  $("verdicts").replaceChildren(...reports);
  $("before").src = `preview/original?${version}`;
  $("after").src = `preview/protected?${version}`;
  $("receipts").replaceChildren(
    ...result.receipts.flatMap((name) => {
      const link = element("a", name);
      link.href = fileAddress(name);
      link.download = name;
      return [link, " "];
    }),
  );
}

function faceReport(face, number, photo) {
  const report = element("section", undefined, "face");
  const title = element("h3", `Face ${number}`);
  const closeups = element("div", undefined, "closeups");
  closeups.append(closeup("before", face.box, photo), closeup("after", face.box, photo));
  const level = face.level === null ? "" : ` Strength: ${face.level}.`;
  const text = element(
    "p", `Changed by at most ${face.max_abs} grey levels, JOD ${face.jod.monitor.toFixed(2)} of 10.${level}`,
  );
  const sentence = element("p", face.sentence);
  const table = element("table");
  const head = element("tr");
  head.append(
    element("th", "Recogniser"), element("th", "It says"), element("th", "Similarity (same person from)", "number"),
  );
  table.append(head);
  for (const [name, verdict] of Object.entries(face.recognisers)) {
    const row = element("tr");
    const still = verdict.still_recognised;
    const blind = verdict.cannot_judge;
    const says = blind
      ? `could not judge: ${blind}`
      : still === null ? "no verdict" : still ? "still the same person" : "another person";
    const similarity =
      verdict.similarity === null ? (blind ? "none" : "no face found") : verdict.similarity.toFixed(3);
    const threshold = verdict.threshold === null ? "unknown" : verdict.threshold.toFixed(3);
    row.append(
      element("td", name + (verdict.white_box ? "*" : "")),
      element("td", says, still === null ? "" : still ? "bad" : "good"),
      element("td", `${similarity} (${threshold})`, "number"),
    );
    table.append(row);
  }
  report.append(title, closeups, sentence, text, table);
  return report;
}

// A face at a size at which its mask can be seen, cut from one of the two pictures when that is there.
function closeup(picture, [left, top, right, bottom], photo) {
  const canvas = element("canvas");
  const side = 1.5 * Math.max(right - left, bottom - top);
  canvas.width = canvas.height = 320;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Close-up, ${picture === "before" ? "original" : "saved"}`);
  $(picture).addEventListener(
    "load",
    () => {
      const scale = $(picture).naturalWidth / photo.width;
      const corner = [(left + right - side) / 2, (top + bottom - side) / 2];
      const part = [...corner, side, side].map((value) => value * scale);
      canvas.getContext("2d").drawImage($(picture), ...part, 0, 0, canvas.width, canvas.height);
    },
    { once: true },
  );
  const figure = element("figure");
  figure.append(canvas, element("figcaption", picture === "before" ? "original" : "saved"));
  return figure;
}

function element(kind, text, className) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function fileAddress(name) {
  return `files/${encodeURIComponent(name)}`;
}

async function send(file) {
  if (!file) return;
  const limit = Number(document.body.dataset.maxUpload);
  if (file.size > limit) {
    say(`${file.name} is too large: at most ${limit / 1e6} MB. Scale it down, or use 'facecrypt run'.`);
    return;
  }
  $("drop").hidden = true;
  $("looking").hidden = false;
  await order("POST", `photo?name=${encodeURIComponent(file.name)}`, file);
  $("file").value = "";
}

$("file").addEventListener("change", (event) => send(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  if (!$("choose").hidden && !$("drop").hidden) send(event.dataTransfer.files[0]);
});
$("all").addEventListener("click", () => {
  picked = new Set([...$("boxes").children].keys());
  showPicked();
});
$("none").addEventListener("click", () => {
  picked = new Set();
  showPicked();
});
$("other").addEventListener("click", () => order("DELETE", "photo"));
$("asked")?.addEventListener("input", () => choose("protect", $("asked").value));
$("cancel").addEventListener("click", () => order("DELETE", "run"));
$("start").addEventListener("click", () => {
  const strength = document.querySelector("input[name=strength]:checked").value;
  const asked = strength === "protect" ? Number($("asked").value) : null;
  order("POST", "run", JSON.stringify({ faces: [...picked], strength, asked }));
});
refresh();
