// The frame of every page: header, the page of the address, the form for a token.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { rememberToken } from "./api.js";
import { useConnection } from "./connection.js";
import { href, useRoute } from "./router.js";
import { Toasts } from "./components/toasts.js";

const PAGES = {
  home: () => import("./pages/home.js"),
  searches: () => import("./pages/search.js"),
  detectors: () => import("./pages/detector.js"),
  distillations: () => import("./pages/distillation.js"),
  pools: () => import("./pages/pool.js"),
  teachers: () => import("./pages/teacher.js"),
  datasets: () => import("./pages/dataset.js"),
  devices: () => import("./pages/device.js"),
  compare: () => import("./pages/compare.js"),
  submit: () => import("./pages/submit.js"),
};

export function App() {
  const route = useRoute();
  const { isLost, tokenWanted, tokens } = useConnection();
  useEffect(() => { document.title = `${route.name || route.page} · searchd`; }, [route.name, route.page]);
  return html`
    <a class="skip" href="#content" onClick=${skip}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/"><img src="icon.svg" alt="" />searchd</a>
      <nav aria-label="Pages">
        <a href="#/" aria-current=${route.page === "home" ? "page" : undefined}>Overview</a>
        <a href=${href("compare")} aria-current=${route.page === "compare" ? "page" : undefined}>Compare</a>
        <a href=${href("submit")} aria-current=${route.page === "submit" ? "page" : undefined}>Submit</a>
        <a href="openapi.json">API</a>
      </nav>
      <span class="connection small ${isLost ? "bad" : "quiet"}" role="status">${isLost ? "The service does not answer; trying again." : ""}</span>
    </header>
    <main id="content" tabindex="-1">
      ${tokenWanted !== null && html`<${TokenForm} reason=${tokenWanted} />`}
      <${Page} key=${`${route.page}/${route.name}/${tokens}`} route=${route} />
    </main>
    <${Toasts} />`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

/** The chosen page. Its module is loaded when it is first opened. */
function Page({ route }) {
  const [page, setPage] = useState(null);
  useEffect(() => {
    const load = PAGES[route.page];
    if (!load) return;
    load().then((module) => setPage(() => module.default));
    scrollTo(0, 0);
  }, []);
  if (!PAGES[route.page]) return html`<h1>No such page</h1><p><a href="#/">Overview</a></p>`;
  return page ? html`<${page} name=${route.name} options=${route.options} />` : null;
}

function TokenForm({ reason }) {
  const [token, setToken] = useState("");
  const enter = (event) => { event.preventDefault(); rememberToken(token); };
  return html`<form class="card" onSubmit=${enter} aria-label="Access token">
    <p><strong>This service needs an access token.</strong> ${reason}</p>
    <div class="row">
      <label>Access token <input type="password" autocomplete="off" required value=${token} onInput=${(event) => setToken(event.target.value)} /></label>
      <button class="primary">Use token</button>
    </div>
    <p class="small quiet">The operator creates one with <code>searchd token create</code>. Closing this tab forgets it.</p>
  </form>`;
}
