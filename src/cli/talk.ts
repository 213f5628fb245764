/**
 * What the command says on stderr. All of it passes through an engine first: a path or an argument may hold a secret. While there is a session that is the engine of the
 * session; else one that is made when there is something to say, of the secrets that are known by then.
 */
import { createEngine } from "../engine.js";
import { knownSecrets } from "./secrets.js";

type Filter = (text: string) => string;

let filter: Filter | undefined;

/** From now on what is said passes through `next`; undefined: through an engine of its own. */
export function talkThrough(next: Filter | undefined): void {
  filter = next;
}

/** Says a line, masked. */
export function say(message: string): void {
  filter ??= makeFilter();
  process.stderr.write(filter(`logveil: ${message}\n`));
}

/** Names of secrets are of no use here, and one that holds a value would be refused. */
function makeFilter(): Filter {
  const secrets = knownSecrets(process.argv.slice(2)).map(({ value }, i) => ({ name: `secret-${i + 1}`, value }));
  for (const rules of [{}, false] as const) {
    try {
      const engine = createEngine({ secrets, rules, mask: "fixed" });
      return (text) => engine.redact(text);
    } catch {
      // Rules need a package; secrets are masked without it.
    }
  }
  return () => "logveil: a message is withheld: there is nothing to mask it by\n";
}
