// api.js - what the server says: JSON, problems as sentences, streams of steps, metrics.
//
// Paths are relative to the page, so that a proxy may serve it under any prefix.

import { recall, remember } from "./dom.js";

let key = recall("sessionStorage", "key");

export function useKey(value) {
  key = value;
  remember("sessionStorage", "key", value);
}

function headers(more) {
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

// An error whose message is a sentence for people.
export class Trouble extends Error {
  constructor(sentence, problem = {}) {
    super(sentence);
    this.pointer = problem.pointer;
    this.status = problem.status;
    this.type = problem.type;
  }
}

function sentenceOf(problem, retryAfter) {
  const again = retryAfter ? ` Try again in ${retryAfter === "1" ? "a second" : `${retryAfter} seconds`}.` : "";
  return `${problem.title}${problem.detail ? `: ${problem.detail}` : ""}.${again}`;
}

async function troubleOf(response) {
  if (response.status === 401) {
    document.dispatchEvent(new CustomEvent("key-wanted"));
    return new Trouble(key ? "The server does not know this API key. Enter another at the top of the page."
      : "This server asks for an API key. Enter it at the top of the page.", { status: 401 });
  }
  if (response.headers.get("Content-Type") !== "application/problem+json") {
    return new Trouble(`The server answered ${response.status}.`);
  }
  const problem = await response.json();
  return new Trouble(sentenceOf(problem, response.headers.get("Retry-After")), problem);
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble("The server cannot be reached.");
  }
  if (!response.ok) {
    throw await troubleOf(response);
  }
  return response;
}

export async function getModels() {
  return (await (await ask("models")).json()).models;
}

// Messages of a stream of server-sent events: [event, data] each.
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(part);
      if (found) {
        yield [found[1], JSON.parse(found[2])];
      }
    }
  }
}

// Posts to /solve and yields ["step" | "answer" | ..., data] as they come. Aborting frees the slots.
export async function* solve(body, signal) {
  const response = await ask("solve", {
    method: "POST",
    body: JSON.stringify(body),
    signal,
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
  });
  let whole = false;
  try {
    for await (const [event, data] of messages(response.body)) {
      if (event === "error") {
        throw new Trouble(sentenceOf(data.problem), data.problem);
      }
      whole = whole || event === "answer";
      yield [event, data];
    }
  } catch (error) {
    throw error instanceof Trouble || error.name === "AbortError" ? error : new Trouble("The connection broke.");
  }
  if (!whole) {
    throw new Trouble("The stream ended without an answer.");
  }
}

// The largest budget of an adaptation in seconds, or 0 where models are not adapted to tasks.
export async function getTaskSeconds() {
  try {
    return (await (await ask("tasks")).json()).seconds_limit;
  } catch (error) {
    if (error.status === 404) {
      return 0;
    }
    throw error;
  }
}

// Adapts a model to a task that it does not know: yields its status whenever that has changed, to the end.
export async function* adapt(body, signal) {
  const json = { "Content-Type": "application/json" };
  const begun = await (await ask("tasks", { method: "POST", body: JSON.stringify(body), signal, headers: json })).json();
  yield begun;
  const response = await ask(`tasks/${begun.id}`, { signal, headers: { Accept: "text/event-stream" } });
  for await (const [, status] of messages(response.body)) {
    yield status;
  }
}

export async function cancelTask(id) {
  await ask(`tasks/${id}`, { method: "DELETE" });
}

// A request to `path` for a shell; `body` is posted and its answer streamed. KEY stands for the key, which is not shown.
export function curl(path, body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const auth = key ? " -H 'Authorization: Bearer KEY'" : "";
  const address = quoted(String(new URL(path, document.baseURI)));
  return body === undefined ? `curl -s${auth} ${address}`
    : `curl -sN${auth} -H 'Accept: text/event-stream' ${address} \\\n    -d ${quoted(JSON.stringify(body))}`;
}

// The text format of Prometheus: {name: [{labels, value}]}.
export async function getMetrics() {
  const families = {};
  const text = await (await ask("metrics")).text();
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (found) {
      const labels = {};
      for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
        labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
      }
      (families[found[1]] ??= []).push({ labels, value: found[3] === "+Inf" ? Infinity : Number(found[3]) });
    }
  }
  return families;
}
