// Whether the service answers, and whether it wants a token: shown in the header on every page.
import { useEffect, useState } from "preact/hooks";

const listeners = new Set();
let state = { isLost: false, tokenWanted: null, tokens: 0 };

function change(part) {
  if (Object.entries(part).every(([key, value]) => state[key] === value)) return;
  state = { ...state, ...part };
  for (const listener of listeners) listener(state);
}

export const connection = {
  lost: () => change({ isLost: true }),
  found: () => change({ isLost: false }),
  /** `reason`: what the service answered. */
  tokenWanted: (reason) => change({ tokenWanted: reason }),
  /** Everything is read again with the new token: `tokens` is its number. */
  tokenGiven: () => change({ tokenWanted: null, tokens: state.tokens + 1 }),
};

export function useConnection() {
  const [shown, setShown] = useState(state);
  useEffect(() => {
    listeners.add(setShown);
    setShown(state);
    return () => listeners.delete(setShown);
  }, []);
  return shown;
}
