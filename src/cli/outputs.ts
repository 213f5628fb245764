/** Where `--out` writes: the tree of the inputs below one folder, decided for all of them before anything is written. */
import { randomBytes } from "node:crypto";
import { mkdir, realpath, rmdir, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize, relative, resolve, sep } from "node:path";
import { LogveilError } from "../errors.js";
import { ioError } from "./files.js";

export interface Output {
  readonly file: string;
  /** Absolute. */
  readonly target: string;
}

/**
 * Where each file goes: a relative path keeps its folders, without `..` at its beginning; absolute ones keep theirs below the folder that they have in common. Throws
 * `LV_USAGE` where two would be written to one file, one over an input, or one outside of the folder through a link.
 */
export async function planOutputs(files: readonly string[], folder: string): Promise<Output[]> {
  const root = resolve(folder);
  const common = commonFolder(files.filter(isAbsolute).map((file) => dirname(normalize(file))));
  const outputs = files.map((file) => ({ file, target: join(root, isAbsolute(file) ? relative(common, normalize(file)) : withoutUps(normalize(file))) }));
  await checkTwins(outputs, root);
  await checkInputs(outputs);
  await checkInside(outputs, root);
  return outputs;
}

/** Makes the folder that an output goes to. Throws `LV_IO`. */
export async function makeFolder({ target }: Output): Promise<void> {
  const folder = dirname(target);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw ioError(folder, "cannot be made", error);
  });
}

function commonFolder(folders: readonly string[]): string {
  const [first = sep, ...others] = folders;
  let common = first;
  while (!others.every((folder) => folder === common || folder.startsWith(common.endsWith(sep) ? common : common + sep))) common = dirname(common);
  return common;
}

/** `../../a/b` is `a/b` below the folder. */
function withoutUps(path: string): string {
  const parts = path.split(sep);
  const first = parts.findIndex((part) => part !== "..");
  return first < 0 ? "" : parts.slice(first).join(sep);
}

async function checkTwins(outputs: readonly Output[], root: string): Promise<void> {
  const seen = new Map<string, Output>();
  const folded = new Map<string, Output>();
  let foldsCase: boolean | undefined;
  for (const output of outputs) {
    const key = output.target.normalize("NFC").toLowerCase();
    let twin = seen.get(output.target);
    // Names that differ in case only are one file on some file systems: those of macOS and Windows, and others that are mounted.
    if (twin === undefined && folded.has(key) && (foldsCase ??= await isCaseFolded(root))) twin = folded.get(key);
    if (twin !== undefined) {
      const { file } = twin;
      throw new LogveilError(
        "LV_USAGE",
        `--out: ${file} and ${output.file} would both be written to ${output.target}; nothing was written: name each file once, or use two folders`,
      );
    }
    seen.set(output.target, output);
    folded.set(key, output);
  }
}

async function isCaseFolded(root: string): Promise<boolean> {
  const probe = join(await existing(root), `.logveil-case-${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(probe);
  } catch {
    return true;
  }
  try {
    return await stat(join(dirname(probe), ".LOGVEIL-CASE-" + probe.slice(-12))).then(
      () => true,
      () => false,
    );
  } finally {
    await rmdir(probe).catch(() => undefined);
  }
}

/** The nearest folder above `path`, or itself, that there is, without links. */
async function existing(path: string): Promise<string> {
  for (let each = path; ; each = dirname(each)) {
    const real = await realpath(each).catch(() => undefined);
    if (real !== undefined) return real;
    if (each === dirname(each)) return each;
  }
}

async function checkInputs(outputs: readonly Output[]): Promise<void> {
  const inputs = new Set(await Promise.all(outputs.map(({ file }) => realpath(file).catch(() => resolve(file)))));
  for (const { file, target } of outputs)
    if (inputs.has(await realpath(target).catch(() => target)))
      throw new LogveilError("LV_USAGE", `--out: ${file} would be written over ${target}, which is an input; use another folder, or --in-place`);
}

async function checkInside(outputs: readonly Output[], root: string): Promise<void> {
  const real = await realpath(root).catch(() => undefined);
  if (real === undefined) return;
  for (const folder of new Set(outputs.map(({ target }) => dirname(target)))) {
    const place = await existing(folder);
    if (place !== real && !place.startsWith(real.endsWith(sep) ? real : real + sep))
      throw new LogveilError("LV_USAGE", `--out: ${folder} is a link to somewhere outside of ${root}, where nothing is written`);
  }
}
