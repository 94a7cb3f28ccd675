// Server-sent events, read with fetch. EventSource would do it in a line, but doesn't show the comments that
// a server sends to say that it is there: one that hangs couldn't be told from one with nothing to say.

const SILENCE = 40_000; // ms without even a comment, of which one comes every 15 s
const LONGEST_PAUSE = 8_000; // ms between two tries

/**
 * Listens for ever. `on.event(name, data)` may be asynchronous: what follows waits for it.
 * `on.lost(reason)` is called once for each connection that ends, and for each try that fails; with null after `leave`.
 */
export class Stream {
  lastId = null;
  #url;
  #on;
  #abort = new AbortController();
  #heard = Date.now();
  #wake = () => {};
  #left = false;

  constructor(url, on) {
    this.#url = url;
    this.#on = on;
  }

  async run() {
    for (let failed = 0; ; failed++) {
      this.#abort = new AbortController();
      this.#heard = Date.now();
      let reason = "the server closed it";
      try {
        for await (const { name, id, data } of this.#events()) {
          await this.#on.event(name, data, id);
          if (id) this.lastId = id;
          failed = 0;
        }
      } catch (error) {
        reason = error.message;
      }
      this.#abort.abort(); // gives back the connection, where it was we who found a fault
      this.#on.lost(this.#left ? null : reason);
      this.#left = false;
      await this.#pause(Math.min(1000 * 2 ** failed, LONGEST_PAUSE));
    }
  }

  /** For requests that belong to the present connection. */
  get signal() {
    return this.#abort.signal;
  }

  /** Hang up, until the page is seen again: the daemon sleeps only while nobody listens. */
  leave() {
    this.#left = true;
    this.#abort.abort(new Error("nobody looks"));
  }

  /** To be called now and then while the page is seen: gives up a connection on which nothing comes. */
  check() {
    if (Date.now() - this.#heard > SILENCE) this.#abort.abort(new Error("nothing came for 40s"));
    this.#wake();
  }

  /** Until the time is over, and the page is seen: nobody needs the news before. */
  async #pause(time) {
    const until = performance.now() + time; // whatever becomes of the clock
    while (document.hidden || performance.now() < until) {
      await new Promise((resolve) => (this.#wake = resolve)); // by check(), once a second
    }
  }

  async *#events() {
    const headers = this.lastId ? { "Last-Event-ID": this.lastId } : {};
    const response = await fetch(this.#url, { headers, signal: this.signal, cache: "no-store" });
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let name = "message";
    let id = "";
    let data = [];
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.#heard = Date.now();
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (field === "event") name = text;
        else if (field === "data") data.push(text);
        else if (field === "id") id = text;
        else if (line === "") {
          if (data.length) yield { name, id, data: JSON.parse(data.join("\n")) };
          [name, id, data] = ["message", "", []];
        }
      }
    }
  }
}
