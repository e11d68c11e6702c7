/** What is to be said of a site now, worst first. Pure: a site and the centre's time in, notes out. */

import type { Readiness, Site } from "./api.ts";
import type { Key } from "./words.ts";

/** `silent`: nothing is known now. Good news is only ever told of fresh facts. */
export type Level = "calm" | "watch" | "alarm" | "silent";

export interface Note {
  readonly level: Level;
  readonly key: Key;
  readonly values: Readonly<Record<string, string | number>>;
  /** Values that are seconds, bytes, moments or keys, to be put in words. */
  readonly seconds?: number;
  readonly word?: Key;
  readonly at?: number;
}

/** An online site publishes each fact at least once a minute; two missed in a row make it old. */
export const STALE_S = 130;
/** Less than this is under way at any time: segments are sent as they are finished. */
export const BACKLOG_WORTH_TELLING_S = 20;
const ROOM_SHORT_S = 6 * 3600;

export function ageS(at: string | null | undefined, nowMs: number): number | null {
  return at ? Math.max(0, (nowMs - Date.parse(at)) / 1000) : null;
}

/** Seconds until then, none once it is over; null where there is no such moment. */
export function leftS(at: string | null, nowMs: number): number | null {
  return at === null ? null : Math.max(0, (Date.parse(at) - nowMs) / 1000);
}

/** Whether the battery is past the latest moment at which it was to be empty. */
export function isOverdue({ dark_at, dark_latest_at }: Readiness, nowMs: number): boolean {
  return leftS(dark_latest_at ?? dark_at, nowMs) === 0;
}

/** Whether what the site last said still tells how it is. */
export function isFresh(site: Site, nowMs: number): boolean {
  const age = ageS(site.seen_at, nowMs);
  return age !== null && age <= STALE_S && (site.presence?.state === "online" || site.presence?.state === "stopping");
}

export function judge(site: Site, nowMs: number): Note[] {
  const { presence, power, link, spool, host } = site;
  if (presence === null) return [note("silent", "note.never")];
  if (presence.state === "asleep") return [note("alarm", "note.asleep", { at: Date.parse(presence.at) })];
  if (presence.state === "offline") {
    // The message itself was written when the agent connected; it came when the agent fell silent.
    const notes = [note("alarm", "note.offline", { at: Date.parse(site.seen_at ?? presence.at) })];
    // The countdown to dark goes on after contact is lost.
    if (power !== null && (power.supply === "battery" || power.supply === "low")) {
      const left = leftS(site.readiness.dark_at, nowMs);
      if (isOverdue(site.readiness, nowMs)) notes.push(note("alarm", "note.dark"));
      else if (left === null) notes.push(note("alarm", "note.offline_on_battery"));
      else if (left > 0) notes.push(note("alarm", "note.dark_in", { seconds: left }));
      else notes.push(note("alarm", "note.dark_about_now"));
    }
    return notes;
  }
  if (!isFresh(site, nowMs)) {
    const age = ageS(site.seen_at, nowMs);
    return [age === null ? note("silent", "note.never") : note("silent", "note.stale", { seconds: age })];
  }

  const notes: Note[] = [];
  if (presence.state === "stopping") notes.push(note("alarm", "note.stopping"));
  for (const camera of site.cameras) {
    const values = { camera: camera.camera };
    if (!camera.recording) {
      notes.push(note("alarm", "note.not_recording", { values, word: camera.cause ? `cause.${camera.cause}` : "cause.none" }));
    } else if (camera.picture === "black" || camera.picture === "frozen" || camera.picture === "blurred") {
      notes.push(note("watch", "note.picture", { values, word: `picture.${camera.picture}` }));
    }
  }
  const left = leftS(site.readiness.dark_at, nowMs);
  if (power?.supply === "low") notes.push(onBattery("alarm", "note.low", left));
  if (power?.supply === "battery") notes.push(onBattery("watch", "note.battery", left));
  if (link !== null && link.broken !== "none") {
    notes.push(note("watch", "note.link", { word: `link.${link.broken}` }));
  }
  if (spool?.full_in_s != null && spool.full_in_s < ROOM_SHORT_S) {
    notes.push(note("watch", "note.room", { seconds: spool.full_in_s }));
  }
  if (spool !== null && spool.backlog_s > BACKLOG_WORTH_TELLING_S) {
    notes.push(note("watch", "note.backlog", { seconds: spool.backlog_s }));
  }
  if (site.detail) notes.push(note("watch", "note.settings"));
  if (notes.length === 0) {
    notes.push(site.cameras.length === 0 ? note("silent", "note.no_cameras") : note("calm", "note.recording"));
  }
  // Footage is dated again once the clock is true: worth knowing, nothing to be done.
  if (host?.clock === "unsynced") notes.push(note("calm", "note.clock"));
  return notes.sort((a, b) => RANK[b.level] - RANK[a.level]);
}

export function worst(notes: readonly Note[]): Level {
  return notes[0]?.level ?? "silent";
}

/** Sites that need somebody first, then by name. */
export function byNeed(sites: readonly Site[], nowMs: number): Site[] {
  const rank = new Map(sites.map((site) => [site.site, RANK[worst(judge(site, nowMs))]]));
  return [...sites].sort((a, b) => rank.get(b.site)! - rank.get(a.site)! || a.name.localeCompare(b.name));
}

const RANK: Readonly<Record<Level, number>> = { alarm: 3, silent: 2, watch: 1, calm: 0 };

function note(level: Level, key: Key, more: Partial<Note> = {}): Note {
  return { level, key, values: {}, ...more };
}

function onBattery(level: Level, key: "note.low" | "note.battery", seconds: number | null): Note {
  return seconds === null ? note(level, key) : note(level, `${key}_for`, { seconds });
}
