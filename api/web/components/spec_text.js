// A spec as YAML, to read and to copy.
import { html } from "htm/preact";
import { toYaml } from "../model/spec_text.js";

export const SpecText = ({ spec }) => html`<pre class="spec" tabindex="0" aria-label="Spec as YAML">${toYaml(spec)}</pre>`;
