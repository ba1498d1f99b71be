// Short messages at the edge of the page: what an action did, or why it was refused.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";

const SHOWN_MS = 8000;
let show = () => {};
let number = 0;

/** Show a message; `kind` is "bad" for what was refused. */
export function tell(text, kind = "") {
  show({ text, kind, number: ++number });
}

export function Toasts() {
  const [toasts, setToasts] = useState([]);
  useEffect(() => {
    show = (toast) => {
      setToasts((shown) => [...shown, toast]);
      setTimeout(() => setToasts((shown) => shown.filter((each) => each !== toast)), SHOWN_MS);
    };
    return () => { show = () => {}; };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">${toasts.map((toast) => html`
    <div key=${toast.number} class="notice ${toast.kind}"><p>${toast.text}</p></div>`)}</div>`;
}
