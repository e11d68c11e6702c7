/** What happened at a crossing lately. */

import { useEffect, useState } from "preact/hooks";
import { ApiError, type Site, type SiteEvent } from "./api.ts";
import { useNow, useShell } from "./shell.ts";
import { useWords, type Words } from "./words.ts";

const MOST = 12;
const EVERY_MS = 10_000;

export function EventList({ site }: { site: Site }) {
  const words = useWords();
  const now = useNow();
  const { api } = useShell();
  const [events, setEvents] = useState<readonly SiteEvent[] | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      try {
        setEvents(await api.events(site.site, MOST, stop.signal));
        setFailed(false);
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!(error instanceof ApiError)) throw error;
        setFailed(true);
      }
    };
    void read();
    const timer = setInterval(() => document.visibilityState === "visible" && void read(), EVERY_MS);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [api, site.site]);
  return (
    <section class="happened">
      <h2>{words.say("events.title")}</h2>
      {failed && <p class="quiet">{words.say("events.failed")}</p>}
      {!failed && events === null && <p class="quiet waiting">{words.say("events.loading")}</p>}
      {events?.length === 0 && <p class="quiet">{words.say("events.none")}</p>}
      <ol class="events">
        {events?.map((event) => (
          <li key={event.id}>
            <time dateTime={event.time}>{words.moment(Date.parse(event.time), now)}</time>
            <span>
              {words.sayOr(`event.${event.type}`, event.type)}
              <EventFacts words={words} event={event} />
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function EventFacts({ words, event }: { words: Words; event: SiteEvent }) {
  const { camera, cause, detail, before, after, slept_s, charge_percent, runtime_s, backlog_items } = event.data;
  const group = event.type.split(".")[1] ?? "";
  const value = (word: string) => words.sayOr(`${group === "supply" ? "power" : group}.${word}`, word);
  const facts = [
    camera,
    cause && words.say(`cause.${cause}`),
    before && after && `${value(before)} → ${value(after)}`,
    slept_s != null && words.say("event.slept", { stretch: words.stretch(slept_s) }),
    charge_percent != null && words.say("event.charge", { n: words.number(charge_percent) }),
    runtime_s != null && words.say("event.left", { stretch: words.stretch(runtime_s) }),
    backlog_items != null && backlog_items > 0 && words.say("event.waits", { n: words.number(backlog_items) }),
    detail,
  ].filter(Boolean);
  return facts.length === 0 ? null : <small> {facts.join(" · ")}</small>;
}
