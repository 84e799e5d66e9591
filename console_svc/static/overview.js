// Keeps the feed of moves short.
"use strict";

document.addEventListener("htmx:after:swap", () => {
  const feed = document.querySelector("#feed");
  while (feed && feed.children.length > 50) feed.lastElementChild.remove();
});
