/** Everything that is said on the screen: texts from the catalogs, and numbers, stretches and moments in words. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import en from "./i18n/en.json" with { type: "json" };
import id from "./i18n/id.json" with { type: "json" };

export type Language = "id" | "en";
export type Key = keyof typeof id;
export type Values = Readonly<Record<string, string | number>>;

/** Indonesian is the first language: what it lacks does not compile. */
const CATALOGS: Readonly<Record<Language, Readonly<Record<Key, string>>>> = { id, en };
const LOCALES: Readonly<Record<Language, string>> = { id: "id-ID", en: "en-GB" };

export class Words {
  readonly language: Language;
  readonly #texts: Readonly<Record<Key, string>>;
  readonly #locale: string;
  readonly #time: Intl.DateTimeFormat;
  readonly #minute: Intl.DateTimeFormat;
  readonly #day: Intl.DateTimeFormat;
  readonly #longDay: Intl.DateTimeFormat;
  readonly #zone: Intl.DateTimeFormat;

  constructor(language: Language) {
    this.language = language;
    this.#texts = CATALOGS[language];
    this.#locale = LOCALES[language];
    const format = (options: Intl.DateTimeFormatOptions) =>
      new Intl.DateTimeFormat(this.#locale, { hourCycle: "h23", ...options });
    this.#time = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.#minute = format({ hour: "2-digit", minute: "2-digit" });
    this.#day = format({ day: "numeric", month: "short" });
    this.#longDay = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
    this.#zone = format({ hour: "2-digit", timeZoneName: "short" });
  }

  say(key: Key, values: Values = {}): string {
    return this.#texts[key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
  }

  /** The text of a key that came over the wire, or `otherwise` when the catalogs have none such. */
  sayOr(key: string, otherwise: string): string {
    return Object.hasOwn(this.#texts, key) ? this.say(key as Key) : otherwise;
  }

  number(value: number, digits = 0): string {
    return new Intl.NumberFormat(this.#locale, { maximumFractionDigits: digits }).format(value);
  }

  /** A stretch of time in its two largest units: `42 dtk`, `12 mnt`, `1 jam 12 mnt`. */
  stretch(seconds: number): string {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return this.say("unit.s", { n: s });
    if (s < 600 && s % 60 !== 0) return `${this.say("unit.min", { n: Math.floor(s / 60) })} ${this.say("unit.s", { n: s % 60 })}`;
    const minutes = Math.round(s / 60);
    if (minutes < 60) return this.say("unit.min", { n: minutes });
    if (minutes < 1440) return this.#pair("unit.h", Math.floor(minutes / 60), "unit.min", minutes % 60);
    const hours = Math.round(minutes / 60);
    return this.#pair("unit.d", Math.floor(hours / 24), "unit.h", hours % 24);
  }

  bytes(count: number): string {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let value = count;
    let unit = 0;
    while (value >= 1000 && unit < units.length - 1) {
      value /= 1000;
      unit += 1;
    }
    return `${this.number(value, value < 10 && unit > 0 ? 1 : 0)} ${units[unit]!}`;
  }

  /** Local time of day. */
  time(ms: number): string {
    return this.#time.format(ms);
  }

  minute(ms: number): string {
    return this.#minute.format(ms);
  }

  day(ms: number): string {
    return this.#day.format(ms);
  }

  longDay(ms: number): string {
    return this.#longDay.format(ms);
  }

  zone(ms: number): string {
    return this.#zone.formatToParts(ms).find((part) => part.type === "timeZoneName")?.value ?? "";
  }

  /** A moment: time alone today, with its day otherwise. */
  moment(ms: number, nowMs: number): string {
    const sameDay = new Date(ms).toDateString() === new Date(nowMs).toDateString();
    return sameDay ? this.time(ms) : `${this.day(ms)}, ${this.time(ms)}`;
  }

  #pair(large: Key, n: number, small: Key, m: number): string {
    return m === 0 ? this.say(large, { n }) : `${this.say(large, { n })} ${this.say(small, { n: m })}`;
  }
}

export const WordsContext = createContext(new Words("id"));

export function useWords(): Words {
  return useContext(WordsContext);
}
