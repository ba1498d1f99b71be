// Calls of the API: the token, errors as the API words them, pages of lists, files.
import { connection } from "./connection.js";

const API = "api/v1";
const TOKEN = "searchd-token"; // stored until the tab is closed, for this tab alone

/** An answer of the API that is not what was asked for. */
export class Problem extends Error {
  constructor(status, { detail, errors = [] }) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

/** Send this token with every request from now on, until the tab is closed. */
export function rememberToken(token) {
  sessionStorage.setItem(TOKEN, token.trim());
  connection.tokenGiven();
}

/** Send a request; the response, or a Problem. A service that does not answer is reported once. */
export async function call(path, { headers = {}, ...options } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  if (token !== null) headers = { ...headers, Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(`${API}${path}`, { ...options, headers });
  } catch (error) {
    if (error.name !== "AbortError") connection.lost();
    throw error.name === "AbortError" ? error : new Problem(0, { detail: "The service does not answer." });
  }
  connection.found();
  if (response.ok) return response;
  const problem = new Problem(response.status, await detailOf(response));
  if (response.status === 401) connection.tokenWanted(problem.message);
  throw problem;
}

async function detailOf(response) {
  try {
    return await response.json();
  } catch { // a proxy in front of the service answers in HTML
    return { detail: `The answer was ${response.status} ${response.statusText}.` };
  }
}

export async function get(path, options) {
  return (await call(path, options)).json();
}

export const post = (path, body, headers) => send("POST", path, body, headers);
export const patch = (path, body) => send("PATCH", path, body);

async function send(method, path, body, headers = {}) {
  const response = await call(path, {
    method,
    headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}

export const remove = (path) => call(path, { method: "DELETE" });

/** Return every item of a list; `limit` stops earlier. */
export async function getAll(path, { limit = Infinity, pageSize = 500 } = {}) {
  const items = [];
  let token = null;
  do {
    const query = new URLSearchParams({ page_size: Math.min(pageSize, limit), ...(token && { page_token: token }) });
    const page = await get(`${path}?${query}`);
    items.push(...page.items);
    token = page.next_page_token;
  } while (token !== null && items.length < limit);
  return items;
}

/** Save a file of the API. A browser sends no token when it follows a link, so it is fetched here. */
export async function download(path) {
  const response = await call(path);
  const file = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = file;
  link.download = fileName(response.headers.get("Content-Disposition")) ?? path.split("/").pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(file), 60_000);
}

/** Return the name in a Content-Disposition header; null if it has none. */
export function fileName(disposition) {
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? "");
  const plain = /filename="?([^";]+)"?/i.exec(disposition ?? "");
  return encoded ? decodeURIComponent(encoded[1]) : plain ? plain[1] : null;
}
