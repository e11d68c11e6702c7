import assert from "node:assert/strict";
import { test } from "node:test";
import type { CameraState, Presence, Readiness, Site } from "../src/api.ts";
import { byNeed, isFresh, judge, STALE_S, worst } from "../src/judge.ts";

const NOW = Date.parse("2026-11-24T03:00:00Z");
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString();

const camera = (change: Partial<CameraState> = {}): CameraState => ({
  camera: "north",
  recording: true,
  cause: null,
  detail: "",
  codec: "h264",
  width: 1920,
  height: 1080,
  fps: 25,
  bitrate_bps: 4e6,
  picture: "ok",
  since: ago(600),
  at: ago(5),
  ...change,
});

const presence = (state: Presence["state"]): Presence => ({ state, at: ago(3600) });

const readiness = (change: Partial<Readiness> = {}): Readiness => ({
  why: "mains-unknown",
  dark_at: null,
  dark_earliest_at: null,
  dark_latest_at: null,
  survives: { "1": null, "2": null, "4": null },
  ...change,
});

const site = (change: Partial<Site> = {}): Site => ({
  site: "a",
  name: "A",
  latitude: null,
  longitude: null,
  presence: presence("online"),
  power: null,
  link: null,
  spool: null,
  host: null,
  readiness: readiness(),
  cameras: [camera()],
  seen_at: ago(5),
  enrolled_at: ago(9999),
  ...change,
});

const on = (supply: "battery" | "low") => ({
  supply,
  charge_percent: 50,
  voltage_v: null,
  runtime_s: null,
  runtime_low_s: null,
  runtime_high_s: null,
  step: "full" as const,
  reaches_target: null,
  source: "gpio",
  since: ago(300),
  at: ago(300),
});

const keys = (told: Site) => judge(told, NOW).map((note) => note.key);

test("calm is only said of a site that was heard of lately", () => {
  assert.deepEqual(keys(site()), ["note.recording"]);
  const old = site({ seen_at: ago(STALE_S + 1) });
  assert.equal(isFresh(old, NOW), false);
  assert.equal(worst(judge(old, NOW)), "silent");
  assert.deepEqual(keys(old), ["note.stale"]);
});

test("a site never heard of is silent, not fine", () => {
  assert.deepEqual(keys(site({ presence: null, seen_at: null, cameras: [] })), ["note.never"]);
});

test("an offline site is told by when it fell silent, not by when its will was written", () => {
  const [note] = judge(site({ presence: presence("offline"), seen_at: ago(60) }), NOW);
  assert.equal(note?.key, "note.offline");
  assert.equal(note?.at, Date.parse(ago(60)));
});

test("the battery of a site out of reach goes on running down", () => {
  const dark = (change: Partial<Readiness>) =>
    keys(site({ presence: presence("offline"), power: on("battery"), readiness: readiness(change) }));
  assert.deepEqual(dark({ dark_at: ago(-600), dark_latest_at: ago(-900) }), ["note.offline", "note.dark_in"]);
  assert.deepEqual(dark({ dark_at: ago(100), dark_latest_at: ago(-200) }), ["note.offline", "note.dark_about_now"]);
  assert.deepEqual(dark({ dark_at: ago(300), dark_latest_at: ago(1) }), ["note.offline", "note.dark"]);
  assert.deepEqual(dark({ dark_at: ago(1) }), ["note.offline", "note.dark"]);
  assert.deepEqual(dark({}), ["note.offline", "note.offline_on_battery"]);
});

test("a clock that was not set yet is told, and troubles nobody", () => {
  const told = site({ host: { temperature_c: null, clock: "unsynced", at: ago(5) } });
  assert.deepEqual(keys(told), ["note.recording", "note.clock"]);
  assert.equal(worst(judge(told, NOW)), "calm");
});

test("the worst comes first", () => {
  const told = site({
    power: on("battery"),
    readiness: readiness({ why: "battery", dark_at: ago(-60) }),
    cameras: [camera({ recording: false, cause: "camera" })],
  });
  assert.deepEqual(keys(told), ["note.not_recording", "note.battery_for"]);
  assert.equal(worst(judge(told, NOW)), "alarm");
});

test("crossings that need somebody come first, then by name", () => {
  const sites = [site({ site: "z", name: "Z" }), site({ site: "b", name: "B", presence: presence("offline") }), site()];
  assert.deepEqual(byNeed(sites, NOW).map((one) => one.site), ["b", "a", "z"]);
});

test("a settings file that cannot be used is for somebody to mend", () => {
  assert.deepEqual(keys(site({ detail: "not TOML" })), ["note.settings"]);
  assert.deepEqual(keys(site({ detail: "" })), ["note.recording"]);
});
