/** What is not there of the stretch on the screen, as a list: the timeline for those who cannot see or point. */

import type { Lane } from "./footage.ts";
import { type Footage, holesBetween, length, type Span } from "./scale.ts";
import { FootageShape } from "./shapes.tsx";
import { footageWords, type Moment } from "./timeline.tsx";
import { useWords } from "./words.ts";

const MOST = 40;
/** The last seconds are always on their way. */
const ON_ITS_WAY_MS = 20_000;

interface Hole {
  readonly camera: string;
  readonly footage: Footage;
}

export function HoleList(props: {
  lanes: ReadonlyMap<string, Lane>;
  view: Span;
  now: number;
  onPlay: (moment: Moment) => void;
}) {
  const { lanes, view, now, onPlay } = props;
  const words = useWords();
  const known = [...lanes.values()].some((lane) => lane.state !== "loading");
  const nothing = ![...lanes.values()].some((lane) =>
    lane.footage.some((part) => part.state === "recorded" && part.from < view.to && part.to > view.from),
  );
  const holes: Hole[] = [...lanes]
    .flatMap(([camera, lane]) => holesBetween(lane.footage, view.from, view.to).map((footage) => ({ camera, footage })))
    .filter(({ footage }) => !(footage.state === "pending" && length(footage) < ON_ITS_WAY_MS && footage.to > now - ON_ITS_WAY_MS))
    .sort((a, b) => b.footage.from - a.footage.from)
    .slice(0, MOST);
  return (
    <section class="panel missing">
      <h2>{words.say("holes.title")}</h2>
      {known && holes.length === 0 && <p class="quiet">{words.say(nothing ? "holes.nothing" : "holes.none")}</p>}
      <ul class="holes">
        {holes.map(({ camera, footage }) => (
          <li key={camera + footage.from}>
            <button type="button" title={words.say("holes.play")} onClick={() => onPlay({ camera, time: footage.from })}>
              <FootageShape state={footage.state} />
              <span class="hole-time">
                {words.moment(footage.from, now)} – {words.time(footage.to)}
              </span>
              <b>{words.stretch(length(footage) / 1000)}</b>
              <span class="hole-camera">{camera}</span>
              <span class="hole-what">{footageWords(words, footage, footage.from, now)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
