/** A lane per camera on one axis of time. Hover tells, click plays, wheel zooms, drag moves; all of it by keys too. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Lane } from "./footage.ts";
import { bars, type Footage, footageAt, length, pan, positionOf, type Span, ticks, timeAt, zoom } from "./scale.ts";
import { FootageShape } from "./shapes.tsx";
import { useWords, type Words } from "./words.ts";

const LANE_PX = 44;
const AXIS_PX = 30;
const DRAG_PX = 4;

export interface Moment {
  readonly camera: string;
  readonly time: number;
}

interface Props {
  readonly lanes: ReadonlyMap<string, Lane>;
  readonly view: Span;
  /** The latest time that may be shown. */
  readonly latest: number;
  readonly now: number;
  readonly playhead: Moment | null;
  readonly onView: (view: Span) => void;
  readonly onPlay: (moment: Moment) => void;
  readonly onNow: () => void;
}

export function Timeline(props: Props) {
  const { lanes, view, latest, now, playhead, onView, onPlay, onNow } = props;
  const words = useWords();
  const area = useRef<HTMLDivElement>(null);
  const axis = useRef<HTMLDivElement>(null);
  const width = useWidth(axis);
  const [cursor, setCursor] = useState<Moment | null>(null);

  // What the wheel does depends on the view of the moment; the listener is set once, as it must not be passive.
  const turn = useRef<(event: WheelEvent) => void>(() => {});
  turn.current = (event) => {
    const left = axis.current?.getBoundingClientRect().left ?? 0;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      onView(pan(view, ((event.deltaX || event.deltaY) / width) * length(view), latest));
    } else {
      onView(zoom(view, Math.exp(event.deltaY * 0.0015), timeAt(view, width, event.clientX - left), latest));
    }
  };
  useEffect(() => {
    const element = area.current;
    const listener = (event: WheelEvent) => {
      event.preventDefault();
      turn.current(event);
    };
    element?.addEventListener("wheel", listener, { passive: false });
    return () => element?.removeEventListener("wheel", listener);
  }, []);

  const drag = useRef<{ x: number; view: Span; moved: boolean } | null>(null);
  const pointer = (camera: string) => ({
    onPointerDown: (event: PointerEvent) => {
      if (event.button !== 0) return;
      (event.currentTarget as Element).setPointerCapture(event.pointerId);
      drag.current = { x: event.clientX, view, moved: false };
    },
    onPointerMove: (event: PointerEvent) => {
      setCursor({ camera, time: timeAt(view, width, within(event)) });
      const start = drag.current;
      if (start === null) return;
      const by = event.clientX - start.x;
      start.moved ||= Math.abs(by) > DRAG_PX;
      if (start.moved) onView(pan(start.view, (-by / width) * length(start.view), latest));
    },
    onPointerUp: (event: PointerEvent) => {
      const start = drag.current;
      drag.current = null;
      if (start !== null && !start.moved) onPlay({ camera, time: timeAt(view, width, within(event)) });
    },
    onPointerCancel: () => {
      drag.current = null;
    },
    onPointerLeave: () => setCursor(null),
  });

  const keys = (camera: string) => (event: KeyboardEvent) => {
    const at = cursor?.camera === camera ? cursor.time : (playhead?.time ?? (view.from + view.to) / 2);
    const step = length(view) / (event.shiftKey ? 12 : 60);
    const move = (by: number) => {
      const time = Math.min(at + by, now);
      setCursor({ camera, time });
      if (time < view.from || time > view.to) onView(pan(view, by, latest));
    };
    const deeds: Record<string, () => void> = {
      ArrowLeft: () => move(-step),
      ArrowRight: () => move(step),
      PageUp: () => onView(pan(view, -0.8 * length(view), latest)),
      PageDown: () => onView(pan(view, 0.8 * length(view), latest)),
      "+": () => onView(zoom(view, 0.5, at, latest)),
      "=": () => onView(zoom(view, 0.5, at, latest)),
      "-": () => onView(zoom(view, 2, at, latest)),
      End: onNow,
      Enter: () => onPlay({ camera, time: at }),
      " ": () => onPlay({ camera, time: at }),
    };
    const deed = deeds[event.key];
    if (deed === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    deed();
  };

  return (
    <div class="timeline" ref={area}>
      {[...lanes].map(([camera, lane]) => {
        const hint = cursor?.camera === camera ? cursor.time : null;
        const told = hint ?? playhead?.time ?? now;
        return (
          <div class="lane" key={camera} data-camera={camera}>
            <span class="lane-name">{camera}</span>
            <div
              class="lane-track"
              role="slider"
              tabIndex={0}
              aria-label={words.say("timeline.lane", { camera })}
              aria-valuemin={Math.round(view.from / 1000)}
              aria-valuemax={Math.round(view.to / 1000)}
              aria-valuenow={Math.round(told / 1000)}
              aria-valuetext={`${words.moment(told, now)}, ${footageWords(words, footageAt(lane.footage, told), told, now)}`}
              onKeyDown={keys(camera)}
              onBlur={() => setCursor(null)}
              {...pointer(camera)}
            >
              <LaneBars footage={lane.footage} view={view} width={width} now={now} />
              {playhead !== null && inView(view, playhead.time) && (
                <i
                  class={`playhead${playhead.camera === camera ? " playhead-here" : ""}`}
                  style={{ left: `${positionOf(view, width, playhead.time)}px` }}
                />
              )}
              {cursor !== null && inView(view, cursor.time) && (
                <i class="cursor" style={{ left: `${positionOf(view, width, cursor.time)}px` }} />
              )}
              {lane.state === "loading" && <p class="lane-words waiting">{words.say("timeline.loading")}</p>}
              {lane.state === "failed" && (
                <p class="lane-words">
                  {words.say("timeline.failed", { why: lane.why || words.say("timeline.reason_unreached") })}
                </p>
              )}
              {hint !== null && (
                <Hint
                  x={positionOf(view, width, hint)}
                  width={width}
                  time={hint}
                  footage={footageAt(lane.footage, hint)}
                  now={now}
                />
              )}
            </div>
          </div>
        );
      })}
      <div class="lane lane-axis">
        <span class="lane-name axis-day">{words.day((view.from + view.to) / 2)}</span>
        <div class="axis" ref={axis}>
          <Axis view={view} width={width} />
        </div>
      </div>
    </div>
  );
}

function LaneBars(props: { footage: readonly Footage[]; view: Span; width: number; now: number }) {
  const { footage, view, width, now } = props;
  const nowX = Math.min(width, Math.max(0, positionOf(view, width, now)));
  return (
    <svg class="bars" width={width} height={LANE_PX} aria-hidden="true">
      <rect class="bar-none" x="0" y="0" width={nowX} height={LANE_PX} />
      {bars(footage, view, width).map(({ x, width: wide, footage: part }) => (
        <g key={`${part.state}${part.from}`} data-state={part.state} data-cause={part.cause ?? ""}>
          <rect class={`bar bar-${part.state}`} x={x} y="1" width={wide} height={LANE_PX - 2} />
          {part.state !== "recorded" && (
            <rect class={`bar-pattern pattern-${part.state}`} x={x} y="1" width={wide} height={LANE_PX - 2} />
          )}
        </g>
      ))}
      {nowX < width && nowX > 0 && <path class="now" d={`M${nowX} 0v${LANE_PX}`} />}
    </svg>
  );
}

function Axis({ view, width }: { view: Span; width: number }) {
  const words = useWords();
  const { stepMs, times } = ticks(view, width, 84, (time) => -new Date(time).getTimezoneOffset() * 60_000);
  return (
    <svg width={width} height={AXIS_PX} aria-hidden="true">
      {times.map((time) => {
        const x = positionOf(view, width, time);
        const local = new Date(time);
        const midnight = local.getHours() === 0 && local.getMinutes() === 0 && local.getSeconds() === 0;
        return (
          <g key={time} class={midnight ? "tick tick-midnight" : "tick"}>
            <path d={`M${x} 0v6`} />
            <text x={x} y="21" text-anchor={x < 24 ? "start" : x > width - 24 ? "end" : "middle"}>
              {midnight ? words.day(time) : stepMs < 60_000 ? words.time(time) : words.minute(time)}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

function Hint(props: { x: number; width: number; time: number; footage: Footage | null; now: number }) {
  const { x, width, time, footage, now } = props;
  const words = useWords();
  const side = x < 150 ? "hint-left" : x > width - 150 ? "hint-right" : "";
  return (
    <div class={`hint ${side}`} style={{ left: `${x}px` }}>
      <b>{words.moment(time, now)}</b>
      <span>
        {footage !== null && <FootageShape state={footage.state} />} {footageWords(words, footage, time, now)}
      </span>
      {footage !== null && footage.state !== "recorded" && (
        <small>
          {words.moment(footage.from, now)} – {words.time(footage.to)} · {words.stretch((footage.to - footage.from) / 1000)}
          {footage.detail !== "" && <em> · {words.sayOr(`detail.${footage.detail}`, footage.detail)}</em>}
        </small>
      )}
    </div>
  );
}

/** A stretch in plain words: its state, how far its time is to be trusted, and its cause where something is missing. */
export function footageWords(words: Words, footage: Footage | null, time: number, now: number): string {
  if (footage === null) return words.say(time > now ? "state.future" : "state.none");
  const state = words.say(`state.${footage.state}`);
  if (footage.state === "recorded") {
    if (footage.dating === null || footage.dating === "clock") return state;
    const error = footage.error_s === null ? "" : ` ± ${words.stretch(footage.error_s)}`;
    return `${state}, ${words.say(`dating.${footage.dating}`)}${error}`;
  }
  if (footage.cause !== null) return `${state}: ${words.say(`cause.${footage.cause}`)}`;
  return footage.state === "lost" ? `${state}: ${words.say("cause.none")}` : `${state}: ${words.say(`meaning.${footage.state}`)}`;
}

function inView(view: Span, time: number): boolean {
  return time >= view.from && time <= view.to;
}

function within(event: PointerEvent): number {
  return event.clientX - (event.currentTarget as Element).getBoundingClientRect().left;
}

function useWidth(element: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(600);
  useEffect(() => {
    if (element.current === null) return undefined;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(1, entry?.contentRect.width ?? 600)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
