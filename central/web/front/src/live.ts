/** The city as it is now: fetched once, then kept by the centre's stream; and whether the page still hears the centre. */

import { type Api, ApiError, type Site } from "./api.ts";
import { BACKLOG_WORTH_TELLING_S } from "./judge.ts";

export type Contact = "connecting" | "live" | "lost";

export interface City {
  /** Null until the first answer. */
  readonly sites: ReadonlyMap<string, Site> | null;
  readonly contact: Contact;
  /** The centre's time at which it last answered or spoke, Unix ms. */
  readonly heardMs: number | null;
  /** Why there is no contact, in the centre's words where it gave some. */
  readonly trouble: string;
  /** The largest backlog since it was last empty, in seconds by site: what a progress bar measures against. */
  readonly peaks: ReadonlyMap<string, number>;
}

/** Without a word for this long the centre is asked, as a stream on a dead connection stays silent for ever. */
const QUIET_MS = 15_000;
const RETRY_MS = 3_000;

export class Live {
  readonly #api: Api;
  readonly #listeners = new Set<() => void>();
  #city: City = { sites: null, contact: "connecting", heardMs: null, trouble: "", peaks: new Map() };
  #stream: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(api: Api) {
    this.#api = api;
  }

  get city(): City {
    return this.#city;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    this.#open();
    void this.refresh();
  }

  /** Ask for everything anew; the way back after a break, and the retry button. */
  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const sites = await this.#api.sites();
      this.#heard(new Map(sites.map((site) => [site.site, site])));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#set({ contact: "lost", trouble: error.message });
      this.#ask(RETRY_MS);
      return;
    }
    if (this.#stream?.readyState === EventSource.CLOSED) this.#open();
  }

  #open(): void {
    this.#stream?.close();
    const stream = new EventSource("/api/v1/stream");
    this.#stream = stream;
    stream.addEventListener("site", (message: MessageEvent<string>) => {
      const site = JSON.parse(message.data) as Site;
      this.#heard(new Map([...(this.#city.sites ?? []), [site.site, site]]));
    });
    // What changed during a break was not streamed.
    stream.addEventListener("open", () => {
      if (this.#city.contact === "lost") void this.refresh();
    });
    stream.addEventListener("error", () => {
      if (this.#city.contact !== "lost") void this.refresh();
    });
  }

  #heard(sites: ReadonlyMap<string, Site>): void {
    const peaks = new Map<string, number>();
    for (const { site, spool } of sites.values()) {
      if (spool !== null && spool.backlog_s > BACKLOG_WORTH_TELLING_S) {
        peaks.set(site, Math.max(spool.backlog_s, this.#city.peaks.get(site) ?? 0));
      }
    }
    this.#set({ sites, peaks, contact: "live", trouble: "", heardMs: Date.now() + this.#api.clock.offsetMs });
    this.#ask(QUIET_MS);
  }

  #ask(inMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), inMs);
  }

  #set(change: Partial<City>): void {
    this.#city = { ...this.#city, ...change };
    for (const listener of this.#listeners) listener();
  }
}
