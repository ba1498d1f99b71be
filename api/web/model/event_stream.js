// Server-sent events from a stream of bytes. EventSource cannot send a token, so fetch reads them.

/** Yield the events of a response body, those that arrive together in one list. */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const [events, left] = parseEvents(rest + value);
    rest = left;
    if (events.length > 0) yield events;
  }
}

/** Return the data of the complete events of a text, and what is left of the last one. */
export function parseEvents(text) {
  const blocks = text.replaceAll("\r\n", "\n").split("\n\n");
  const rest = blocks.pop();
  return [blocks.map(dataOf).filter((data) => data !== null), rest];
}

function dataOf(block) {
  const lines = block.split("\n").filter((line) => line.startsWith("data:"));
  return lines.length === 0 ? null : JSON.parse(lines.map((line) => line.slice(5).trimStart()).join("\n"));
}
