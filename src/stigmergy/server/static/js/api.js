// The server, asked and listened to. The token goes in a header, never in an address.

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 35_000; // The server says something at least every ten seconds.

export class Api {
  constructor({ base = "", token = null } = {}) {
    this.base = base;
    this.token = token;
  }

  get(path) {
    return this.request("GET", path);
  }

  post(path, body = {}) {
    // A write that is sent again because an answer got lost is done once.
    return this.request("POST", path, body, { "Idempotency-Key": crypto.randomUUID() });
  }

  async request(method, path, body, extra = {}) {
    const headers = { Accept: "application/json", ...this.authorization(), ...extra };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.base + path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "same-origin",
      });
    } catch {
      throw new ApiError(0, { title: "The server cannot be reached.", detail: "" });
    }
    const document = response.status === 204 ? {} : await response.json().catch(() => ({}));
    if (!response.ok) throw new ApiError(response.status, document ?? {});
    return document;
  }

  authorization() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  // Listens until `signal` is aborted; comes back after a failure, later each time.
  async listen(path, { signal, onEvent, onState }) {
    let wait = FIRST_WAIT_MS;
    let lastId = "";
    while (!signal.aborted) {
      try {
        await this.stream(path, lastId, signal, {
          onOpen: () => onState("live", ""),
          onEvent: (event) => {
            wait = FIRST_WAIT_MS;
            lastId = event.id || lastId;
            onEvent(event);
          },
        });
        onState("reconnecting", "the server ended the stream");
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && [401, 403].includes(error.status)) {
          onState("refused", error.message);
          return;
        }
        onState("reconnecting", error.message);
      }
      await pause(wait * (0.75 + Math.random() / 2), signal);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async stream(path, lastId, signal, { onOpen, onEvent }) {
    const silence = new AbortController();
    const stop = () => silence.abort();
    signal.addEventListener("abort", stop);
    let timer = setTimeout(stop, SILENCE_MS);
    try {
      const response = await fetch(this.base + path, {
        headers: {
          Accept: "text/event-stream",
          ...(lastId ? { "Last-Event-ID": lastId } : {}),
          ...this.authorization(),
        },
        cache: "no-store",
        signal: silence.signal,
      });
      if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
      onOpen();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser(onEvent);
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(stop, SILENCE_MS);
        parser.feed(value);
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      silence.abort();
    }
  }
}

// Server-sent events out of text that comes in pieces. Pure but for its callback.
export class EventParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = [];
    this.event = { type: "message", data: [], id: "" };
  }

  feed(text) {
    // A large snapshot comes in many pieces: they are joined once, at its line's end.
    let from = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", from)) {
      this.rest.push(text.slice(from, at));
      const line = this.rest.join("");
      this.rest = [];
      this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
      from = at + 1;
    }
    if (from < text.length) this.rest.push(text.slice(from));
  }

  line(line) {
    if (line === "") {
      if (this.event.data.length > 0) this.onEvent({ ...this.event, data: this.event.data.join("\n") });
      this.event = { type: "message", data: [], id: this.event.id };
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event.type = value;
    else if (name === "data") this.event.data.push(value);
    else if (name === "id") this.event.id = value;
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
