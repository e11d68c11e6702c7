// hls.js ships types for its full build only; the light build is the same without what recordings do not need.
declare module "hls.js/light" {
  export { default } from "hls.js";
}
