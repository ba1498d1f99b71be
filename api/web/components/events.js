// A list of events, newest first.
import { html } from "htm/preact";
import { Link, Status, Time } from "./parts.js";

/** `owner`: the resource that the events belong to; events of its trials link to them. */
export function EventList({ events, owner }) {
  if (events.length === 0) return html`<p class="quiet">None yet.</p>`;
  return html`<ul class="events small" tabindex="0" aria-label="Events, newest first">${[...events].reverse().map((event) => html`
    <li key=${event.number}>
      <span><${Time} at=${event.at} /> · <${Subject} event=${event} owner=${owner} /></span>
      <${Status} status=${event.status} />
      <span>${event.message}</span>
    </li>`)}</ul>`;
}

function Subject({ event, owner }) {
  if (event.subject === owner.id) return owner.name;
  const name = event.subject.replace(`${owner.id}-`, "trial ");
  return html`<${Link} page="detectors" name=${event.subject}>${name}</${Link}>`;
}
