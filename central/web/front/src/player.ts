/** Playing stored footage: from a moment on, over holes, into the next stretch; the time on the wall all along. */

import type Hls from "hls.js";
import { type Api, ApiError, cameraPath, range } from "./api.ts";
import { type Footage, footageAt, holesBetween, nextRecorded } from "./scale.ts";
import { readFootage } from "./footage.ts";
import type { Key } from "./words.ts";

export interface Playback {
  readonly phase: "idle" | "loading" | "playing" | "paused" | "ended" | "failed";
  readonly camera: string;
  /** The moment of the picture on the screen, Unix ms. */
  readonly wallMs: number | null;
  /** The hole that was just jumped. */
  readonly skipped: Footage | null;
  readonly trouble: Key | null;
}

export const IDLE: Playback = { phase: "idle", camera: "", wallMs: null, skipped: null, trouble: null };

/** One playlist spans this much; when it ends the next one is asked for. */
const WINDOW_MS = 30 * 60_000;
/** How far ahead of a click footage is looked for. */
const AHEAD_MS = 24 * 3600_000;
const SETTLED_MS = 2_000;
/** Closer than this to the end of a segment is its end: the segment is not to be played again. */
const FRAME_MS = 200;
const NOTICE_MS = 8_000;
/** Shorter than this is a stutter, not a hole. */
const HOLE_WORTH_TELLING_MS = 1_000;

export class Player {
  readonly #video: HTMLVideoElement;
  readonly #api: Api;
  readonly #site: string;
  readonly #tell: (playback: Playback) => void;
  #state: Playback = IDLE;
  #hls: Hls | null = null;
  #footage: readonly Footage[] = [];
  /** Counts the requests to play, so that the answer to an outdated one is dropped. */
  #request = 0;
  #notice: ReturnType<typeof setTimeout> | undefined;

  constructor(video: HTMLVideoElement, api: Api, site: string, tell: (playback: Playback) => void) {
    this.#video = video;
    this.#api = api;
    this.#site = site;
    this.#tell = tell;
    video.addEventListener("timeupdate", () => this.#progress(0));
    // At the brink of a hole the picture stops a little before it.
    video.addEventListener("waiting", () => this.#progress(0.5));
    video.addEventListener("playing", () => this.#set({ phase: "playing" }));
    video.addEventListener("pause", () => !video.ended && this.#hls !== null && this.#set({ phase: "paused" }));
    video.addEventListener("ended", () => void this.#goOn());
  }

  /** Play `camera` from `atMs`, or from the first footage after it; says what is missing in between. */
  async play(camera: string, atMs: number): Promise<void> {
    if (camera === this.#state.camera && this.#seekWithin(atMs)) return;
    this.#drop();
    this.#set({ ...IDLE, phase: "loading", camera, wallMs: atMs });
    await this.#begin(camera, atMs, (missing) =>
      this.#set({ phase: "failed", trouble: missing ? "player.nothing" : "player.no_footage", skipped: missing }),
    );
  }

  async #begin(camera: string, atMs: number, onNothing: (missing: Footage | null) => void): Promise<void> {
    const request = ++this.#request;
    try {
      const now = Date.now() + this.#api.clock.offsetMs;
      const footage = await readFootage(this.#api, this.#site, camera, atMs - 1000, Math.min(atMs + AHEAD_MS, now));
      if (request !== this.#request) return;
      const startMs = nextRecorded(footage, atMs);
      const missing = footageAt(footage, atMs);
      if (startMs === null) return onNothing(missing);
      this.#drop();
      this.#footage = footage;
      if (startMs > atMs) this.#jumped(missing);
      // A little behind now, by either clock: what ends in the past is complete, and no live stream.
      const endMs = Math.max(startMs + 1, Math.min(startMs + WINDOW_MS, now - SETTLED_MS));
      await this.#load(request, camera, startMs, endMs);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (request === this.#request) this.#set({ phase: "failed", trouble: "player.network" });
    }
  }

  toggle(): void {
    if (this.#hls === null) return;
    if (this.#video.paused) this.#run();
    else this.#video.pause();
  }

  skip(byMs: number): void {
    if (this.#state.wallMs !== null) void this.play(this.#state.camera, this.#state.wallMs + byMs);
  }

  end(): void {
    this.#request += 1;
    clearTimeout(this.#notice);
    this.#drop();
  }

  async #load(request: number, camera: string, startMs: number, endMs: number): Promise<void> {
    const { default: HlsPlayer } = await import("hls.js/light");
    if (request !== this.#request) return;
    if (!HlsPlayer.isSupported()) {
      this.#set({ phase: "failed", trouble: "player.unsupported" });
      return;
    }
    // The content policy allows no worker from a blob; repackaging is not needed for fragmented MP4 anyway.
    const hls = new HlsPlayer({ enableWorker: false, startPosition: 0, maxBufferLength: 20, backBufferLength: 60 });
    this.#hls = hls;
    hls.once(HlsPlayer.Events.LEVEL_UPDATED, () => {
      const position = this.#positionOf(startMs);
      if (position !== null && position > 0.1) this.#video.currentTime = position;
      this.#run();
    });
    hls.on(HlsPlayer.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      const codec = /codec/i.test(data.details);
      const network = data.type === HlsPlayer.ErrorTypes.NETWORK_ERROR;
      this.#drop();
      this.#set({ phase: "failed", trouble: codec ? "player.codec" : network ? "player.network" : "player.broken" });
    });
    hls.loadSource(`${cameraPath(this.#site, camera)}/playlist.m3u8?${range(startMs, endMs)}`);
    hls.attachMedia(this.#video);
  }

  /** Where `wallMs` lies on the video's own clock; null when it is not in this playlist, or in a hole. */
  #positionOf(wallMs: number): number | null {
    for (const part of this.#hls?.latestLevelDetails?.fragments ?? []) {
      const offset = part.programDateTime === null ? -1 : (wallMs - part.programDateTime) / 1000;
      if (!part.gap && offset >= 0 && offset < part.duration) return part.start + offset;
    }
    return null;
  }

  #seekWithin(wallMs: number): boolean {
    const position = this.#positionOf(wallMs);
    if (position === null || this.#state.phase === "failed") return false;
    this.#video.currentTime = position;
    this.#set({ wallMs, skipped: null });
    this.#run();
    return true;
  }

  #progress(brinkS: number): void {
    if (this.#hls === null || this.#video.seeking) return;
    this.#leap(brinkS);
    const wallMs = this.#hls.playingDate?.getTime() ?? null;
    const before = this.#state.wallMs;
    if (wallMs === null || wallMs === before) return;
    if (before !== null && wallMs > before) {
      const passed = holesBetween(this.#footage, before, wallMs).filter((h) => h.to - h.from >= HOLE_WORTH_TELLING_MS);
      if (passed.length > 0) this.#jumped(passed[passed.length - 1]!);
    }
    this.#set({ wallMs });
  }

  /** In a stretch that the playlist marks as a gap: go on where footage goes on. */
  #leap(brinkS: number): void {
    const parts = this.#hls?.latestLevelDetails?.fragments ?? [];
    const at = this.#video.currentTime;
    const gap = parts.findIndex((part) => part.gap && at >= part.start - brinkS && at < part.start + part.duration);
    if (gap < 0) return;
    const next = parts.slice(gap).find((part) => !part.gap);
    if (next !== undefined) this.#video.currentTime = next.start + 0.01;
    else void this.#goOn();
  }

  /** The playlist is at its end: on with what lies after it, if anything does; else its last picture stays. */
  async #goOn(): Promise<void> {
    const last = this.#hls?.latestLevelDetails?.fragments.findLast((part) => !part.gap);
    if (last?.programDateTime == null) return;
    const endMs = last.programDateTime + last.duration * 1000;
    await this.#begin(this.#state.camera, endMs + FRAME_MS, () => this.#set({ phase: "ended" }));
  }

  #jumped(hole: Footage | null): void {
    this.#set({ skipped: hole });
    clearTimeout(this.#notice);
    this.#notice = setTimeout(() => this.#set({ skipped: null }), NOTICE_MS);
  }

  /** A browser that forbids playing unasked leaves the first picture and the play button. */
  #run(): void {
    this.#video.play().catch(() => this.#state.phase === "loading" && this.#set({ phase: "paused" }));
  }

  #drop(): void {
    this.#hls?.destroy();
    this.#hls = null;
  }

  #set(change: Partial<Playback>): void {
    this.#state = { ...this.#state, ...change };
    this.#tell(this.#state);
  }
}
