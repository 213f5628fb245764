/** What a report says of a secret, as a line for people. */
import type { SecretReport } from "../types.js";

const OUTCOMES: Readonly<Record<SecretReport["kind"], string>> = {
  refused: "is NOT masked",
  token: "is masked only as a whole token",
  duplicate: "is masked",
  limited: "is masked, but not in every spelling",
};

/** `secret NAME is NOT masked: …`. `kind` may come from another version of the sidecar. */
export const reportLine = ({ kind, name, reason }: Pick<SecretReport, "name" | "reason"> & { readonly kind: string }): string =>
  `secret ${name} ${OUTCOMES[kind as SecretReport["kind"]] ?? "is restricted"}: ${reason}`;
