import { render } from "preact";
import { App } from "./app.tsx";
import { Shell } from "./shell.ts";

const shell = new Shell();
shell.live.start();
render(<App shell={shell} />, document.body);
