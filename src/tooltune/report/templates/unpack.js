// The page's data: JSON as it is, or, where it is large, zlib in base64. `use` gets the object;
// `fail` is called where this browser cannot unpack.
function withData(holder, use, fail) {
  if (holder.dataset.packed === undefined) {
    use(JSON.parse(holder.textContent));
    return;
  }
  if (typeof DecompressionStream === "undefined") {
    fail();
    return;
  }
  const letters = atob(holder.textContent);
  holder.textContent = "";
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  new Response(stream).json().then(use, fail);
}

