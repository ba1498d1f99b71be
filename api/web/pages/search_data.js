// The trials of a search: read once, then kept up to date by events and by what changed since.
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { useEvents, useEvery } from "../live.js";
import { empty, merged, withGains } from "../model/columns.js";
import { isFinal } from "../model/lifecycle.js";

const PROGRESS_MS = 3000;
const SETTLE_MS = 250; // events that come together are answered by one request
const SHOWN_EVENTS = 200;

/** Return `{trials, byName, classes, className, events, error}`; `search` may still be null, since both
 * are read at once. `onStatus` is called when the search itself changed. `className`: a class whose AP
 * is wanted; the one returned tells whose is there. */
export function useTrials(name, search, onStatus, className = null) {
  const path = `/searches/${name}`;
  const known = useRef(empty());
  const [state, setState] = useState({ known: null, error: null });
  const [events, setEvents] = useState([]);
  const wanted = useRef(className);
  wanted.current = className;
  const update = useCallback(async () => {
    const start = () => (known.current.className === className ? known.current : empty(className));
    try {
      const answer = await get(`${path}/columns?${new URLSearchParams({ since: start().event, ...(className !== null && { class_name: className }) })}`);
      if (wanted.current !== className) return; // another class was chosen meanwhile
      known.current = merged(start(), answer);
      setState({ known: known.current, error: null });
    } catch (error) {
      setState((old) => ({ ...old, error }));
    }
  }, [path, className]);
  useEffect(() => { update(); }, [path, className]);
  const timer = useRef(null);
  const since = state.known === null ? null : Math.max(0, state.known.event - SHOWN_EVENTS);
  useEvents(search && `${path}/events`, since, (batch) => {
    setEvents((old) => [...old, ...batch.filter((event) => event.number > (old.at(-1)?.number ?? 0))].slice(-SHOWN_EVENTS));
    const news = batch.filter((event) => event.number > known.current.event);
    if (news.length === 0) return;
    clearTimeout(timer.current);
    timer.current = setTimeout(update, SETTLE_MS);
    if (news.some((event) => event.subject === search.id)) onStatus();
  }, search && isFinal(search.status));
  const trials = useMemo(() => (state.known ? withGains(state.known.trials) : null), [state.known]);
  useEffect(() => {
    if (trials) requestAnimationFrame(() => performance.mark("searchd:trials")); // see benchmarks/page_load.py
  }, [trials === null]);
  const hasRunning = trials !== null && search !== null && !isFinal(search.status) && trials.some((trial) => trial.status === "running");
  useEvery(update, hasRunning ? PROGRESS_MS : null, [path]);
  return { trials, byName: useMemo(() => new Map((trials ?? []).map((trial) => [trial.name, trial])), [trials]), classes: state.known?.classes ?? [], className: state.known?.className ?? null, events, error: state.error };
}
