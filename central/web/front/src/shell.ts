/** What every part of the page may lean on: the centre, the city, the time, the address. */

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { Api } from "./api.ts";
import { type City, Live } from "./live.ts";

export class Shell {
  readonly api = new Api();
  readonly live = new Live(this.api);

  /** The centre's time, Unix ms. */
  nowMs(): number {
    return Date.now() + this.api.clock.offsetMs;
  }
}

export const ShellContext = createContext<Shell | null>(null);

export function useShell(): Shell {
  const shell = useContext(ShellContext);
  if (shell === null) throw new Error("rendered outside of the shell");
  return shell;
}

export function useCity(): City {
  const { live } = useShell();
  const [city, setCity] = useState(live.city);
  useEffect(() => {
    setCity(live.city);
    return live.subscribe(() => setCity(live.city));
  }, [live]);
  return city;
}

/** The centre's time, renewed every second. */
export function useNow(): number {
  const shell = useShell();
  const [now, setNow] = useState(() => shell.nowMs());
  useEffect(() => {
    const timer = setInterval(() => setNow(shell.nowMs()), 1000);
    return () => clearInterval(timer);
  }, [shell]);
  return now;
}

export type Theme = "auto" | "dark" | "light";

/** What the reader chose, kept in this browser where it lets us. */
export function useChoice<T extends string>(name: string, allowed: readonly T[], otherwise: T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => allowed.find((choice) => choice === stored(name)) ?? otherwise);
  return [
    value,
    (next) => {
      setValue(next);
      store(name, next);
    },
  ];
}

function stored(name: string): string | null {
  try {
    return localStorage.getItem(`simpang.${name}`);
  } catch {
    return null; // a browser that forbids storage: the choice lasts as long as the page
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(`simpang.${name}`, value);
  } catch {
    // as above
  }
}
