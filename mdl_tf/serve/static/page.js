// The form is sent and the answer put in its place, without a new page. Everything works without
// this script, too, but for dropping and pasting.
"use strict";
(() => {
  const form = document.getElementById("search");
  const status = document.getElementById("status");
  const message = document.getElementById("message");
  // Pictures that were sent, so that a filter and the way back find them again.
  const pictures = [];
  let chosen = null;
  let waiting = null;
  document.documentElement.classList.add("scripted");

  const find = (id) => document.getElementById(id);

  function tell(text) {
    message.replaceChildren();
    if (text) {
      const line = document.createElement("p");
      line.textContent = text;
      message.append(line);
      message.scrollIntoView({ block: "nearest" });
    }
  }

  function size(bytes) {
    return `${(bytes / 2 ** 20).toFixed(1)} MB`;
  }

  // What the address says of a search: all but a picture.
  function address() {
    const values = new URLSearchParams();
    for (const name of ["id", "label", "k"]) {
      const value = form.elements[name]?.value;
      if (value) values.set(name, value);
    }
    return `/?${values}`;
  }

  function show(text, focus) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const told = page.getElementById("message")?.textContent.trim();
    if (told) {
      tell(told);
      return false;
    }
    if (!page.getElementById("results")) throw new Error("no page");
    for (const id of ["query", "results"]) find(id).replaceWith(page.getElementById(id));
    for (const name of ["label", "k"]) {
      const field = page.getElementById(name);
      if (field && form.elements[name]) form.elements[name].value = field.value;
    }
    tell("");
    status.textContent = find("title").textContent;
    if (focus) {
      find("title").focus({ preventScroll: true });
      if (find("title").getBoundingClientRect().top > innerHeight * 0.8) {
        find("results").scrollIntoView({ behavior: "smooth", block: "start" });
      }
    }
    return true;
  }

  async function search(focus, keep) {
    waiting?.abort();
    const mine = (waiting = new AbortController());
    const data = new FormData(form);
    data.delete("picture");
    // After the page was loaded anew the pictures are gone.
    if (pictures[chosen] && !data.get("id")) data.set("picture", pictures[chosen], "picture");
    const place = data.has("picture") ? address().replace(/id=[^&]*&?/, "") : address();
    find("results").setAttribute("aria-busy", "true");
    status.textContent = "Searching";
    try {
      const answer = await fetch("/", {
        method: "POST",
        body: data,
        headers: { Accept: "text/html" },
        signal: mine.signal,
      });
      const text = await answer.text();
      if (show(text, focus) && keep) history.pushState({ chosen }, "", place);
    } catch (error) {
      if (error.name === "AbortError") return;
      tell("The server does not answer. Is it still running?");
    } finally {
      if (waiting === mine) {
        find("results").setAttribute("aria-busy", "false");
        if (status.textContent === "Searching") status.textContent = "";
      }
    }
  }

  function send(file) {
    if (!file) return;
    const most = Number(form.dataset.most);
    if (file.size > most) {
      tell(`The picture of ${size(file.size)} is too large: ${size(most)} are taken.`);
      return;
    }
    if (!file.size) {
      tell("The picture is empty.");
      return;
    }
    chosen = pictures.push(file) - 1;
    form.elements.id.value = "";
    search(true, true);
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "picture") {
      send(event.target.files[0]);
      event.target.value = "";
    } else if (form.contains(event.target)) {
      search(false, true);
    }
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search(true, true);
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.hit");
    const plain = !(event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (!link || !plain) return;
    event.preventDefault();
    form.elements.id.value = new URL(link.href).searchParams.get("id");
    search(true, true);
    scrollTo({ top: 0, behavior: "smooth" });
  });

  addEventListener("popstate", (event) => {
    const values = new URLSearchParams(location.search);
    chosen = event.state?.chosen ?? null;
    for (const name of ["id", "label", "k"]) {
      const field = form.elements[name];
      if (field) field.value = values.get(name) ?? (name === "k" ? field.options[0].value : "");
    }
    search(false, false);
  });

  let depth = 0;
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragenter", (event) => {
    if (files(event)) {
      depth += 1;
      mark(true);
    }
  });
  addEventListener("dragleave", (event) => {
    if (files(event)) {
      depth = Math.max(0, depth - 1);
      mark(depth > 0);
    }
  });
  addEventListener("dragover", (event) => {
    if (files(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    depth = 0;
    mark(false);
    if (find("picture")) send(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file && find("picture")) {
      event.preventDefault();
      send(file);
    }
  });
})();
