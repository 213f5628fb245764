/** What is worth masking: refuses values that would mask ordinary text, and restricts short or common ones to whole tokens. */

export interface SalienceOptions {
  /** Shorter values are refused, in bytes. At least 4: the matcher takes no shorter needles. */
  readonly minBytes: number;
  /** Shorter values are matched only as a whole token, in bytes. */
  readonly tokenBelowBytes: number;
  /** Values that are matched only as a whole token whatever their length, lower case. */
  readonly commonWords: ReadonlySet<string>;
}

export type Salience = { readonly verdict: "refused" | "token"; readonly reason: string } | { readonly verdict: "ok" };

const BOOLEAN_LIKE = new Set("true false yes no on off null nil none undefined nan enabled disabled enable disable default unset empty void".split(" "));

const COMMON_WORDS = new Set(
  `access account action actions active address admin administrator agent alpha amazon android anonymous apache application archive artifact assets async
  azure backend backup basic bearer beta bitbucket branch bridge browser buffer build builder cache canary central certificate changeme channel client
  cluster commit compile complete config configuration connect connection console container content context control credential credentials cypress
  data database debian debug demo deploy deployer deployment description develop developer development directory disable docker document domain
  download elastic email enable endpoint enterprise environment error event example execute export external failed failure feature file files finish
  firebase frontend function gateway general generic gitlab github global google gradle grafana group guest header health heroku host hostname hotfix
  image import index info information input install instance integration internal internet java javascript jenkins kafka kubernetes latest library license
  linux local localhost location login logout machine main manager manual master maven memory message metadata metrics migrate migration minimal mobile module
  monitor mongo mongodb mysql name namespace network nginx node notification number object operator option oracle origin output package parameter
  password passwords pipeline platform plugin policy port postgres postgresql preview primary private process prod production profile program project
  prometheus property protocol provider proxy public publish python query queue rabbitmq readonly redis region registry release remote replica report
  repository request required resource response result rollback root runner runtime sample sandbox schedule schema script search secret secrets secure
  security sentry server service service_account session setting settings shared simple single snapshot source stable stage staging standard start static status storage
  string success support swagger system target task team template temp terraform test tester testing tests testuser text timeout title token tokens
  tomcat tools trigger ubuntu unknown update upgrade upload user username users value variable vault vendor verify version virtual volume warning web
  webhook website welcome window windows worker workflow workspace write`.split(/\s+/),
);

export const DEFAULT_SALIENCE: SalienceOptions = Object.freeze({ minBytes: 4, tokenBelowBytes: 8, commonWords: COMMON_WORDS });

/** Judges a whole value. */
export function salience(value: Buffer, options: SalienceOptions): Salience {
  const text = value.toString("latin1");
  const bare = text.trim();
  const lower = bare.toLowerCase();
  const refuse = (reason: string): Salience => ({ verdict: "refused", reason });
  if (value.length === 0) return refuse("it is empty");
  if (bare === "") return refuse("it is only whitespace");
  if (BOOLEAN_LIKE.has(lower)) return refuse("it is a word like true or null, which logs are full of");
  const least = Math.max(4, options.minBytes);
  if (bare.length < least) return refuse(`it has ${bare.length} bytes; fewer than ${least} would mask ordinary text`);
  if (/^[\s{}[\]()<>,:;."'`=|/\\-]+$/.test(bare)) return refuse("it is only punctuation");
  if (/^[*•]+$/.test(bare)) return refuse("it is only mask characters: it has been masked already");
  if (options.commonWords.has(lower)) return { verdict: "token", reason: "it is a common word: masked only as a whole word" };
  if (bare.length < options.tokenBelowBytes) return { verdict: "token", reason: `it has only ${bare.length} bytes: masked only as a whole word` };
  return { verdict: "ok" };
}
