// Runs files of tests, so many at once, in the order in which they are given: `node --test` sorts them.
//
//   node e2e/in_order.mjs COUNT FILE…
import path from "node:path";
import { run } from "node:test";
import { tap } from "node:test/reporters";

const [count, ...files] = process.argv.slice(2);
const tests = run({ files: files.map((file) => path.resolve(file)), concurrency: Number(count) });
tests.on("test:fail", () => (process.exitCode = 1));
tests.compose(tap).pipe(process.stdout);
