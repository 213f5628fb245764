/**
 * Puts built files where running processes have theirs. A file that is the same stays; another one takes its place by a rename, so a process that has the old one
 * mapped or open keeps it: a copy would change it beneath an addon that is loaded, and the process would crash at its next call.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const isEqual = (a, b) => existsSync(b) && statSync(a).size === statSync(b).size && readFileSync(a).equals(readFileSync(b));

/** Answers whether the file at `to` was another one. */
export function publishFile(from, to) {
  if (isEqual(from, to)) return false;
  mkdirSync(dirname(to), { recursive: true });
  const next = `${to}.${process.pid}.new`;
  try {
    copyFileSync(from, next);
    renameSync(next, to);
  } finally {
    rmSync(next, { force: true });
  }
  return true;
}

/** The same for text that was made just now. */
export function publishText(text, to) {
  if (existsSync(to) && readFileSync(to, "utf8") === text) return false;
  mkdirSync(dirname(to), { recursive: true });
  const next = `${to}.${process.pid}.new`;
  writeFileSync(next, text);
  renameSync(next, to);
  return true;
}

const filesIn = (folder) =>
  existsSync(folder)
    ? readdirSync(folder, { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    : [];

/** How long files that a build no longer has are kept: a process that runs may load parts of itself late. */
const KEPT_MS = 7 * 24 * 3600 * 1000;

/**
 * Makes the folder `to` what `from` is. `last` are published after all others, those through which the others are found. Files that are no longer made stay for a
 * week: `since`, a file of ours, remembers from when on. `owns` says which files of `to` are this folder's business.
 */
export function publishFolder(from, to, { last = [], since, owns = () => true, now = Date.now(), keptMs = KEPT_MS }) {
  const made = filesIn(from);
  const order = [...made.filter((name) => !last.includes(name)), ...made.filter((name) => last.includes(name))];
  for (const name of order) publishFile(join(from, name), join(to, name));
  const before = existsSync(since) ? JSON.parse(readFileSync(since, "utf8")) : {};
  const stale = {};
  for (const name of filesIn(to)) {
    if (made.includes(name) || !owns(name)) continue;
    const when = before[name] ?? now;
    if (now - when >= keptMs) rmSync(join(to, name));
    else stale[name] = when;
  }
  publishText(JSON.stringify(stale), since);
}
