/** Power, link and backlog of a site, drawn. What is not fresh is drawn without the colours that promise something. */

import type { Link, LinkPart, Power, Reach, Readiness, SpoolState } from "./api.ts";
import { BACKLOG_WORTH_TELLING_S, isOverdue, leftS } from "./judge.ts";
import { useNow } from "./shell.ts";
import { useWords, type Words } from "./words.ts";

const CHAIN: readonly LinkPart[] = ["port", "uplink", "centre", "broker"];
const FIRST_PX = 38;
const STEP_PX = 60;

export function BatteryGauge({
  power,
  readiness,
  fresh,
}: {
  power: Power | null;
  readiness: Readiness;
  fresh: boolean;
}) {
  const words = useWords();
  const now = useNow();
  const charge = power?.charge_percent ?? null;
  const mains = power?.supply === "mains";
  return (
    <section class="fact fact-power" data-fact="power" data-supply={power?.supply ?? ""}>
      <h3>{words.say("power.title")}</h3>
      <svg class={`battery supply-${power?.supply ?? "unknown"}`} viewBox="0 0 64 28" aria-hidden="true">
        <rect class="battery-case" x="1" y="1" width="56" height="26" rx="5" />
        <path class="battery-pole" d="M59 9h2a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2h-2z" />
        {charge === null ? (
          <path class="battery-unknown" d="M9 14h40" />
        ) : (
          <rect class="battery-fill" x="4.5" y="4.5" width={Math.max(2, (49 * charge) / 100)} height="19" rx="2.5" />
        )}
        {mains && <path class="battery-bolt" d="M32 5 23.5 15.4h5L26 23l9-10.8h-5.2z" />}
      </svg>
      <p class="fact-main">
        {power === null
          ? words.say("power.no_word")
          : power.source === "none"
            ? words.say("power.unwatched")
            : words.say(`power.${power.supply}`)}
        {charge !== null && <b class="figure"> {words.number(charge)} %</b>}
      </p>
      {power !== null && (power.supply === "battery" || power.supply === "low") && (
        <p class="fact-more">
          {readiness.why !== "asleep" && (
            <>
              <span data-left-s={Math.round(leftS(readiness.dark_at, now) ?? 0)}>{countdown(words, readiness, now)}</span> ·{" "}
            </>
          )}
          {words.say("power.since", { at: words.moment(Date.parse(power.since), now) })}
        </p>
      )}
      {fresh && readiness.why.startsWith("mains") && <ReadinessMarks readiness={readiness} />}
      {power !== null && power.step !== "full" && (
        <p class="fact-more" data-step={power.step}>
          {words.say(`energy.${power.step}`)}
          {power.reaches_target === false && <> · {words.say("energy.target_missed")}</>}
        </p>
      )}
    </section>
  );
}

/** How long until the battery is empty, by the centre's clock: it goes on when there is no contact. */
function countdown(words: Words, readiness: Readiness, now: number) {
  const left = leftS(readiness.dark_at, now);
  const low = leftS(readiness.dark_earliest_at, now);
  const high = leftS(readiness.dark_latest_at, now);
  if (isOverdue(readiness, now)) return <b>{words.say("power.overdue")}</b>;
  const bounds = low !== null && high !== null && { low: words.stretch(low), high: words.stretch(high) };
  if (left === null) return bounds ? words.say("power.between", bounds) : words.say("power.end_unknown");
  return (
    <>
      <b>{words.say("power.runtime", { seconds: words.stretch(left) })}</b> {bounds && words.say("power.band", bounds)}
    </>
  );
}

/** Whether the crossing would survive 1, 2 and 4 hours without mains. */
function ReadinessMarks({ readiness }: { readiness: Readiness }) {
  const words = useWords();
  const marks = Object.entries(readiness.survives).map(([hours, holds]) => ({
    hours: words.stretch(Number(hours) * 3600),
    mark: holds === null ? ("unknown" as const) : holds ? ("yes" as const) : ("no" as const),
  }));
  if (readiness.why === "mains-unknown") {
    return (
      <p class="fact-more" data-ready="unknown">
        {words.say("ready.untaught")}
      </p>
    );
  }
  return (
    <p class="fact-more ready" data-ready={marks.map(({ mark }) => mark).join(" ")}>
      {words.say("ready.title")}
      {marks.map(({ hours, mark }) => (
        <span key={hours} class={`ready-${mark}`} title={words.say(`ready.${mark}`, { hours })}>
          {hours} <i aria-hidden="true">{SHAPES[mark]}</i>
          <span class="unseen">{words.say(`ready.${mark}`, { hours })}</span>
        </span>
      ))}
    </p>
  );
}

const SHAPES = { yes: "✓", no: "✕", unknown: "?" } as const;

/** Each part is joined to the one before it; the way into the first broken one is drawn torn. */
export function LinkChain({ link, fresh }: { link: Link | null; fresh: boolean }) {
  const words = useWords();
  const now = useNow();
  const broken = link === null || link.broken === "none" ? -1 : CHAIN.indexOf(link.broken);
  return (
    <section class="fact" data-fact="link" data-broken={link?.broken ?? ""}>
      <h3>{words.say("link.title")}</h3>
      <svg class="chain" viewBox="0 0 244 36" aria-hidden="true">
        <rect class="cabinet" x="1" y="4" width="10" height="13" rx="2" />
        {CHAIN.map((part, index) => {
          const reach: Reach = link === null ? "unknown" : link[part];
          const torn = index === broken;
          const from = index === 0 ? 11 : STEP_PX * (index - 1) + FIRST_PX + 7;
          const x = STEP_PX * index + FIRST_PX;
          const middle = (from + x - 7) / 2;
          return (
            <g key={part} class={`reach-${reach}${torn ? " torn" : ""}`}>
              <path
                class="wire"
                d={torn ? `M${from} 10.5H${middle - 6}l3-5M${middle + 3} 15.5l3-5H${x - 7}` : `M${from} 10.5H${x - 7}`}
              />
              {reach === "down" ? (
                <>
                  <rect class="node" x={x - 6.5} y="4" width="13" height="13" rx="2" />
                  <path class="node-mark" d={`M${x - 3} 7.5l6 6m0-6l-6 6`} />
                </>
              ) : (
                <circle class="node" cx={x} cy="10.5" r="6.5" />
              )}
              {reach === "up" && <path class="node-mark" d={`M${x - 3} 10.7l2.2 2.2 4-4.4`} />}
              <text x={x} y="32" text-anchor="middle">
                {words.say(`link.${part}`)}
              </text>
            </g>
          );
        })}
      </svg>
      <ul class="unseen">
        {CHAIN.map((part) => (
          <li key={part}>
            {words.say(`link.${part}`)}: {words.say(`reach.${link?.[part] ?? "unknown"}`)}
          </li>
        ))}
      </ul>
      <p class="fact-main">
        {link === null
          ? words.say("link.no_word")
          : link.broken === "none"
            ? words.say("link.up")
            : words.say("link.broken", {
                word: words.say(`link.${link.broken}`),
                at: words.moment(Date.parse(link.since), now),
              })}
        {fresh && link?.rtt_ms != null && link.broken === "none" && (
          <span class="figure"> {words.say("link.rtt", { ms: words.number(link.rtt_ms, link.rtt_ms < 10 ? 1 : 0) })}</span>
        )}
      </p>
    </section>
  );
}

/** Full when all is at the centre; while it drains, what is sent of the largest backlog seen since it was last empty. */
export function BacklogBar({
  spool,
  peakS,
  fresh,
  now,
}: {
  spool: SpoolState | null;
  peakS: number;
  fresh: boolean;
  now: number;
}) {
  const words = useWords();
  const empty = spool !== null && spool.backlog_s <= BACKLOG_WORTH_TELLING_S;
  const sent = empty || spool === null ? 1 : Math.max(0, 1 - spool.backlog_s / Math.max(peakS, spool.backlog_s, 1));
  return (
    <section class="fact" data-fact="backlog" data-backlog-s={spool?.backlog_s ?? ""}>
      <h3>{words.say("backlog.title")}</h3>
      <div
        class={`progress${spool === null ? " progress-none" : empty ? " progress-empty" : ""}`}
        role="progressbar"
        aria-label={words.say("backlog.title")}
        aria-valuenow={Math.round(sent * 100)}
      >
        {spool !== null && <span style={{ width: `${sent * 100}%` }} />}
      </div>
      <p class="fact-main">
        {spool === null
          ? words.say("backlog.no_word")
          : empty
            ? words.say(spool.backlog_items === 0 ? "backlog.empty" : "backlog.flowing")
            : words.say("backlog.waiting", {
                seconds: words.stretch(spool.backlog_s),
                bytes: words.bytes(spool.backlog_bytes),
              })}
      </p>
      {empty && spool.compared_at != null && (
        <p class="fact-more">{words.say("backlog.compared", { at: words.moment(Date.parse(spool.compared_at), now) })}</p>
      )}
      {spool !== null && !empty && fresh && (
        <p class="fact-more">
          {spool.drain_eta_s === null
            ? words.say("backlog.stuck")
            : words.say("backlog.eta", { seconds: words.stretch(spool.drain_eta_s) })}
          {spool.sent_bytes_per_s > 0 && (
            <span> · {words.say("backlog.rate", { bytes: words.bytes(spool.sent_bytes_per_s) })}</span>
          )}
          {spool.pace_limit !== "none" && <span> · {words.say(`backlog.limit.${spool.pace_limit}`)}</span>}
        </p>
      )}
    </section>
  );
}
