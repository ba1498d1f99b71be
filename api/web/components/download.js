// A button that saves a file of the API.
import { html } from "htm/preact";
import { download } from "../api.js";
import { tell } from "./toasts.js";

export function Download({ path, children, label }) {
  const save = () => download(path).catch((problem) => tell(problem.message, "bad"));
  return html`<button type="button" class="small" onClick=${save} aria-label=${label}>${children ?? "Download"}</button>`;
}
