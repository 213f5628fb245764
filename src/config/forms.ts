/** The forms of values: how each is written, what the program gets, what an error says was expected. The fields made of them: schema.ts. */
import { z } from "zod";
import { type Address, isPath, isSocketPath, parseAddress, parseQuantity, parseServer, printAddress, printQuantity, printServer } from "./units.js";
import { SIZE_UNITS, type SyslogServer, TIME_UNITS } from "./units.js";

/** What the documentation calls a form. */
export const FORMS = z.registry<{ readonly form: string }>();

/** What goes beyond zod about a field. */
export interface Extra {
  /** The field holds a credential: its value is never printed. */
  readonly secret?: true;
  /** Name of its flag, where it is not that of its path. */
  readonly flag?: string;
  /** A default that depends on the environment; undefined: the field's own. */
  readonly from?: (env: Environment) => string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export const EXTRAS = z.registry<Extra>();

/** A field with a default, as it is written. */
export function field<T extends z.ZodType>(type: T, description: string, fallback: z.input<T>, extra: Extra = {}): z.ZodPrefault<T> {
  const made: z.ZodPrefault<T> = z.prefault(type, fallback).describe(description);
  EXTRAS.add(made, extra);
  return made;
}

/** A field that may be absent. */
export function optional<T extends z.ZodType>(type: T, description: string, extra: Extra = {}): z.ZodOptional<T> {
  const made = z.optional(type).describe(description);
  EXTRAS.add(made, extra);
  return made;
}

/** Fields that belong together. */
export const group = <T extends z.ZodRawShape>(description: string, shape: T): z.ZodPrefault<z.ZodObject<T, z.core.$strict>> =>
  z.prefault(z.strictObject(shape), {} as Parameters<typeof z.prefault<z.ZodObject<T, z.core.$strict>>>[1]).describe(description);

/** A type that keeps its name for the documentation. */
function named<T extends z.ZodType>(form: string, type: T): T {
  FORMS.add(type, { form });
  return type;
}

interface Bounds {
  readonly min?: string;
  readonly max?: string;
}

/** Timers of Node run at once when they are set for longer than 2^31 ms. */
const LONGEST_TIMER = "24d";

const SIZE_FORM = "a size such as 64MiB, with one of the units B, KiB, MiB, GiB, TiB";
const TIME_FORM = "a time such as 250ms, 5s or 10m, with one of the units ms, s, m, h, d";

function quantity(units: Readonly<Record<string, number>>, expected: string, { min, max }: Bounds): z.ZodCodec<z.ZodString, z.ZodNumber> {
  const least = min === undefined ? 0 : parseQuantity(min, units)!;
  const most = max === undefined ? Number.MAX_SAFE_INTEGER : parseQuantity(max, units)!;
  const bounds = min !== undefined && max !== undefined ? `from ${min} to ${max}` : min !== undefined ? `of ${min} or more` : `of ${max} or less`;
  const text = z
    .string({ error: ({ input }) => `expected ${expected}${typeof input === "number" ? "; a number without its unit says too little" : ""}` })
    .regex(new RegExp(`^(0|[1-9]\\d*)(${Object.keys(units).join("|")})$`), { error: `expected ${expected}, without fractions and spaces` });
  return z.codec(text, z.number(), {
    decode(written, context) {
      const value = parseQuantity(written, units);
      if (value !== undefined && value >= least && value <= most) return value;
      const message = value === undefined ? `expected ${expected}; this one is too large` : `expected ${expected.split(" such ")[0]} ${bounds}`;
      context.issues.push({ code: "custom", message, input: written });
      return z.NEVER;
    },
    encode: (value) => printQuantity(value, units),
  });
}

/** Bytes. */
export const size = (bounds: Bounds = {}) => named("size", quantity(SIZE_UNITS, SIZE_FORM, { min: "1B", ...bounds }));

/** Milliseconds, as long as a timer can run. */
export const time = (bounds: Bounds = {}) => named("time", quantity(TIME_UNITS, TIME_FORM, { min: "1ms", max: LONGEST_TIMER, ...bounds }));

/** Milliseconds that no timer has to wait for. */
export const age = () => named("time", quantity(TIME_UNITS, TIME_FORM, { min: "1s", max: "36500d" }));

const ADDRESS_FORM = "an address: 127.0.0.1:8514, [::1]:8514 or unix:/path";

function addressOf(expected: string, pattern: RegExp, kinds: readonly Address["kind"][]) {
  const error = `expected ${expected}`;
  const text = z.string({ error }).regex(pattern, { error });
  return z.codec(text, z.custom<Address>(), {
    decode(written, context) {
      const address = parseAddress(written);
      if (address !== undefined && kinds.includes(address.kind)) return address;
      context.issues.push({ code: "custom", message: error, input: written });
      return z.NEVER;
    },
    encode: printAddress,
  });
}

/** Where to listen. */
export const address = () => named("address", addressOf(ADDRESS_FORM, /^(\[.+\]:\d+|[\d.]+:\d+|unix:\/.*)$/, ["tcp", "unix"]));

const OFF = "off" as const;

/** `off`, or what `type` takes; `expected` names both. */
function orOff<T>(type: z.ZodType<T, string>, pattern: RegExp, expected: string) {
  const hint = (input: unknown): string => (input === false ? "; did you mean off?" : "");
  const text = z.string({ error: ({ input }) => `expected off or ${expected}${hint(input)}` }).regex(pattern, { error: `expected off or ${expected}` });
  return z.codec(text, z.custom<T | typeof OFF>(), {
    decode(written, context) {
      if (written === OFF) return OFF;
      const result = type.safeParse(written);
      if (result.success) return result.data;
      context.issues.push({ code: "custom", message: result.error.issues[0]!.message.replace("expected ", "expected off or "), input: written });
      return z.NEVER;
    },
    encode: (value) => (value === OFF ? OFF : z.encode(type, value)),
  });
}

const TCP_FORM = "an address: 127.0.0.1:8514 or [::1]:8514";

/** A TCP or UDP address, or `off`. */
export const portOrOff = () =>
  named("address or off", orOff(addressOf(TCP_FORM, /^(\[.+\]:\d+|[\d.]+:\d+)$/, ["tcp"]), /^(off|\[.+\]:\d+|[\d.]+:\d+)$/, TCP_FORM));

const SOCKET_FORM = "the address of a Unix socket: unix:/path, at most 107 bytes of path";

/** A Unix socket, or `off`. */
export const socketOrOff = () => named("unix:/path or off", orOff(addressOf(SOCKET_FORM, /^unix:\/.*$/, ["unix"]), /^(off|unix:\/.*)$/, SOCKET_FORM));

const SERVER_FORM = "a syslog server: tcp://127.0.0.1:514, udp://[::1]:514 or tls://logs.example.com:6514";
const serverCodec = z.codec(z.string(), z.custom<SyslogServer>(), {
  decode(written, context) {
    const server = parseServer(written);
    if (server !== undefined) return server;
    context.issues.push({ code: "custom", message: `expected ${SERVER_FORM}`, input: written });
    return z.NEVER;
  },
  encode: printServer,
});

/** A syslog server, or `off`. */
export const serverOrOff = () => named("server or off", orOff(serverCodec, /^(off|(tcp|udp|tls):\/\/.+:\d+)$/, SERVER_FORM));

/** Milliseconds, or `off`. */
export const timeOrOff = (bounds: Bounds = {}) => named("time or off", orOff(time(bounds), /^(off|(0|[1-9]\d*)(ms|s|m|h|d))$/, TIME_FORM));

const SIZE_PATTERN = /^(off|(0|[1-9]\d*)(B|KiB|MiB|GiB|TiB))$/;

/** Bytes, or `off`. */
export const sizeOrOff = (bounds: Bounds = {}) => named("size or off", orOff(size(bounds), SIZE_PATTERN, SIZE_FORM));

/** Milliseconds that no timer has to wait for, or `off`. */
export const ageOrOff = () => named("time or off", orOff(age(), /^(off|(0|[1-9]\d*)(ms|s|m|h|d))$/, TIME_FORM));

const pathHint = (input: unknown): string =>
  typeof input !== "string"
    ? ""
    : input.startsWith("~")
      ? "; ~ is not expanded here: write the path out"
      : input !== "" && !input.startsWith("/")
        ? "; a relative one would depend on where logveil is started"
        : "";

/** An absolute path. */
export const path = () =>
  named(
    "path",
    z
      .string({ error: "expected an absolute path, such as /var/lib/logveil" })
      .refine(isPath, { error: ({ input }) => `expected an absolute path, such as /var/lib/logveil${pathHint(input)}` })
      .meta({ pattern: "^/" }),
  );

/** An absolute path that a socket can have. */
export const socketPath = () =>
  named(
    "path",
    z
      .string({ error: "expected the absolute path of a socket" })
      .refine(isSocketPath, { error: ({ input }) => `expected the absolute path of a socket, at most 107 bytes${pathHint(input)}` })
      .meta({ pattern: "^/" }),
  );

function urlProblem(text: string, query: "query" | "no query"): string | undefined {
  const expected = "expected a URL such as https://logs.example.com/path";
  if (!URL.canParse(text)) return expected;
  const url = new URL(text);
  if (!["http:", "https:"].includes(url.protocol)) return `${expected}, with http or https`;
  if (url.username !== "" || url.password !== "") return `${expected}, without user and password: they would end up in logs`;
  if (url.hash !== "" || /#/.test(text)) return `${expected}, without #fragment`;
  return query === "no query" && /\?/.test(text) ? `${expected}, without ?query` : undefined;
}

/** An http or https URL without credentials. */
export const url = (query: "query" | "no query") =>
  named(
    "URL",
    z
      .string({ error: "expected a URL such as https://logs.example.com/path" })
      .refine((text) => urlProblem(text, query) === undefined, { error: ({ input }) => urlProblem(String(input), query) ?? "" })
      .meta({ format: "uri" }),
  );

/** A whole number. */
export const count = (min: number, max = Number.MAX_SAFE_INTEGER) => {
  const bounds = max === Number.MAX_SAFE_INTEGER ? `of ${min} or more` : `from ${min} to ${max}`;
  const error = `expected a whole number ${bounds}`;
  return named("number", z.number({ error }).int({ error }).min(min, { error }).max(max, { error }));
};

const TRUTHS: Readonly<Record<string, boolean>> = { yes: true, on: true, no: false, off: false };

export const yesNo = () =>
  named(
    "true or false",
    z.boolean({
      error({ input }) {
        const meant = typeof input === "string" && Object.hasOwn(TRUTHS, input.toLowerCase()) ? TRUTHS[input.toLowerCase()] : undefined;
        return `expected true or false${meant === undefined ? "" : `; did you mean ${meant}?`}`;
      },
    }),
  );

/** One word of several. */
export const choice = <const T extends readonly [string, ...string[]]>(words: T) => named(words.map((word) => `\`${word}\``).join(" "), z.enum(words));

/** Texts of one kind. */
export const list = <T extends z.ZodType<unknown, string>>(item: T, form: string) =>
  named(`list of ${form}`, z.array(item, { error: `expected a list of ${form}: [a, b]` }));

/** A text of a pattern. */
export const word = (pattern: RegExp, expected: string) => z.string({ error: `expected ${expected}` }).regex(pattern, { error: `expected ${expected}` });

/** Any text; it is checked elsewhere. */
export const text = () => named("text", z.string({ error: 'expected a text; put "quotes" around it' }));

/** A mapping from words to what `value` takes. */
export const table = <K extends z.ZodType<string, string>, V extends z.ZodType>(key: K, value: V, form: string) =>
  named(form, z.record(key, value, { error: ({ code }) => (code === "invalid_type" ? `expected ${form}` : undefined) }));
