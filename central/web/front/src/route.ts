/** The address bar: `/` is the city, `/sites/<site>` one crossing, with `?camera=…&at=…` what is played. */

import { useEffect, useState } from "preact/hooks";

export interface Route {
  readonly page: "city" | "site" | "nowhere";
  readonly site: string;
  readonly camera: string | null;
  readonly atMs: number | null;
}

export function parse(pathname: string, search: string): Route {
  const query = new URLSearchParams(search);
  const at = Date.parse(query.get("at") ?? "");
  const rest = { camera: query.get("camera"), atMs: Number.isNaN(at) ? null : at };
  if (pathname === "/") return { page: "city", site: "", ...rest };
  const site = /^\/sites\/([a-z0-9-]+)$/.exec(pathname)?.[1];
  return { page: site === undefined ? "nowhere" : "site", site: site ?? "", ...rest };
}

export function sitePath(site: string): string {
  return `/sites/${encodeURIComponent(site)}`;
}

/** Note in the address what is played, so that a copied address plays it again; no step back in the history. */
export function rememberMoment(camera: string, atMs: number): void {
  const query = new URLSearchParams({ camera, at: new Date(atMs).toISOString() });
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location.pathname, location.search));
  useEffect(() => {
    const read = () => setRoute(parse(location.pathname, location.search));
    const follow = (event: MouseEvent) => {
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
      if (link === null || !plain || link.origin !== location.origin || link.hash !== "") return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      read();
      scrollTo(0, 0);
    };
    addEventListener("popstate", read);
    document.addEventListener("click", follow);
    return () => {
      removeEventListener("popstate", read);
      document.removeEventListener("click", follow);
    };
  }, []);
  return route;
}
