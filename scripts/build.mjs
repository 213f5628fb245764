/** `npm run build`: installs what is missing and builds everything into dist/. */
import { setup } from "./setup.mjs";

setup();
