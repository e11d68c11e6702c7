/** Small drawings that say a state by their shape; colour only repeats it. */

import type { FootageState } from "./api.ts";
import type { Level } from "./judge.ts";

/** The mark: a zebra crossing and a light. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 28 24" aria-hidden="true">
      <path d="M1 3h4v18H1zM8 3h4v18H8zM15 3h4v18h-4z" />
      <circle class="mark-light" cx="24.4" cy="6.4" r="3.4" />
    </svg>
  );
}

/** Calm a disc, watch a diamond, alarm a triangle, silent a broken ring. */
export function LevelShape({ level }: { level: Level }) {
  return (
    <svg class={`shape level-${level}`} viewBox="0 0 16 16" aria-hidden="true">
      {level === "calm" && <circle class="fill" cx="8" cy="8" r="5" />}
      {level === "watch" && <path class="fill" d="M8 1.6 14.4 8 8 14.4 1.6 8z" />}
      {level === "alarm" && (
        <>
          <path class="fill" d="M8 1.2 15.4 14.4H.6z" />
          <path class="cut" d="M7.2 5.6h1.6v4.6H7.2zM7.2 11.2h1.6v1.6H7.2z" />
        </>
      )}
      {level === "silent" && <circle class="ring" cx="8" cy="8" r="5.4" />}
    </svg>
  );
}

/** What fills a bar of the timeline; the same in the key, the list of holes and the hint. */
export function FootageShape({ state }: { state: FootageState }) {
  return (
    <svg class="swatch" viewBox="0 0 22 12" aria-hidden="true">
      <rect class={`bar bar-${state}`} x="0.75" y="0.75" width="20.5" height="10.5" rx="2" />
      {state !== "recorded" && <rect class={`bar-pattern pattern-${state}`} x="0.75" y="0.75" width="20.5" height="10.5" rx="2" />}
    </svg>
  );
}

/** The patterns of the bars, once per page. */
export function Patterns() {
  return (
    <svg class="patterns" width="0" height="0" aria-hidden="true">
      <defs>
        <pattern id="pattern-pending" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect class="ink-pending" width="3.2" height="7" />
        </pattern>
        <pattern id="pattern-lost" width="9" height="9" patternUnits="userSpaceOnUse">
          <path class="ink-lost" d="M1.6 1.6l5.8 5.8M7.4 1.6L1.6 7.4" />
        </pattern>
        <pattern id="pattern-unknown" width="6" height="6" patternUnits="userSpaceOnUse">
          <circle class="ink-unknown" cx="3" cy="3" r="1.15" />
        </pattern>
      </defs>
    </svg>
  );
}

const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
  back: "M8 3V.6L3.6 4 8 7.4V5a4 4 0 1 1-4 4H2a6 6 0 1 0 6-6z",
  forward: "M8 3V.6L12.4 4 8 7.4V5a4 4 0 1 0 4 4h2a6 6 0 1 1-6-6z",
  full: "M2 2h5v1.8H3.8V7H2zM9 2h5v5h-1.8V3.8H9zM2 9h1.8v3.2H7V14H2zM12.2 9H14v5H9v-1.8h3.2z",
  left: "M10.5 2.2 4.7 8l5.8 5.8 1.3-1.3L7.3 8l4.5-4.5z",
  right: "M5.5 2.2 11.3 8l-5.8 5.8-1.3-1.3L8.7 8 4.2 3.5z",
  auto: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zm0 1.8v10.4A5.2 5.2 0 0 0 8 2.8z",
  dark: "M6.4 1.4a6.9 6.9 0 1 0 8.2 8.2A5.6 5.6 0 0 1 6.4 1.4z",
  light: "M8 4.6a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.8zM7.2.8h1.6v2.4H7.2zM7.2 12.8h1.6v2.4H7.2zM.8 7.2h2.4v1.6H.8zM12.8 7.2h2.4v1.6h-2.4z",
  plus: "M7.1 2.5h1.8v4.6h4.6v1.8H8.9v4.6H7.1V8.9H2.5V7.1h4.6z",
  minus: "M2.5 7.1h11v1.8h-11z",
} as const;

export function Icon({ name }: { name: keyof typeof ICONS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}
