// The headless Chromium of the package, and its driver.
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

// The package unpacks itself, and the libraries that it brings, into the folder for temporary files, and only where it
// believes to be on AWS. Renamed when it is whole: another process may be at it, too.
async function unpack(unpacked) {
  if (existsSync(unpacked)) return;
  const folder = mkdtempSync(join(dirname(unpacked), "unpacking-"));
  const { TMPDIR: before } = process.env;
  process.env.TMPDIR = folder;
  process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
  const { default: chromium } = await import("@sparticuz/chromium");
  chromium.setGraphicsMode = false;
  await chromium.executablePath();
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  try {
    renameSync(folder, unpacked);
  } catch (error) {
    if (!existsSync(unpacked)) throw error;
    rmSync(folder, { recursive: true });
  }
}

/** Where its fonts are: its own file has the place that they had on AWS, and without any, a page with an input field crashes. */
function fontSettings(unpacked) {
  const file = join(unpacked, "fonts-here.conf");
  if (existsSync(file)) return file;
  const made = `${file}-${process.pid}`; // renamed when it is whole, as above
  writeFileSync(made, `<fontconfig><dir>${join(unpacked, "fonts")}</dir><cachedir>${join(unpacked, "fonts-cache")}</cachedir></fontconfig>`);
  renameSync(made, file);
  return file;
}

/** How it is started: `{ executablePath, env, args }`; `unpacked` is where it is, or is to be, unpacked. */
export async function prepare(unpacked) {
  await unpack(unpacked);
  const env = { LD_LIBRARY_PATH: join(unpacked, "al2023", "lib"), FONTCONFIG_FILE: fontSettings(unpacked) };
  return { executablePath: join(unpacked, "chromium"), env, args: ["--no-sandbox"] };
}

/** Start it. */
export async function launch(unpacked, args = []) {
  const { executablePath, env, args: needed } = await prepare(unpacked);
  const { chromium: driver } = await import("playwright-core");
  return driver.launch({ executablePath, args: [...needed, ...args], env: { ...process.env, ...env } });
}
