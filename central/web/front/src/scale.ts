/** The arithmetic of the timeline: which time is where, what is drawn, which times are written. No document here. */

import type { Dating, FootageState, LossCause } from "./api.ts";

/** A stretch of time, Unix ms. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

export interface Footage extends Span {
  readonly state: FootageState;
  readonly cause: LossCause | null;
  readonly detail: string;
  readonly dating: Dating | null;
  readonly error_s: number | null;
}

export interface Bar {
  readonly x: number;
  readonly width: number;
  readonly footage: Footage;
}

export const MIN_SPAN_MS = 60_000;
export const MAX_SPAN_MS = 86_400_000;
/** Narrower than this a hole could be overlooked. */
export const MIN_HOLE_PX = 3;

export function length(span: Span): number {
  return span.to - span.from;
}

export function timeAt(span: Span, widthPx: number, x: number): number {
  return span.from + (x / widthPx) * length(span);
}

export function positionOf(span: Span, widthPx: number, time: number): number {
  return ((time - span.from) / length(span)) * widthPx;
}

/** The span `factor` times as long in which `anchor` stays where it is, between a minute and a day, not after `latest`. */
export function zoom(span: Span, factor: number, anchor: number, latest: number): Span {
  const wanted = Math.min(MAX_SPAN_MS, Math.max(MIN_SPAN_MS, length(span) * factor));
  const from = anchor - ((anchor - span.from) / length(span)) * wanted;
  return clamp({ from, to: from + wanted }, latest);
}

export function pan(span: Span, byMs: number, latest: number): Span {
  return clamp({ from: span.from + byMs, to: span.to + byMs }, latest);
}

function clamp(span: Span, latest: number): Span {
  const over = Math.max(0, span.to - latest);
  return { from: span.from - over, to: span.to - over };
}

/**
 * What is drawn of `footage` (in order of time) on `widthPx` pixels: recorded stretches as they are, holes at least
 * MIN_HOLE_PX wide, a hole that would hide within another of the same state and cause joined to it.
 */
export function bars(footage: readonly Footage[], span: Span, widthPx: number): Bar[] {
  const drawn: Bar[] = [];
  for (const part of footage) {
    if (part.to <= span.from || part.from >= span.to) continue;
    const left = Math.max(0, positionOf(span, widthPx, part.from));
    const right = Math.min(widthPx, positionOf(span, widthPx, part.to));
    const width = part.state === "recorded" ? right - left : Math.max(MIN_HOLE_PX, right - left);
    const x = Math.min(left, widthPx - width);
    const before = drawn.findLast((bar) => bar.footage.state !== "recorded");
    if (
      before !== undefined &&
      part.state === before.footage.state &&
      part.cause === before.footage.cause &&
      x < before.x + before.width
    ) {
      drawn[drawn.indexOf(before)] = { ...before, width: Math.max(before.width, x + width - before.x) };
    } else {
      drawn.push({ x, width, footage: part });
    }
  }
  // Holes lie over what is recorded beside them.
  return [...drawn.filter((b) => b.footage.state === "recorded"), ...drawn.filter((b) => b.footage.state !== "recorded")];
}

export function footageAt(footage: readonly Footage[], time: number): Footage | null {
  return footage.find((part) => part.from <= time && time < part.to) ?? null;
}

/** The first recorded moment at or after `time`, or null when nothing is recorded from there on. */
export function nextRecorded(footage: readonly Footage[], time: number): number | null {
  const part = footage.find((p) => p.state === "recorded" && p.to > time);
  return part === undefined ? null : Math.max(part.from, time);
}

/** What is not recorded between two moments. */
export function holesBetween(footage: readonly Footage[], from: number, to: number): Footage[] {
  return footage.filter((part) => part.state !== "recorded" && part.from < to && part.to > from);
}

const STEPS_MS = [
  1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
  7_200_000, 10_800_000, 21_600_000,
] as const;

export interface Ticks {
  readonly stepMs: number;
  readonly times: number[];
}

/** Round local times at least `spacingPx` apart; `zoneMs(t)` is what local time is ahead of UTC at t. */
export function ticks(span: Span, widthPx: number, spacingPx: number, zoneMs: (time: number) => number): Ticks {
  const wanted = (length(span) * spacingPx) / Math.max(1, widthPx);
  const stepMs = STEPS_MS.find((step) => step >= wanted) ?? STEPS_MS[STEPS_MS.length - 1]!;
  const zone = zoneMs(span.from);
  const times: number[] = [];
  for (let time = Math.ceil((span.from + zone) / stepMs) * stepMs - zone; time <= span.to; time += stepMs) times.push(time);
  return { stepMs, times };
}
