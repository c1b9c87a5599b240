// What every page's script uses. Data becomes text nodes and nothing else: never markup, attributes
// that load, or code.
"use strict";
// Control characters and those that turn the direction of text, by signs that can be seen.
function readable(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f\u0085\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (sign) => {
    const code = sign.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    return code === 127 ? "\u2421" : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

// A new element with a class and children; strings become text nodes.
function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  for (const child of children) {
    if (child === null || child === undefined || child === "" || child === false) continue;
    node.append(child instanceof Node ? child : readable(String(child)));
  }
  return node;
}

