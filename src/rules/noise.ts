/** Values that stand where a secret could but are none: references, placeholders, paths, versions, ciphertext, masks. For rules without a distinctive prefix only. */
import { byteSet } from "./bytes.js";
import { classes, randomness } from "./random.js";
import { lazyPattern } from "./re2.js";

const REFERENCE = [
  String.raw`^(?:&lt;|\$|%[A-Za-z_]|\{\{|\{%|<|\[\[|#\{|@[A-Za-z_({])`, // $X ${X} $(x) %X% {{x}} <x> #{x} @x@
  String.raw`(?i:^(?:env|file|fd|vault|secret|secrets|ref|aws|gcp|azure|op|ssm|arn|key|var|vars|local|data|module|process\.env|os\.environ|System\.getenv)[:.[/(])`,
  String.raw`^[A-Za-z_][\w.]*\(`, // a function call
  String.raw`\$\{|\$\(|\{\{|%\(|\$[A-Z_]{3,}$`,
  String.raw`^\{[\w.!:]*\}$`, // {name} of a format string
  String.raw`^[A-Za-z_][\w.]*\[`, // a subscript
  String.raw`^--?[A-Za-z][A-Za-z_-]*$`, // the next option
  String.raw`^[,;)}\]]|^\+ ?[A-Za-z_.]+$`, // what follows an empty value, what is joined to it
  String.raw`^[*&][a-z_]+$|^[a-z]+_t$`, // a type
];
const PLACEHOLDER = [
  String.raw`(?i:^[x*.•#_-]+$)`,
  String.raw`\*{3,}`,
  String.raw`(?i:^\[?(?:REDACTED|MASKED|FILTERED|secure|hidden|removed|private|protected|scrubbed|secret)\b)`,
  String.raw`(?i:^(?:your|my|some|the|an?|test|fake|dummy|sample|demo|example|insert|enter|replace|change|put|add|todo|tbd|foo|bar|baz)[-_ .]?(?:\w*[-_ .])?(?:api|access|auth|secret|token|key|pass\w*|pwd|value|here|me|it|this|that|user\w*|client|id|name)?(?:[-_ .](?:here|value|key|token|secret|goes|key[-_]?here))*$)`,
  String.raw`(?i:(?:placeholder|changeme|change_me|not[-_ ]?set|undefined|EXAMPLEKEY|\bexample\b|dummy|redacted|a1b2c3d4e5f6|a1b2c3d4-e5f6))`,
  String.raw`(?i:^(?:true|false|null|nil|none|yes|no|on|off|undefined|default|unset|empty|string|boolean|integer|number|object|required|optional|enabled|disabled|invalid|missing|expired|revoked|failed|success\w*|error|unknown|anonymous|public|n/a)\b)`,
];
/** Words that names of credentials and of variables are made of: a value of nothing else names another variable, or stands for one. */
const NAMES = [
  String.raw`(?i:^[_.@#-]*(?:pass(?:wd|phrase|code)?|pwd|user(?:name)?|login|token|api[_-]?key|key|credentials?)$)`,
  String.raw`(?i:^_*(?:(?:the|my|your|new|old|get|set|add|is|has|use|self|this|args?|opts?|options?|config|cfg|conf|settings|params?|parsed|req|request|res|creds?|db|user|users|admin|root|proxy|http|smtp|ldap|client|server|auth|secret|token|api|access|key|pass|pwd|name|value|text|str|string|input|field|ptr|len|mgr|manager|callback|helper|prefix|env|var|arg|label)[_-])+(?:pass(?:word|wd|phrase)?|pwd|token|secret|key|value|field|ptr|mgr|manager|callback|helper|prefix|label|here)_*$)`,
];
const STRUCTURE = [
  String.raw`^[.#][a-z]+(?:-[a-z]+)+$`, // a selector
  String.raw`(?i:^[a-z][a-z0-9+.-]*://)`, // a URL: what it holds has rules of its own
  String.raw`^v?\d+(?:\.\d+)+(?:[-+.][\w.]*)?$`, // a version
  String.raw`^\d{4}-\d\d-\d\d`, // a date
  String.raw`^\d+(?:[.,]\d+)*(?:ms|s|m|h|d|%|px|em|[kKMGT]i?B?)?$`, // a number
  String.raw`(?i:^0x[0-9a-f]+$)`,
  String.raw`(?i:^sha(?:1|224|256|384|512)[-:])`,
  String.raw`(?i:^(?:md5|sha\d+|blake\w+|crc32)\b)`,
  String.raw`(?i:^[\w.-]+\.(?:[a-z]{2,4}|json|yaml|toml|properties|service|class|java|html|local|internal|example)(?::\d+)?(?:[/?#]|$))`, // a host or a file
  String.raw`^[\w.+-]+@[\w-]+\.[\w.-]+$`, // an address
  String.raw`^(?:ENC\[|\$ANSIBLE_VAULT|AgB[A-Za-z0-9+/]{20}|sops:|-----BEGIN (?:CERTIFICATE|PUBLIC|RSA PUBLIC))`,
  String.raw`^[A-Za-z]+(?:[-_. ][A-Za-z]+){2,}$`, // three words or more
  String.raw`^[A-Za-z]+[.,:]$|^\.{3}`, // the end of a sentence
  String.raw`^[a-z]+(?:/[a-z]+)+$|^\w+(?::\w+){2,}$`, // a list
  String.raw`^[a-z]+(?:[A-Z][a-z]+){1,}$`, // camelCase
  String.raw`^(?:[A-Z][a-z]+){2,}$`, // PascalCase
  String.raw`^[A-Z]+(?:_[A-Z]+)+$`, // CONSTANT_CASE
];
/** A path; so may base64 look. */
const PATH = lazyPattern(String.raw`^[./~]?(?:[\w.@+-]*/){2,}|^(?:/|\./|\.\./|~/|[A-Za-z]:\\)`);
const LITERAL_NOISE = lazyPattern([...REFERENCE, ...PLACEHOLDER, ...STRUCTURE].join("|"));
const NOISE = lazyPattern([...REFERENCE, ...PLACEHOLDER, ...NAMES, ...STRUCTURE].join("|"));
/** `object.member`, `module::function`, `pointer->field`. */
const MEMBER = lazyPattern(String.raw`^(?:::)?[A-Za-z_$][A-Za-z_]*\d{0,3}[A-Za-z_]*(?:(?:\.|->|::)_*[A-Za-z]+\d{0,3}[A-Za-z_]*)+(?:::)?$`);

/** Whether `value` (Latin-1) is noise. Its length is bounded by the caller. `isLiteral`: where it stands it cannot name a variable. */
export function isNoise(value: string, isLiteral = false): boolean {
  if (isGenerated(value)) return false;
  if (isUniform(value) || (isLiteral ? LITERAL_NOISE : NOISE)().test(value)) return true;
  if ((value.includes("/") || value.includes("\\")) && PATH().test(value)) return !value.split("/").some(isRandomPart);
  return /\.|->|::/.test(value) && MEMBER().test(value) && !value.split(/\.|->|::/).some(isRandomPart);
}

/** Whether it is one character all along. */
function isUniform(value: string): boolean {
  for (let at = 1; at < value.length; at++) if (value.charCodeAt(at) !== value.charCodeAt(0)) return false;
  return true;
}

const PHRASE = /^[a-z0-9]+(?: [a-z0-9]+){1,3}$/;
const MESSAGE =
  /\b(?:a|and|are|auth|can|change|confirm|empty|enter|error|failed|for|forgot|hide|in|incorrect|invalid|is|login|missing|must|new|no|not|of|or|pass\w*|please|required|reset|secret|set|show|the|to|token|user|username|was|with|wrong|your)\b/;

/** Whether a value of some words may be a passphrase rather than a message. */
export const isPhrase = (value: string): boolean => PHRASE.test(value) && !MESSAGE.test(value);

/** Fewest bytes of a value that is a secret wherever it stands. */
const LEARNED_BYTES = 8;
/** Of a value of letters only. */
const LEARNED_WORD_BYTES = 20;
const LETTERS = /^[A-Za-z]+$/;

/** Whether a value may stand in a log as what it is not: `pass` of `https://user:pass@host`, a user's name, a word. It is masked where a rule finds it, and not learned. */
export function isOrdinary(value: string): boolean {
  return value.length < LEARNED_BYTES || (value.length < LEARNED_WORD_BYTES && (classes(value) < 2 || LETTERS.test(value))) || isNoise(value);
}

/** Most and fewest bytes of what a password generator makes, and the least randomness. */
export const MOST_GENERATED_BYTES = 64;
const FEWEST_GENERATED_BYTES = 10;
const GENERATED_RANDOMNESS = 0.01;
/** What generators use besides letters and digits, without what joins words and statements. */
const PUNCTUATION = byteSet("!\"#$%&'*+<=>?@[\\]^`{|}~");
const INTERPOLATION = lazyPattern(String.raw`[$#%]\{|\{\{|\$\(|%\(|\s`);

/** Whether a value is random in all kinds of characters, as a generator of passwords makes it: it may begin as a reference or a call does. */
export function isGenerated(value: string): boolean {
  if (value.length < FEWEST_GENERATED_BYTES || value.length > MOST_GENERATED_BYTES || classes(value) < 3) return false;
  let digits = 0;
  let marks = 0;
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code >= 0x30 && code <= 0x39) digits++;
    else if (PUNCTUATION[code] === 1) marks++;
  }
  return (marks >= 3 || (digits >= 1 && marks === 2 && classes(value) === 4)) && randomness(value) >= GENERATED_RANDOMNESS && !INTERPOLATION().test(value);
}

/** Whether a part of what looks like a path is so random that all of it may be base64. */
function isRandomPart(part: string): boolean {
  return part.length >= 16 && classes(part) >= 3 && randomness(part) >= 0.001;
}
