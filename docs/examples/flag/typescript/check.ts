/** Checks flag.ts with the published vectors: npm ci && npx tsc && node build/check.js ../../../flag-vectors.json */

import { deepStrictEqual } from "node:assert";
import { readFileSync } from "node:fs";
import { CachedFlag, FlagUnknown, bucket, parse, read, remove, write } from "./flag.js";
import type { Flag, Item, Value } from "./flag.js";

interface Vectors {
  hash: { key: Value; bucket: number }[];
  flags: Record<string, Item>;
  refused: { name: string; item: Item }[];
  read: { flag: string; key: Value; item: Item; value: Value | null }[];
  write: { flag: string; value: Value; update: string; names: Record<string, string>; values: Record<string, Value> }[];
  delete: { update: string; names: Record<string, string> }[];
  cache: { name: string; steps: { at: number; takes?: number; fails?: boolean; reads: number; unknown: boolean }[] }[];
}

const vectors = JSON.parse(readFileSync(process.argv[2]!, "utf8")) as Vectors;
const flags = new Map(Object.entries(vectors.flags).map(([name, item]): [string, Flag] => [name, parse(item)]));
let count = flags.size;

function same(found: unknown, expected: unknown, what: unknown): void {
  deepStrictEqual(found, expected, `${JSON.stringify(what)}: found ${JSON.stringify(found)}`);
  count += 1;
}

async function refused(call: () => unknown): Promise<boolean> {
  try {
    await call();
    return false;
  } catch (error) {
    if (error instanceof FlagUnknown) return true;
    throw error;
  }
}

for (const c of vectors.hash) same(bucket(c.key), c.bucket, c);
for (const c of vectors.refused) same(await refused(() => parse(c.item)), true, c.name);
for (const c of vectors.read) same(read(flags.get(c.flag)!, c.key, c.item, "old", "new") ?? null, c.value, c);
for (const c of vectors.write) {
  const expected = {
    UpdateExpression: c.update,
    ExpressionAttributeNames: c.names,
    ExpressionAttributeValues: c.values,
  };
  same(write(flags.get(c.flag)!, "old", "new", c.value), expected, c);
}
for (const c of vectors.delete) {
  same(remove("old", "new"), { UpdateExpression: c.update, ExpressionAttributeNames: c.names }, c);
}

// The cache, with a simulated clock. The flag is valid for 60 seconds.
for (const c of vectors.cache) {
  let now = 0;
  let fetched = 0;
  let step: (typeof c.steps)[number];
  const fetch = async (): Promise<Item | undefined> => {
    fetched += 1;
    now += step.takes ?? 0;
    if (step.fails) throw new Error("no connection");
    return vectors.flags["both"];
  };
  const cached = new CachedFlag(fetch, () => now);
  for (step of c.steps) {
    now = step.at;
    const before = fetched;
    same([await refused(() => cached.current()), fetched - before], [step.unknown, step.reads], [c.name, step]);
  }
}
same(parse(undefined).write, "old", "no item");
deepStrictEqual(read(flags.get("old")!, { S: "a" }, {}, "constructor", "toString"), undefined);

console.log(`${count} cases`);
