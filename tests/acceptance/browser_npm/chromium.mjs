// The headless Chromium of the package, and its driver.
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
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

/** Start it; `unpacked` is where it is, or is to be, unpacked. */
export async function launch(unpacked, args = []) {
  await unpack(unpacked);
  const { chromium: driver } = await import("playwright-core");
  const env = { ...process.env, LD_LIBRARY_PATH: join(unpacked, "al2023", "lib"), FONTCONFIG_PATH: join(unpacked, "fonts") };
  return driver.launch({ executablePath: join(unpacked, "chromium"), args: ["--no-sandbox", ...args], env });
}
