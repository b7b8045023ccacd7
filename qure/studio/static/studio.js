"use strict";
// What a page cannot do without a script: pictures that are dropped or chosen, and keys.

const field = document.querySelector("#text");
const trouble = document.querySelector("#trouble");

function say(sentence) {
  trouble.textContent = sentence;
  trouble.hidden = false;
}

async function bring(file) {
  const most = Number(document.body.dataset.mostBytes);
  if (!file) return;
  if (file.size > most) return say(`The file is larger than ${Math.round(most / 1e6)} MB. Choose a smaller picture.`);
  trouble.hidden = true;
  try {
    const response = await fetch("/uploads", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    const answer = response.headers.get("Content-Type").startsWith("application/json") ? await response.json() : { error: await response.text() };
    if (answer.error) return say(answer.error);
    const form = document.querySelector("#ask");
    const address = new URLSearchParams({ r: answer.reference, t: field.value });
    for (const name of ["model", "group"]) if (form.elements[name]?.value) address.set(name, form.elements[name].value);
    location.assign(`/?${address}`);
  } catch {
    say("The page does not answer. Is it still running?");
  }
}

const drop = document.querySelector("#drop");
if (drop && !drop.dataset.closed) {
  drop.querySelector("input").addEventListener("change", (event) => bring(event.target.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") bring(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => bring(event.clipboardData.files[0]));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(input|select|textarea)$/i.test(event.target.tagName)) return;
  if (event.key === "/" && field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
  const answers = [...document.querySelectorAll("#answers a")];
  if (!answers.length) return;
  if (/^[0-9]$/.test(event.key)) answers[(Number(event.key) + 9) % 10]?.click();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const place = answers.indexOf(document.activeElement);
    answers[Math.min(Math.max(place + step, 0), answers.length - 1)].focus();
  }
});
