/** The centre's JSON as this page reads it. The models in `central/web/models.py` are the authority; a test compares. */

/** RFC 3339, UTC. */
export type Instant = string;

export type LossCause = "camera" | "power" | "agent" | "stopped" | "disk" | "evicted" | "damaged" | "centre";
export type Reach = "up" | "down" | "unknown";
export type LinkPart = "port" | "uplink" | "centre" | "broker";

export interface Presence {
  state: "online" | "offline" | "asleep" | "stopping";
  /** When the agent wrote it. `offline` was written when it connected, to be told when it falls silent. */
  at: Instant;
}

export type Step =
  | "full"
  | "no-public-stream"
  | "no-backfill"
  | "sub-stream"
  | "no-picture-checks"
  | "cameras-in-turns"
  | "record-only"
  | "stop";

export interface Power {
  supply: "mains" | "battery" | "low" | "unknown";
  charge_percent: number | null;
  voltage_v: number | null;
  runtime_s: number | null;
  runtime_low_s: number | null;
  runtime_high_s: number | null;
  source: string;
  /** What is given up to spare the battery. */
  step: Step;
  reaches_target: boolean | null;
  since: Instant;
  at: Instant;
}

export interface Link extends Record<LinkPart, Reach> {
  broken: LinkPart | "none";
  rtt_ms: number | null;
  since: Instant;
  at: Instant;
}

export type PaceLimit = "none" | "cap" | "window" | "grant" | "energy";

export interface SpoolState {
  backlog_items: number;
  backlog_s: number;
  backlog_bytes: number;
  free_bytes: number;
  full_in_s: number | null;
  sent_bytes_per_s: number;
  drain_eta_s: number | null;
  /** When the site last found all that it had sent at the centre, or put it back into its line. */
  compared_at?: Instant | null;
  pace_bytes_per_s: number | null;
  pace_limit: PaceLimit;
  at: Instant;
}

export interface CameraState {
  camera: string;
  recording: boolean;
  cause: LossCause | null;
  detail: string;
  codec: string | null;
  width: number | null;
  height: number | null;
  fps: number | null;
  bitrate_bps: number | null;
  picture: "ok" | "black" | "frozen" | "blurred" | "unknown";
  since: Instant;
  at: Instant;
}

export interface Host {
  temperature_c: number | null;
  clock: "synced" | "holdover" | "unsynced";
  at: Instant;
}

/** What an outlook rests on. */
export type Why =
  | "battery"
  | "battery-unknown"
  | "overdue"
  | "asleep"
  | "mains"
  | "mains-charging"
  | "mains-unknown"
  | "unreachable"
  | "unknown";

export interface Readiness {
  why: Why;
  /** When the battery will be empty; null while on mains and while not known. */
  dark_at: Instant | null;
  dark_earliest_at: Instant | null;
  dark_latest_at: Instant | null;
  /** By hours without mains; null where it cannot be said. */
  survives: Record<string, boolean | null>;
}

export interface Site {
  site: string;
  name: string;
  latitude: number | null;
  longitude: number | null;
  presence: Presence | null;
  power: Power | null;
  link: Link | null;
  spool: SpoolState | null;
  host: Host | null;
  readiness: Readiness;
  cameras: CameraState[];
  /** What is wrong with its settings file; empty when nothing is. */
  detail?: string;
  /** When its last message came, by the centre's clock. */
  seen_at: Instant | null;
  enrolled_at: Instant;
}

export type FootageState = "recorded" | "pending" | "lost" | "unknown";

/** How the time of what is recorded is known. */
export type Dating = "clock" | "afterwards" | "bounded" | "unsynced";

export interface Interval {
  from: Instant;
  to: Instant;
  state: FootageState;
  cause: LossCause | null;
  detail: string;
  dating: Dating | null;
  /** How far the time may be off, where it is bounded and that is known. */
  error_s: number | null;
}

export interface SiteEvent {
  id: string;
  type: string;
  time: Instant;
  data: {
    camera?: string | null;
    cause?: LossCause | null;
    detail?: string;
    before?: string | null;
    after?: string | null;
    slept_s?: number | null;
    charge_percent?: number | null;
    runtime_s?: number | null;
    backlog_items?: number | null;
  };
}

/** Why the centre gave no answer that can be used: its own words where it spoke, else the HTTP status, else no contact. */
export class ApiError extends Error {
  readonly status: number | null;

  constructor(message: string, status: number | null) {
    super(message);
    this.status = status;
  }
}

/** How far the centre's clock is ahead of this computer's, in ms: ages are told by the centre's clock. */
export interface ServerClock {
  offsetMs: number;
}

const TIMEOUT_MS = 15_000;

export class Api {
  readonly clock: ServerClock = { offsetMs: 0 };

  async sites(signal?: AbortSignal): Promise<Site[]> {
    return ((await this.#json("/api/v1/sites", signal)) as { sites: Site[] }).sites;
  }

  async timeline(site: string, camera: string, fromMs: number, toMs: number, signal?: AbortSignal): Promise<Interval[]> {
    const path = `${cameraPath(site, camera)}/timeline?${range(fromMs, toMs)}`;
    return ((await this.#json(path, signal)) as { intervals: Interval[] }).intervals;
  }

  async events(site: string, limit: number, signal?: AbortSignal): Promise<SiteEvent[]> {
    const path = `/api/v1/events?site=${encodeURIComponent(site)}&limit=${limit}`;
    return ((await this.#json(path, signal)) as { events: { event: SiteEvent }[] }).events.map(({ event }) => event);
  }

  /** The camera's latest picture and when it was taken, null where the centre does not say; null when there is none. */
  async snapshot(
    site: string,
    camera: string,
    signal?: AbortSignal,
  ): Promise<{ picture: Blob; atMs: number | null } | null> {
    const answer = await this.#get(`${cameraPath(site, camera)}/snapshot.jpg`, signal);
    if (answer.status === 404) return null;
    if (!answer.ok) throw new ApiError(answer.statusText, answer.status);
    const taken = answer.headers.get("Last-Modified");
    return { picture: await answer.blob(), atMs: taken === null ? null : Date.parse(taken) };
  }

  async #json(path: string, signal?: AbortSignal): Promise<unknown> {
    const answer = await this.#get(path, signal);
    const body: unknown = await answer.json().catch(() => null);
    if (!answer.ok) {
      const problem = body as { title?: string; detail?: string } | null;
      throw new ApiError(problem?.detail || problem?.title || answer.statusText, answer.status);
    }
    return body;
  }

  async #get(path: string, signal?: AbortSignal): Promise<Response> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    try {
      const answer = await fetch(path, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
      const date = Date.parse(answer.headers.get("Date") ?? "");
      // The header counts whole seconds; half of one is the best guess of the rest.
      if (!Number.isNaN(date)) this.clock.offsetMs = date + 500 - Date.now();
      return answer;
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError("", null);
    }
  }
}

export function cameraPath(site: string, camera: string): string {
  return `/api/v1/sites/${encodeURIComponent(site)}/cameras/${encodeURIComponent(camera)}`;
}

export function range(fromMs: number, toMs: number): string {
  return new URLSearchParams({
    from: new Date(fromMs).toISOString(),
    to: new Date(toMs).toISOString(),
  }).toString();
}
