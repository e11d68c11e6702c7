/** The last picture of a camera, with its age; fetched only while it is in sight. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "./api.ts";
import { STALE_S } from "./judge.ts";
import { useNow, useShell } from "./shell.ts";
import { useWords } from "./words.ts";

const EVERY_MS = 20_000;

interface Picture {
  readonly url: string;
  readonly atMs: number | null;
}

export function Snapshot({ site, camera, alive }: { site: string; camera: string; alive: boolean }) {
  const words = useWords();
  const now = useNow();
  const { api } = useShell();
  const frame = useRef<HTMLElement>(null);
  const [picture, setPicture] = useState<Picture | null>(null);
  const [state, setState] = useState<"loading" | "none" | "failed" | "there">("loading");

  useEffect(() => {
    const stop = new AbortController();
    let shown: string | null = null;
    let inSight = false;
    const fetchOne = async () => {
      try {
        const latest = await api.snapshot(site, camera, stop.signal);
        if (latest === null) return setState("none");
        const url = URL.createObjectURL(latest.picture);
        if (shown !== null) URL.revokeObjectURL(shown);
        shown = url;
        setPicture({ url, atMs: latest.atMs });
        setState("there");
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        setState("failed");
      }
    };
    const watcher = new IntersectionObserver((entries) => {
      const comes = entries.some((entry) => entry.isIntersecting);
      if (comes && !inSight) void fetchOne();
      inSight = comes;
    });
    if (frame.current !== null) watcher.observe(frame.current);
    const timer = setInterval(() => {
      if (inSight && document.visibilityState === "visible") void fetchOne();
    }, EVERY_MS);
    return () => {
      stop.abort();
      watcher.disconnect();
      clearInterval(timer);
      if (shown !== null) URL.revokeObjectURL(shown);
    };
  }, [api, site, camera]);

  const age = picture?.atMs == null ? null : (now - picture.atMs) / 1000;
  const old = !alive || state === "failed" || (age !== null && age > STALE_S);
  return (
    <figure ref={frame} class={`picture${old ? " old" : ""}`}>
      {picture === null ? (
        <p class="picture-words">{words.say(`snapshot.${state === "there" ? "loading" : state}`)}</p>
      ) : (
        <img src={picture.url} alt={words.say("snapshot.alt", { camera })} />
      )}
      <figcaption>
        <b>{camera}</b>
        {age !== null && <span>{words.say("age.ago", { age: words.stretch(age) })}</span>}
      </figcaption>
    </figure>
  );
}
