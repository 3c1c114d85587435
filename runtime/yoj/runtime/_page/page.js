"use strict";
(() => {
  const shown = document.getElementById("shown");
  const pagers = [...document.querySelectorAll(".pager")];
  if (!shown || !pagers.length) return;
  const first = document.createElement("template");
  first.innerHTML = shown.innerHTML;
  first.dataset.first = shown.dataset.first;
  const pages = [first, ...document.querySelectorAll("template[data-page]")];
  let page = 1;

  const show = (wanted) => {
    page = Math.min(Math.max(wanted, 1), pages.length);
    shown.replaceChildren(pages[page - 1].content.cloneNode(true));
    for (const pager of pagers) {
      pager.hidden = false;
      pager.querySelector(".where").textContent = `page ${page} of ${pages.length}`;
      for (const button of pager.querySelectorAll("button")) {
        const to = Number(button.dataset.to) || page + Number(button.dataset.step);
        button.disabled = to === page || to < 1 || to > pages.length;
      }
    }
  };
  const showLine = (line) => {
    let place = 0;
    while (place + 1 < pages.length && Number(pages[place + 1].dataset.first) <= line) place += 1;
    if (place + 1 !== page) show(place + 1);
    const found = document.getElementById(`line-${line}`);
    if (found) found.scrollIntoView();
  };
  const turn = (wanted) => {
    show(wanted);
    shown.scrollIntoView();
  };
  const follow = () => {
    const found = /^#line-(\d+)$/.exec(location.hash);
    if (found) showLine(Number(found[1]));
  };

  for (const pager of pagers) {
    pager.addEventListener("click", (event) => {
      const { to, step } = event.target.dataset;
      if (to || step) turn(Number(to) || page + Number(step));
    });
    pager.querySelector("input").addEventListener("change", (event) => {
      const line = parseInt(event.target.value, 10);
      if (line > 0) location.hash = `line-${line}`;
      else event.target.value = "";
    });
  }
  addEventListener("hashchange", follow);
  show(1);
  follow();
})();
