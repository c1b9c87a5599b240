// What every page's script uses. Data becomes text nodes and nothing else: never markup, attributes
// that load, or code.
"use strict";
// A new element with a class and children; strings become text nodes.
function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const child of children) {
    if (child !== null && child !== undefined && child !== "") node.append(child);
  }
  return node;
}

