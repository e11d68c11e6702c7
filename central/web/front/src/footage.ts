/** The timeline of a site's cameras as the centre knows it, kept fresh while it is looked at. */

import { useEffect, useState } from "preact/hooks";
import { type Api, ApiError } from "./api.ts";
import { type Footage, length, type Span } from "./scale.ts";
import { useShell } from "./shell.ts";

const EVERY_MS = 4_000;

export type Lane =
  | { readonly state: "loading"; readonly footage: readonly Footage[] }
  | { readonly state: "there"; readonly footage: readonly Footage[] }
  | { readonly state: "failed"; readonly footage: readonly Footage[]; readonly why: string };

const LOADING: Lane = { state: "loading", footage: [] };

export async function readFootage(
  api: Api,
  site: string,
  camera: string,
  fromMs: number,
  toMs: number,
  signal?: AbortSignal,
): Promise<Footage[]> {
  const intervals = await api.timeline(site, camera, fromMs, toMs, signal);
  return intervals
    .filter((interval) => interval.detail !== BEFORE)
    .map((interval) => ({ ...interval, from: Date.parse(interval.from), to: Date.parse(interval.to) }));
}

/** Before a camera's first footage nothing is missing; the centre calls that stretch unknown, in these words. */
const BEFORE = "before the first footage";

/** A lane per camera over the view and half of it to either side; the old answer stands until the new one is there. */
export function useLanes(site: string, cameras: readonly string[], view: Span): ReadonlyMap<string, Lane> {
  const shell = useShell();
  const [lanes, setLanes] = useState<ReadonlyMap<string, Lane>>(new Map());
  const half = Math.round(length(view) / 2);
  const from = Math.floor(view.from / half) * half - half;
  useEffect(() => {
    const stop = new AbortController();
    const read = async (camera: string) => {
      const put = (lane: (before: Lane) => Lane) => {
        if (!stop.signal.aborted) setLanes((all) => new Map(all).set(camera, lane(all.get(camera) ?? LOADING)));
      };
      const to = Math.min(from + 5 * half, shell.nowMs());
      if (to <= from) return put(() => ({ state: "there", footage: [] }));
      try {
        const footage = await readFootage(shell.api, site, camera, from, to, stop.signal);
        put(() => ({ state: "there", footage }));
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        put((before) => ({ state: "failed", footage: before.footage, why: error.message }));
      }
    };
    const readAll = () => cameras.forEach((camera) => void read(camera));
    readAll();
    const timer = setInterval(() => document.visibilityState === "visible" && readAll(), EVERY_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [shell, site, cameras.join(), from, half]);
  return new Map(cameras.map((camera) => [camera, lanes.get(camera) ?? LOADING]));
}
