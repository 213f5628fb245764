/** How long something failed, and how often, as a line of the log says it. */

export const lasted = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 1000)} s`);
export const attempts = (count: number): string => `${count} failed ${count === 1 ? "attempt" : "attempts"}`;
