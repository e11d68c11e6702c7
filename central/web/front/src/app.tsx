/** The frame around every page: mark, contact with the centre, language, appearance. */

import { useEffect } from "preact/hooks";
import { CityPage } from "./city.tsx";
import { judge, type Level, worst } from "./judge.ts";
import { useRoute } from "./route.ts";
import { Icon, Mark, Patterns } from "./shapes.tsx";
import { type Shell, ShellContext, type Theme, useChoice, useCity, useNow } from "./shell.ts";
import { SitePage } from "./site.tsx";
import { type Language, useWords, Words, WordsContext } from "./words.ts";

const NEEDY: ReadonlySet<Level> = new Set(["alarm", "silent"]);
const LANGUAGES: readonly Language[] = ["id", "en"];
const THEMES: readonly Theme[] = ["auto", "dark", "light"];

export function App({ shell }: { shell: Shell }) {
  const [language, setLanguage] = useChoice("language", LANGUAGES, "id");
  const [theme, setTheme] = useChoice("theme", THEMES, "auto");
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  return (
    <ShellContext.Provider value={shell}>
      <WordsContext.Provider value={new Words(language)}>
        <Patterns />
        <Header language={language} setLanguage={setLanguage} theme={theme} setTheme={setTheme} />
        <Contact />
        <main id="content" tabIndex={-1}>
          <Page />
        </main>
      </WordsContext.Provider>
    </ShellContext.Provider>
  );
}

function Page() {
  const route = useRoute();
  const words = useWords();
  if (route.page === "city") return <CityPage />;
  if (route.page === "site") return <SitePage key={route.site} route={route} />;
  return (
    <section class="said">
      <h1>{words.say("app.not_found")}</h1>
      <a href="/">{words.say("app.to_city")}</a>
    </section>
  );
}

function Header(props: {
  language: Language;
  setLanguage: (language: Language) => void;
  theme: Theme;
  setTheme: (theme: Theme) => void;
}) {
  const words = useWords();
  const now = useNow();
  const { sites } = useCity();
  const needy = [...(sites?.values() ?? [])].filter((site) => NEEDY.has(worst(judge(site, now)))).length;
  useEffect(() => {
    document.title = needy === 0 ? "Simpang" : `(${needy}) Simpang`;
  }, [needy]);
  return (
    <header class="top">
      <a class="skip" href="#content">
        {words.say("app.skip")}
      </a>
      <a class="brand" href="/">
        <Mark />
        <span class="brand-name">Simpang</span>
        <span class="brand-line">{words.say("app.tagline")}</span>
      </a>
      <ContactLight />
      <time class="clock" dateTime={new Date(now).toISOString()}>
        <b>{words.time(now)}</b> {words.zone(now)}
      </time>
      <div class="choices" role="group" aria-label={words.say("language.label")}>
        {LANGUAGES.map((language) => (
          <button
            type="button"
            key={language}
            lang={language}
            aria-pressed={language === props.language}
            title={language === "id" ? "Bahasa Indonesia" : "English"}
            onClick={() => props.setLanguage(language)}
          >
            {language.toUpperCase()}
          </button>
        ))}
      </div>
      <button
        type="button"
        class="icon-only"
        aria-label={`${words.say("theme.label")}: ${words.say(`theme.${props.theme}`)}`}
        title={`${words.say("theme.label")}: ${words.say(`theme.${props.theme}`)}`}
        onClick={() => props.setTheme(THEMES[(THEMES.indexOf(props.theme) + 1) % THEMES.length] ?? "auto")}
      >
        <Icon name={props.theme} />
      </button>
    </header>
  );
}

/** One word on whether the page still hears the centre, always in sight. */
function ContactLight() {
  const words = useWords();
  const { contact, heardMs } = useCity();
  const now = useNow();
  const title =
    heardMs === null ? "" : words.say("contact.live_heard", { age: words.stretch((now - heardMs) / 1000) });
  return (
    <span class={`contact contact-${contact}`} title={title}>
      {words.say(`contact.${contact}`)}
    </span>
  );
}

function Contact() {
  const words = useWords();
  const { contact, heardMs } = useCity();
  const now = useNow();
  return (
    <div role="status" aria-live="polite">
      {contact === "lost" && heardMs !== null && (
        <p class="banner">
          <strong>{words.say("contact.lost")}.</strong>{" "}
          {words.say("contact.lost_detail", { age: words.stretch((now - heardMs) / 1000) })}
        </p>
      )}
    </div>
  );
}
