// What keeps a page up to date: reading again after some seconds, and streams of events.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Problem, call } from "./api.js";
import { readEvents } from "./model/event_stream.js";

const MAX_WAIT_MS = 15_000;

/** Read now, when `inputs` change, and every `everyMs` while the tab is seen.
 *
 * `everyMs` may follow from the last value; null: not again. Returns `{value, error, again}`: the last value stays while a later read fails. */
export function useRead(read, inputs, everyMs = null) {
  const [state, setState] = useState({ value: null, error: null });
  const latest = useRef(0);
  const again = useCallback(async () => {
    const number = ++latest.current;
    try {
      const value = await read();
      if (number === latest.current) setState({ value, error: null });
    } catch (error) {
      if (number === latest.current) setState((old) => ({ ...old, error }));
    }
  }, inputs);
  useEffect(() => {
    setState({ value: null, error: null });
    again();
    return () => { latest.current += 1; };
  }, inputs);
  useEvery(again, typeof everyMs === "function" ? everyMs(state.value) : everyMs, inputs);
  return { ...state, again };
}

/** Call a function every `everyMs` while the tab is seen; the next call waits for the last one. */
export function useEvery(action, everyMs, inputs = []) {
  useEffect(() => {
    if (everyMs === null) return undefined;
    let timer = setTimeout(tick, everyMs);
    async function tick() {
      if (!document.hidden) await action();
      if (timer !== null) timer = setTimeout(tick, everyMs);
    }
    return () => { clearTimeout(timer); timer = null; };
  }, [everyMs, ...inputs]);
}

/** Follow a stream of events from the event after `since`; `onEvents` gets those that came together.
 *
 * A broken stream is opened again where it broke, after a pause that grows to 15 s. One that has ended
 * is opened again when `key` changes. */
export function useEvents(path, since, onEvents, key) {
  const handler = useRef(onEvents);
  handler.current = onEvents;
  useEffect(() => {
    if (path === null || since === null) return undefined;
    const stop = new AbortController();
    follow(path, since, (events) => handler.current(events), stop.signal);
    return () => stop.abort();
  }, [path, since === null, key]);
}

async function follow(path, since, onEvents, signal) {
  let number = since;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const response = await call(path, { signal, headers: { "Last-Event-ID": String(number) } });
      for await (const events of readEvents(response.body)) {
        number = events.at(-1).number;
        wait = 500;
        onEvents(events);
      }
      return; // the resource has ended
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && refused(error))) return;
    }
    await new Promise((resume) => setTimeout(resume, wait));
    wait = Math.min(2 * wait, MAX_WAIT_MS);
  }
}

/** Whether asking again would be refused again. A token may be given, or a rate fall, meanwhile. */
function refused({ status }) {
  return status >= 400 && status < 500 && status !== 401 && status !== 429;
}
