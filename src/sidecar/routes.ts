/** Routes of the configuration: where the text is in bodies of which requests, and which responses are masked. */
import { posix } from "node:path";
import { type Framing, framingOf, FRAMINGS } from "../codec/framing.js";

/** Where the text is in bodies of some requests. */
export interface BodyRoute {
  /** Beginning of the path, at whole segments. */
  readonly path: string;
  /** Media types, or `type/*`; none: any. */
  readonly contentTypes: readonly string[];
  readonly framing: Framing["name"] | "octet-stream";
  /** Whether responses to these requests are masked too. */
  readonly maskResponses: boolean;
}

const TEXT = FRAMINGS.find(({ name }) => name === "text")!;

/** The path of a request target as an upstream may come to read it: decoded, without `.`, `..` and doubled slashes. */
function plainPath(target: string): string {
  const { pathname } = new URL(`http://sidecar${target}`);
  return posix.normalize(decodeURIComponent(pathname));
}

export class Routes {
  /** The longest path first: it counts. */
  private readonly routes: readonly BodyRoute[];

  constructor(routes: readonly BodyRoute[]) {
    this.routes = routes.toSorted((a, b) => b.path.length - a.path.length);
  }

  /** The framing of a body of this type, sent to or from `target`; undefined: it cannot be masked. */
  framing(target: string, contentType: string): Framing | undefined {
    const media = contentType.toLowerCase().split(";")[0]!.trim();
    const fits = (wanted: string): boolean => wanted === media || (wanted.endsWith("/*") && media.startsWith(wanted.slice(0, -1)));
    const route = this.at(target).find(({ contentTypes }) => contentTypes.length === 0 || contentTypes.some(fits));
    if (route === undefined) return framingOf(contentType);
    return route.framing === "octet-stream" ? TEXT : FRAMINGS.find(({ name }) => name === route.framing);
  }

  /** The route that a request for `target` is for, as it is configured; undefined: none. */
  nameOf(target: string): string | undefined {
    return this.at(target)[0]?.path;
  }

  /** Whether responses to requests for `target` are masked: if one of the routes of the longest path says so. */
  masksResponses(target: string): boolean {
    const [first, ...rest] = this.at(target);
    return first !== undefined && [first, ...rest.filter(({ path }) => path === first.path)].some(({ maskResponses }) => maskResponses);
  }

  private at(target: string): BodyRoute[] {
    if (this.routes.length === 0) return [];
    const path = plainPath(target);
    return this.routes.filter((each) => path === each.path || path.startsWith(each.path.endsWith("/") ? each.path : `${each.path}/`));
  }
}
