// The gateway's endpoints. The key lives in sessionStorage alone, goes into one header, and never into an address.

const KEY = "memo-ray-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the gateway, or the way to it, answers instead of what was asked for. `status` 0: it was not reached. */
export class Failure extends Error {
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The JSON of a GET. Throws Failure. */
export async function look(path, query = {}, signal) {
  const parameters = new URLSearchParams(query);
  const response = await request(parameters.size ? `${path}?${parameters}` : path, { signal });
  return response.json();
}

/** The server-sent events of a POST, as {event, data} with the data parsed. Throws Failure. */
export async function* stream(path, body, signal) {
  const response = await request(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  try {
    for await (const { event, data } of events(response.body)) {
      if (data === "[DONE]") return;
      const value = JSON.parse(data);
      if (value.error) throw new Failure(200, value.error.message, value.error.code);
      yield { event, data: value };
    }
  } catch (error) {
    throw error instanceof TypeError ? new Failure(0, "the connection broke before the answer was complete") : error;
  }
}

async function request(path, { headers = {}, ...options }) {
  const bearer = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  let response;
  try {
    // Relative to the page, which may lie below a proxy's path.
    response = await fetch(new URL(path, document.baseURI), {
      ...options,
      headers: { ...headers, ...bearer },
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "the gateway cannot be reached");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const wait = response.headers.get("Retry-After");
  const message = told.error?.message ?? `the gateway answered with status ${response.status}`;
  throw new Failure(response.status, wait ? `${message} (again in ${wait} s)` : message, told.error?.code ?? "");
}

/** The events of a stream of bytes. Comments, which only keep the connection open, are passed over. */
export async function* events(bytes) {
  let rest = "";
  const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = eventOf(block);
        if (found.data) yield found;
      }
    }
  } finally {
    // Who stops reading lets the gateway stop working.
    await reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const found = { event: "", data: "" };
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) found.event = line.slice(7);
    if (line.startsWith("data: ")) found.data += line.slice(6);
  }
  return found;
}
