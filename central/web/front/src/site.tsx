/** One crossing: its footage on a timeline and on the screen, how it is now, what happened. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { FootageState, Site } from "./api.ts";
import { Facts, NoteList, PresenceWord } from "./card.tsx";
import { EventList } from "./events.tsx";
import { useLanes } from "./footage.ts";
import { HoleList } from "./holes.tsx";
import { isFresh, judge } from "./judge.ts";
import { IDLE, type Playback, Player } from "./player.ts";
import { rememberMoment, type Route } from "./route.ts";
import { length, MAX_SPAN_MS, pan, type Span, zoom } from "./scale.ts";
import { Screen } from "./screen.tsx";
import { FootageShape, Icon } from "./shapes.tsx";
import { useCity, useNow, useShell } from "./shell.ts";
import { type Moment, Timeline } from "./timeline.tsx";
import { useWords } from "./words.ts";

const HOUR_MS = 3_600_000;
const SPANS_MS = [60_000, 600_000, HOUR_MS, 6 * HOUR_MS, MAX_SPAN_MS] as const;
const STATES: readonly FootageState[] = ["recorded", "pending", "lost", "unknown"];
/** Room to the right of now, so that what just comes in is not drawn on the edge. */
const MARGIN = 0.03;
const LEAD_MS = 5_000;

export function SitePage({ route }: { route: Route }) {
  const words = useWords();
  const city = useCity();
  const site = city.sites?.get(route.site);
  if (city.sites === null) {
    return <p class="said waiting">{words.say(city.contact === "lost" ? "contact.lost" : "city.loading")}</p>;
  }
  return (
    <>
      <nav class="crumbs">
        <a href="/">
          <Icon name="left" />
          {words.say("app.to_city")}
        </a>
      </nav>
      {site === undefined ? (
        <section class="said">
          <h1>{words.say("site.unknown", { site: route.site })}</h1>
        </section>
      ) : (
        <Crossing site={site} route={route} peakS={city.peaks.get(site.site) ?? 0} old={city.contact === "lost"} />
      )}
    </>
  );
}

function Crossing({ site, route, peakS, old }: { site: Site; route: Route; peakS: number; old: boolean }) {
  const words = useWords();
  const shell = useShell();
  const now = useNow();
  const cameras = site.cameras.map((camera) => camera.camera);

  const [view, setView] = useViewOf(route, now, now - Date.parse(site.enrolled_at));
  const latest = now + MARGIN * length(view);
  const lanes = useLanes(site.site, cameras, view);

  const video = useRef<HTMLVideoElement>(null);
  const [playback, setPlayback] = useState<Playback>(IDLE);
  const player = useRef<Player | null>(null);
  useEffect(() => {
    if (video.current === null) return undefined;
    const made = new Player(video.current, shell.api, site.site, setPlayback);
    player.current = made;
    if (route.atMs !== null && route.camera !== null) void made.play(route.camera, route.atMs);
    return () => made.end();
  }, [shell, site.site]);

  const play = ({ camera, time }: Moment) => {
    rememberMoment(camera, time);
    void player.current?.play(camera, time);
  };
  const playhead = useMemo(
    () => (playback.wallMs === null ? null : { camera: playback.camera, time: playback.wallMs }),
    [playback.camera, playback.wallMs],
  );
  // The picture runs out of the view: go along.
  useEffect(() => {
    if (playback.phase === "playing" && playhead !== null && playhead.time > view.to) {
      setView(pan(view, 0.8 * length(view), latest));
    }
  }, [playhead]);

  return (
    <article class={`site${old ? " old" : ""}`} data-site={site.site}>
      <header class="site-head">
        <h1>{site.name}</h1>
        <PresenceWord site={site} />
        <NoteList notes={judge(site, now)} />
      </header>

      <div class="site-body">
        <Screen site={site.site} camera={cameras[0] ?? null} alive={isFresh(site, now)} video={video} playback={playback} player={player} />
        <aside class="panel">
          <Facts site={site} peakS={peakS} />
          <CameraList site={site} />
          <EventList site={site} />
        </aside>
      </div>

      <section class="panel footage">
        <div class="footage-head">
          <h2>{words.say("timeline.title")}</h2>
          <time class="footage-day">{words.longDay((view.from + view.to) / 2)}</time>
          <Tools view={view} now={now} latest={latest} onView={setView} />
        </div>
        {cameras.length === 0 ? (
          <p class="said">{words.say("camera.none")}</p>
        ) : (
          <Timeline
            lanes={lanes}
            view={view}
            latest={latest}
            now={now}
            playhead={playhead}
            onView={setView}
            onPlay={play}
            onNow={() => setView(pan(view, MAX_SPAN_MS * 366 * 50, latest))}
          />
        )}
        <ul class="key">
          {STATES.map((state) => (
            <li key={state}>
              <FootageShape state={state} />
              <b>{words.say(`state.${state}`)}</b> {words.say(`meaning.${state}`)}
            </li>
          ))}
        </ul>
        <p class="help">{words.say("timeline.help")}</p>
      </section>

      <HoleList
        lanes={lanes}
        view={view}
        now={now}
        onPlay={({ camera, time }) => play({ camera, time: time - LEAD_MS })}
      />
    </article>
  );
}

/** The stretch on the screen: around the moment of the address, else the last hour, moving along with now. */
function useViewOf(route: Route, now: number, siteAgeMs: number): [Span, (view: Span) => void] {
  // Of a site that is new there is little to see in an hour.
  const recent = siteAgeMs < HOUR_MS / 3 ? HOUR_MS / 6 : HOUR_MS;
  const start = (): Span =>
    route.atMs === null
      ? { from: now - recent * (1 - MARGIN), to: now + recent * MARGIN }
      : { from: route.atMs - HOUR_MS / 6, to: route.atMs + HOUR_MS / 6 };
  const [held, setHeld] = useState(() => ({ view: start(), follows: route.atMs === null }));
  const long = length(held.view);
  const to = now + MARGIN * long;
  const view = held.follows ? { from: to - long, to } : held.view;
  return [view, (next) => setHeld({ view: next, follows: next.to >= now + MARGIN * length(next) - 1500 })];
}

function Tools(props: { view: Span; now: number; latest: number; onView: (view: Span) => void }) {
  const { view, now, latest, onView } = props;
  const words = useWords();
  const long = length(view);
  const middle = (view.from + view.to) / 2;
  const atNow = view.to >= now;
  const anchor = atNow ? view.to : middle;
  const zoomTo = (factor: number) => {
    // At the right edge the margin beside now shrinks with the span.
    const next = zoom(view, factor, anchor, latest);
    onView(atNow ? pan(next, MAX_SPAN_MS, now + MARGIN * length(next)) : next);
  };
  const button = (icon: Parameters<typeof Icon>[0]["name"], label: string, deed: () => void) => (
    <button type="button" class="button icon-only" aria-label={label} title={label} onClick={deed}>
      <Icon name={icon} />
    </button>
  );
  return (
    <div class="tools">
      <div class="group" role="group" aria-label={words.say("timeline.span")}>
        {SPANS_MS.map((span) => (
          <button
            type="button"
            key={span}
            class="button"
            aria-pressed={Math.abs(long / span - 1) < 0.02}
            onClick={() => zoomTo(span / long)}
          >
            {words.stretch(span / 1000)}
          </button>
        ))}
      </div>
      <div class="group">
        {button("minus", words.say("timeline.zoom_out"), () => zoomTo(2))}
        {button("plus", words.say("timeline.zoom_in"), () => zoomTo(0.5))}
      </div>
      <div class="group">
        {button("left", words.say("timeline.earlier"), () => onView(pan(view, -0.5 * long, latest)))}
        {button("right", words.say("timeline.later"), () => onView(pan(view, 0.5 * long, latest)))}
        <button type="button" class="button" disabled={atNow} onClick={() => onView(pan(view, now - view.to + long, latest))}>
          {words.say("timeline.to_now")}
        </button>
      </div>
      <input
        type="date"
        aria-label={words.say("timeline.day")}
        value={localDate(middle)}
        max={localDate(now)}
        onChange={(event) => {
          const [year, month, day] = event.currentTarget.value.split("-").map(Number);
          if (year === undefined || month === undefined || day === undefined) return;
          const from = new Date(year, month - 1, day).getTime();
          onView(pan({ from, to: from + MAX_SPAN_MS }, 0, latest));
        }}
      />
    </div>
  );
}

function localDate(ms: number): string {
  const at = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

function CameraList({ site }: { site: Site }) {
  const words = useWords();
  return (
    <ul class="cameras">
      {site.cameras.map((camera) => (
        <li key={camera.camera} class={camera.recording ? "is-recording" : "not-recording"}>
          <i class="rec" />
          <b>{camera.camera}</b>
          <span>
            {words.say(camera.recording ? "camera.recording" : "camera.not_recording")}
            {!camera.recording && camera.cause !== null && `: ${words.say(`cause.${camera.cause}`)}`}
          </span>
          {camera.recording && camera.width !== null && camera.height !== null && (
            <small>
              {camera.codec?.toUpperCase()} {camera.width}×{camera.height}
              {camera.fps !== null && ` · ${words.number(camera.fps, 1)} fps`}
              {camera.bitrate_bps !== null && ` · ${words.number(camera.bitrate_bps / 1e6, 1)} Mbit/s`}
            </small>
          )}
        </li>
      ))}
    </ul>
  );
}
