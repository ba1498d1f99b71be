// Starts the page. Texts from the API become text nodes, never HTML: Preact escapes them.
import { html, render } from "htm/preact";
import { App } from "./app.js";

render(html`<${App} />`, document.getElementById("app"));
