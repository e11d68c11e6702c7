/** A crossing at a glance. */

import type { Site } from "./api.ts";
import { BacklogBar, BatteryGauge, LinkChain } from "./instruments.tsx";
import { ageS, isFresh, judge, type Note, worst } from "./judge.ts";
import { sitePath } from "./route.ts";
import { LevelShape } from "./shapes.tsx";
import { useNow } from "./shell.ts";
import { Snapshot } from "./snapshot.tsx";
import { useWords, type Words } from "./words.ts";

/** More pictures than this are too small to tell anything. */
const PICTURES = 4;
const NOTES = 2;

export function SiteCard({ site, peakS }: { site: Site; peakS: number }) {
  const words = useWords();
  const now = useNow();
  const notes = judge(site, now);
  const level = worst(notes);
  const cameras = site.cameras.slice(0, PICTURES);
  return (
    <article class={`card level-${level}`} data-site={site.site} data-level={level}>
      <div class={`pictures pictures-${cameras.length}`}>
        {cameras.length === 0 && <p class="picture-words">{words.say("camera.none")}</p>}
        {cameras.map((camera) => (
          <Snapshot key={camera.camera} site={site.site} camera={camera.camera} alive={isFresh(site, now)} />
        ))}
      </div>
      <div class="card-said">
        <div class="card-head">
          <h2>
            <a href={sitePath(site.site)}>{site.name}</a>
          </h2>
          <PresenceWord site={site} />
        </div>
        <NoteList notes={notes.slice(0, NOTES)} />
      </div>
      <Facts site={site} peakS={peakS} />
    </article>
  );
}

export function Facts({ site, peakS }: { site: Site; peakS: number }) {
  const words = useWords();
  const now = useNow();
  const fresh = isFresh(site, now);
  const age = ageS(site.seen_at, now);
  return (
    <div class={`facts${fresh ? "" : " old"}`}>
      {!fresh && age !== null && (
        <p class="facts-age">{words.say("facts.last_known", { age: words.stretch(age) })}</p>
      )}
      <BatteryGauge power={site.power} readiness={site.readiness} fresh={fresh} />
      <LinkChain link={site.link} fresh={fresh} />
      <BacklogBar spool={site.spool} peakS={peakS} fresh={fresh} now={now} />
    </div>
  );
}

export function PresenceWord({ site }: { site: Site }) {
  const words = useWords();
  const now = useNow();
  const state = site.presence?.state ?? "never";
  const shown = state === "online" && !isFresh(site, now) ? "stale" : state;
  return <span class={`presence presence-${shown}`}>{words.say(`presence.${shown}`)}</span>;
}

export function NoteList({ notes }: { notes: readonly Note[] }) {
  const words = useWords();
  const now = useNow();
  return (
    <ul class="notes">
      {notes.map((note) => (
        <li key={note.key + JSON.stringify(note.values)} class={`note level-${note.level}`}>
          <LevelShape level={note.level} />
          <span>{noteText(words, note, now)}</span>
        </li>
      ))}
    </ul>
  );
}

function noteText(words: Words, note: Note, now: number): string {
  return words.say(note.key, {
    ...note.values,
    ...(note.seconds === undefined ? {} : { seconds: words.stretch(note.seconds) }),
    ...(note.word === undefined ? {} : { word: words.say(note.word) }),
    ...(note.at === undefined ? {} : { at: words.moment(note.at, now) }),
  });
}
