/** The picture, the time on it, and its controls. */

import type { RefObject } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Playback, Player } from "./player.ts";
import { Icon } from "./shapes.tsx";
import { useNow } from "./shell.ts";
import { Snapshot } from "./snapshot.tsx";
import { footageWords } from "./timeline.tsx";
import { useWords } from "./words.ts";

const SPEEDS = [0.5, 1, 2, 4, 8] as const;
const SKIP_MS = 10_000;

export function Screen(props: {
  site: string;
  /** Whose last picture stands there until something is played. */
  camera: string | null;
  alive: boolean;
  video: RefObject<HTMLVideoElement | null>;
  playback: Playback;
  player: { readonly current: Player | null };
}) {
  const { video, playback, player } = props;
  const words = useWords();
  const now = useNow();
  const frame = useRef<HTMLElement>(null);
  const [speed, setSpeed] = useState(1);
  const { phase, skipped, trouble, wallMs } = playback;
  const asleep = phase === "idle" || phase === "failed" || phase === "loading";
  const control = (icon: Parameters<typeof Icon>[0]["name"], label: string, deed: () => void, off = asleep) => (
    <button type="button" class="button icon-only" aria-label={label} title={label} disabled={off} onClick={deed}>
      <Icon name={icon} />
    </button>
  );
  return (
    <section class={`screen phase-${phase}`} ref={frame} data-phase={phase} data-wall-ms={wallMs ?? ""}>
      <div class="screen-picture">
        {phase === "idle" && props.camera !== null && (
          <Snapshot site={props.site} camera={props.camera} alive={props.alive} />
        )}
        <video ref={video} playsInline muted onClick={() => player.current?.toggle()} />
        {wallMs !== null && phase !== "idle" && (
          <p class="screen-clock">
            <b>{words.time(wallMs)}</b>
            <span>
              {playback.camera} · {words.day(wallMs)}
            </span>
          </p>
        )}
        <div class="screen-words" role="status" aria-live="polite">
          {phase === "idle" && <p>{words.say("player.idle")}</p>}
          {phase === "loading" && <p class="waiting">{words.say("player.loading")}</p>}
          {phase === "ended" && <p>{words.say("player.ended")}</p>}
          {phase === "failed" && trouble !== null && (
            <p>
              {words.say(trouble, { what: footageWords(words, skipped, skipped?.from ?? now, now).toLowerCase() })}
            </p>
          )}
          {skipped !== null && phase !== "failed" && (
            <p class="skipped">
              {words.say("player.skipped", {
                from: words.time(skipped.from),
                to: words.time(skipped.to),
                what: footageWords(words, skipped, skipped.from, now).toLowerCase(),
              })}
            </p>
          )}
        </div>
      </div>
      <div class="controls">
        {control("back", words.say("player.back"), () => player.current?.skip(-SKIP_MS))}
        {control(
          phase === "playing" ? "pause" : "play",
          words.say(phase === "playing" ? "player.pause" : "player.play"),
          () => player.current?.toggle(),
        )}
        {control("forward", words.say("player.forward"), () => player.current?.skip(SKIP_MS))}
        <select
          aria-label={words.say("player.speed")}
          value={speed}
          onChange={(event) => {
            const chosen = Number(event.currentTarget.value);
            setSpeed(chosen);
            if (video.current !== null) video.current.defaultPlaybackRate = video.current.playbackRate = chosen;
          }}
        >
          {SPEEDS.map((value) => (
            <option key={value} value={value}>
              {words.number(value, 1)}×
            </option>
          ))}
        </select>
        {control("full", words.say("player.fullscreen"), () => void frame.current?.requestFullscreen(), false)}
      </div>
    </section>
  );
}
