// Takes where Chromium is to be unpacked; prints how it is started then, as JSON.
import { prepare } from "./chromium.mjs";

console.log(JSON.stringify(await prepare(process.argv[2])));
