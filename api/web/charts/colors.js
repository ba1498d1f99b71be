// The page's colours as a canvas needs them: values, where style.css has light-dark().
import { useEffect, useState } from "preact/hooks";

export const SERIES = ["accent", "base", "finish", "control", "good", "bad"];

/** Return the value of a colour of style.css, such as "accent", in the present scheme. */
export function color(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** "dark" or "light"; charts are drawn again when it changes. */
export function useScheme() {
  const [query] = useState(() => matchMedia("(prefers-color-scheme: dark)"));
  const [isDark, setDark] = useState(query.matches);
  useEffect(() => {
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return isDark ? "dark" : "light";
}
