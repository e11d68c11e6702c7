/** The first page: one sentence on the city, then a card per crossing, those that need somebody first. */

import { SiteCard } from "./card.tsx";
import { byNeed, judge, type Level, worst } from "./judge.ts";
import { useCity, useNow, useShell } from "./shell.ts";
import { LevelShape } from "./shapes.tsx";
import { useWords, type Words } from "./words.ts";

const LEVELS: readonly Level[] = ["alarm", "silent", "watch", "calm"];

export function CityPage() {
  const words = useWords();
  const city = useCity();
  const now = useNow();
  const { live } = useShell();

  if (city.sites === null) {
    if (city.contact !== "lost") return <p class="said waiting">{words.say("city.loading")}</p>;
    return (
      <section class="said">
        <h1>{words.say("city.failed")}</h1>
        <p>{city.trouble || words.say("timeline.reason_unreached")}</p>
        <button type="button" class="button" onClick={() => void live.refresh()}>
          {words.say("city.retry")}
        </button>
      </section>
    );
  }
  if (city.sites.size === 0) {
    return (
      <section class="said">
        <h1>{words.say("city.empty")}</h1>
        <p>{words.say("city.empty_detail")}</p>
        <code>central enrol simpang-lima --name "Simpang Lima"</code>
      </section>
    );
  }

  const sites = byNeed([...city.sites.values()], now);
  const counts = new Map<Level, number>();
  for (const site of sites) {
    const level = worst(judge(site, now));
    counts.set(level, (counts.get(level) ?? 0) + 1);
  }
  const old = city.contact === "lost";
  return (
    <>
      <section class="city-head">
        <h1>{old ? oldSentence(words, now, city.heardMs) : sentence(words, counts, sites.length)}</h1>
        <ul class="counts" aria-label={words.say("city.sites")}>
          {LEVELS.filter((level) => counts.has(level)).map((level) => (
            <li key={level}>
              <LevelShape level={old ? "silent" : level} />
              <b>{counts.get(level)}</b> {words.say(`level.${level}`)}
            </li>
          ))}
        </ul>
      </section>
      <ul class={`cards${old ? " old" : ""}`}>
        {sites.map((site) => (
          <li key={site.site}>
            <SiteCard site={site} peakS={city.peaks.get(site.site) ?? 0} />
          </li>
        ))}
      </ul>
    </>
  );
}

function sentence(words: Words, counts: ReadonlyMap<Level, number>, total: number): string {
  const needy = (counts.get("alarm") ?? 0) + (counts.get("silent") ?? 0);
  if (needy > 0) return words.say("city.trouble", { n: needy, total });
  const watched = counts.get("watch") ?? 0;
  if (watched > 0) return words.say("city.watch", { n: watched, total });
  return total === 1 ? words.say("city.calm_one") : words.say("city.calm", { n: total });
}

function oldSentence(words: Words, now: number, heardMs: number | null): string {
  return words.say("city.old", { age: words.stretch((now - (heardMs ?? now)) / 1000) });
}
