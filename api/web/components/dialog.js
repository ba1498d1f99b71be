// A dialog of the browser, which keeps the focus and closes on Escape.
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";

export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => { dialog.current.showModal(); }, []);
  return html`<dialog ref=${dialog} onClose=${onClose} aria-label=${title}>
    <h2>${title}</h2>
    ${children}
  </dialog>`;
}

/** Ask before something that cannot be taken back. */
export function Confirm({ title, warning, verb, onConfirm, onClose }) {
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${warning}</p>
    <div class="row">
      <button type="button" onClick=${onClose}>Back</button>
      <button type="button" class="primary" onClick=${onConfirm}>${verb}</button>
    </div>
  </${Dialog}>`;
}
