// Conveniences only: every page works without this file.
"use strict";

// Copy buttons: shown only where a script can make them work.
for (const button of document.querySelectorAll("[data-copy]")) {
  const word = button.firstChild;
  button.hidden = false;
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // No clipboard on plain http: select the text, so that one key copies it.
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand("copy");
    }
    word.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { word.textContent = "Copy"; }, 2000);
  });
}

// A form is sent once. The buttons stay enabled: a disabled one would not send its value.
for (const form of document.querySelectorAll("form[data-once]")) {
  let sent = 0;
  form.addEventListener("submit", (event) => {
    if (Date.now() - sent < 5000) {
      event.preventDefault();
      return;
    }
    sent = Date.now();
    form.setAttribute("aria-busy", "true");
    setTimeout(() => form.removeAttribute("aria-busy"), 5000);
  });
  addEventListener("pageshow", () => {
    sent = 0;
    form.removeAttribute("aria-busy");
  });
}

// Consent: a server that is not ticked takes its tools with it.
for (const server of document.querySelectorAll("[data-server]")) {
  const itself = server.querySelector("input[name=server]");
  const tools = [...server.querySelectorAll("input[name=tool]")];
  const picked = server.querySelector("[data-picked]");
  const pick = server.querySelector("[data-pick]");

  const show = () => {
    const ticked = tools.filter((tool) => tool.checked).length;
    for (const control of [...tools, ...server.querySelectorAll("[data-pick] button")]) {
      control.disabled = !itself.checked;
    }
    if (picked) {
      picked.textContent = itself.checked && ticked < tools.length ? `${ticked} ticked` : "";
    }
  };
  const tick = (selector, wanted) => {
    server.querySelector(selector)?.addEventListener("click", () => {
      for (const tool of tools) tool.checked = wanted(tool);
      show();
    });
  };
  tick("[data-all]", () => true);
  tick("[data-none]", () => false);
  tick("[data-reading]", (tool) => "reads" in tool.dataset);
  if (pick) pick.hidden = tools.length < 2;
  server.addEventListener("change", show);
  // After "back" the browser restores the ticks without telling anybody.
  addEventListener("pageshow", show);
  show();
}

// Enter on a tick box would press the first button of the form: here only a button decides.
for (const form of document.querySelectorAll("[data-consent]")) {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.type === "checkbox") event.preventDefault();
  });
}

// Setup: say that the two passwords differ before the server has to.
for (const again of document.querySelectorAll("[data-same-as]")) {
  const first = document.getElementById(again.dataset.sameAs);
  const compare = () => {
    again.setCustomValidity(again.value === first.value ? "" : "The two passwords are not the same.");
  };
  first.addEventListener("input", compare);
  again.addEventListener("input", compare);
}

// An app with its own scheme (cursor://…) is opened at once; the link stays for when the browser refuses.
const onward = document.querySelector("[data-continue]");
if (onward && !/^\s*(javascript|data|vbscript|blob|file):/i.test(onward.dataset.continue)) {
  addEventListener("load", () => setTimeout(() => location.replace(onward.dataset.continue), 100));
}
