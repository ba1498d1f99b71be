// The part of the address after #, for example #/searches/first?tab=lineage: which page is open.
import { useEffect, useState } from "preact/hooks";

/** Return the page, the name of what it shows, and its options. */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...name] = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { page: page || "home", name: name.join("/"), options: new URLSearchParams(query) };
}

/** Return the address of a page: href("compare", "", {searches: "a,b"}). */
export function href(page, name = "", options = {}) {
  const given = Object.entries(options).filter(([, value]) => value !== "" && value != null);
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${page}${name ? `/${encodeURIComponent(name)}` : ""}${query}`;
}

export function go(...address) {
  location.hash = href(...address);
}

/** The present route; a component that uses it is drawn again when it changes. */
export function useRoute() {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const follow = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
