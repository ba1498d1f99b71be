// Fails a test whose value is not the expected one.
export function equal(actual, expected) {
  const [got, wanted] = [text(actual), text(expected)];
  if (got !== wanted) throw new Error(`got ${got}, expected ${wanted}`);
}

const text = (value) => JSON.stringify(value, (_, each) => (each instanceof Map || each instanceof Set ? [...each] : each === undefined ? "undefined" : each));
