/** `npm run build`: installs what is missing and builds everything into dist/. */
import { setupOrExit } from "./setup.mjs";

await setupOrExit();
