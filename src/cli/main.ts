#!/usr/bin/env node
/** The command. Nothing is imported here but the guard, so that it stands before other modules are loaded: command.ts is the rest. */
import { keepDebuggersOut } from "./guard.js";

keepDebuggersOut();
const { runCommand } = await import("./command.js");
// Not process.exit: what is still on its way to a pipe must leave first.
process.exitCode = await runCommand();
