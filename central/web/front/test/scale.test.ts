import assert from "node:assert/strict";
import { test } from "node:test";
import type { FootageState, LossCause } from "../src/api.ts";
import {
  bars,
  type Footage,
  footageAt,
  holesBetween,
  length,
  MAX_SPAN_MS,
  MIN_HOLE_PX,
  MIN_SPAN_MS,
  nextRecorded,
  pan,
  positionOf,
  ticks,
  timeAt,
  zoom,
} from "../src/scale.ts";

const part = (from: number, to: number, state: FootageState = "recorded", cause: LossCause | null = null): Footage => ({
  from,
  to,
  state,
  cause,
  detail: "",
  dating: "clock",
  error_s: null,
});
const FOOTAGE = [part(0, 100), part(100, 160, "lost", "camera"), part(160, 300), part(300, 400, "pending")];

test("a position and its time belong together", () => {
  const view = { from: 1000, to: 3000 };
  assert.equal(positionOf(view, 500, timeAt(view, 500, 123)), 123);
});

test("zoom keeps the time under the pointer, between a minute and a day, not beyond the latest", () => {
  const hour = { from: 0, to: 3_600_000 };
  const near = zoom(hour, 0.5, 900_000, 10_000_000);
  assert.equal(positionOf(near, 100, 900_000), positionOf(hour, 100, 900_000));
  assert.equal(length(zoom(hour, 1e-9, 0, 10_000_000)), MIN_SPAN_MS);
  assert.equal(length(zoom(hour, 1e9, 0, 10_000_000)), MAX_SPAN_MS);
  assert.equal(zoom(hour, 4, 0, 3_700_000).to, 3_700_000);
});

test("pan stops at the latest", () => {
  assert.deepEqual(pan({ from: 0, to: 10 }, 100, 50), { from: 40, to: 50 });
});

test("a short hole is drawn wide enough to be seen, over what is beside it", () => {
  const day = { from: 0, to: 86_400_000 };
  const drawn = bars([part(0, 40_000_000), part(40_000_000, 40_002_000, "lost", "agent"), part(40_002_000, 86_400_000)], day, 900);
  assert.equal(drawn.at(-1)?.footage.state, "lost");
  assert.equal(drawn.at(-1)?.width, MIN_HOLE_PX);
});

test("a hundred short holes in a row become one bar, and none is lost", () => {
  const day = { from: 0, to: 86_400_000 };
  const many = Array.from({ length: 100 }, (_, i) => [
    part(i * 2000, i * 2000 + 1000),
    part(i * 2000 + 1000, i * 2000 + 2000, "lost", "camera"),
  ]).flat();
  const holes = bars(many, day, 900).filter((bar) => bar.footage.state === "lost");
  assert.equal(holes.length, 1);
  assert.ok(holes[0]!.width >= MIN_HOLE_PX);
});

test("what is outside of the view is not drawn", () => {
  assert.deepEqual(bars(FOOTAGE, { from: 500, to: 900 }, 100), []);
});

test("what is at a moment, and what comes next", () => {
  assert.equal(footageAt(FOOTAGE, 120)?.cause, "camera");
  assert.equal(footageAt(FOOTAGE, 999), null);
  assert.equal(nextRecorded(FOOTAGE, 50), 50);
  assert.equal(nextRecorded(FOOTAGE, 120), 160);
  assert.equal(nextRecorded(FOOTAGE, 350), null);
  assert.deepEqual(holesBetween(FOOTAGE, 90, 310).map((hole) => hole.state), ["lost", "pending"]);
});

test("ticks are round in local time, also where it is half an hour off", () => {
  const zone = 5.5 * 3_600_000;
  const { stepMs, times } = ticks({ from: 1_000_000, to: 1_000_000 + 6 * 3_600_000 }, 600, 80, () => zone);
  assert.ok(times.length > 2);
  for (const time of times) assert.equal((time + zone) % stepMs, 0);
});
