/**
 * Reads backfill's cutover flag in applications. docs/flag.md explains the rules.
 *
 * Items and values are in DynamoDB's own format ({ S: "x" }), as in @aws-sdk/client-dynamodb:
 *
 *     const flags = new CachedFlag(async () => (await dynamodb.send(new GetItemCommand({
 *       TableName: "my-flags", Key: { id: { S: "rename-email" } }, ConsistentRead: true }))).Item);
 *
 *     const { Item } = await dynamodb.send(new GetItemCommand({ TableName: "shop", Key }));
 *     const email = read(await flags.current(), Item.pk, Item, "email", "contact_email");
 *
 *     await dynamodb.send(new UpdateItemCommand({ TableName: "shop", Key,
 *       ...write(await flags.current(), "email", "contact_email", { S: "…" }) }));
 *     await dynamodb.send(new UpdateItemCommand({ TableName: "shop", Key, ...remove("email", "contact_email") }));
 */

import { createHash } from "node:crypto";

/** An attribute value. This code reads only the types that keys and the flag use. */
export type Value = { S?: string; N?: string; B?: Uint8Array | string; BOOL?: boolean; [other: string]: unknown };
export type Item = Record<string, Value>;

export interface Flag {
  write: "old" | "both" | "new";
  read: "old" | "new";
  readPercent: number;
  oldStale: boolean;
  maxCacheSeconds: number;
}

export interface Update {
  UpdateExpression: string;
  ExpressionAttributeNames: Record<string, string>;
  ExpressionAttributeValues?: Record<string, Value>;
}

/** The state of the flag is unknown: do not read or write the attributes that move. */
export class FlagUnknown extends Error {}

const SCHEMA_VERSION = 1;

/** Reads the flag from its item. If the item does not exist, the migration has not begun. Refuses unknown values. */
export function parse(item: Item | undefined | null): Flag {
  if (!item) return { write: "old", read: "old", readPercent: 0, oldStale: false, maxCacheSeconds: 1 };
  const whole = (name: string): number => {
    const text = item[name]?.N;
    if (text === undefined || !/^\d+$/.test(text)) throw new FlagUnknown(`${name} of the flag is not a whole number`);
    return Number(text);
  };
  if (whole("schema_version") !== SCHEMA_VERSION || whole("version") < 1) {
    throw new FlagUnknown("the flag has another schema_version");
  }
  const write = item["write"]?.S;
  const read = item["read"]?.S;
  const oldStale = item["old_stale"]?.BOOL;
  const readPercent = whole("read_percent");
  const maxCacheSeconds = whole("max_cache_seconds");
  if (
    (write !== "old" && write !== "both" && write !== "new") ||
    (read !== "old" && read !== "new") ||
    typeof oldStale !== "boolean" ||
    readPercent > 100 ||
    (readPercent === 0) !== (read === "old") ||
    (read === "new" && write === "old") ||
    (write === "new" && readPercent < 100) ||
    maxCacheSeconds < 1
  ) {
    throw new FlagUnknown("the flag has an invalid value or combination");
  }
  return { write, read, readPercent, oldStale, maxCacheSeconds };
}

/** Returns the bucket (0 to 99) of a partition key such as { S: "CUSTOMER#1" }. */
export function bucket(key: Value): number {
  const hash = createHash("sha256");
  if (key.S !== undefined) hash.update("S").update(key.S, "utf8");
  else if (key.N !== undefined) hash.update("N").update(plain(key.N), "ascii");
  else if (key.B !== undefined) hash.update("B").update(typeof key.B === "string" ? Buffer.from(key.B, "base64") : key.B);
  else throw new TypeError("a key is a string, a number or a binary");
  return Number(hash.digest().readBigUInt64BE(0) % 100n);
}

/** Returns a number without exponent and without redundant zeros: 15 for 1.50E1, -0.5 for -0.50, 0 for -0. */
function plain(number: string): string {
  const match = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(number);
  if (!match) throw new TypeError("not a number");
  const [, sign, before, after, exponent] = match;
  let digits = before! + after!;
  // The position of the decimal point, counted from the first digit.
  let point = before!.length + Number(exponent ?? 0);
  if (point < 0) [digits, point] = ["0".repeat(-point) + digits, 0];
  digits = digits.padEnd(point, "0");
  const whole = digits.slice(0, point).replace(/^0+/, "") || "0";
  const fraction = digits.slice(point).replace(/0+$/, "");
  const text = fraction ? `${whole}.${fraction}` : whole;
  return sign === "-" && text !== "0" ? `-${text}` : text;
}

/** Returns the item's old or new value, as the flag requires. `key` is the item's partition key. */
export function read(flag: Flag, key: Value, item: Item, oldName: string, newName: string): Value | undefined {
  // Inherited members of the object, such as `constructor`, are not attributes.
  const own = (name: string): Value | undefined => (Object.hasOwn(item, name) ? item[name] : undefined);
  if (flag.read === "old" || bucket(key) >= flag.readPercent) return own(oldName);
  // Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
  // stale, so do not fall back to it.
  return own(newName) ?? (flag.write === "both" && !flag.oldStale ? own(oldName) : undefined);
}

/** Returns UpdateItem parameters that write a value. If the flag says both, the update writes both attributes. */
export function write(flag: Flag, oldName: string, newName: string, value: Value): Update {
  const names: Record<string, string> = {};
  if (flag.write !== "new") names["#old"] = oldName;
  if (flag.write !== "old") names["#new"] = newName;
  return {
    UpdateExpression: `SET ${Object.keys(names).map((name) => `${name} = :value`).join(", ")}`,
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: { ":value": value },
  };
}

/** Returns UpdateItem parameters that delete a value. The update always deletes both attributes. */
export function remove(oldName: string, newName: string): Update {
  return { UpdateExpression: "REMOVE #old, #new", ExpressionAttributeNames: { "#old": oldName, "#new": newName } };
}

/**
 * Caches the flag for at most `maxCacheSeconds`. This time begins when the request for the flag is sent.
 *
 * After a third of this time, it reads the flag again. If the read fails, it returns the cached flag for another third. After
 * that, it throws FlagUnknown. The last third is for the request that obeys the flag and for the retries of that request: give
 * the client of the data table a timeout of a third of `maxCacheSeconds`.
 */
export class CachedFlag {
  readonly #fetch: () => Promise<Item | undefined>;
  readonly #seconds: () => number;
  #known: { flag: Flag; sent: number } | undefined;
  #reading: Promise<Flag> | undefined;

  constructor(fetch: () => Promise<Item | undefined>, seconds: () => number = () => performance.now() / 1000) {
    this.#fetch = fetch;
    this.#seconds = seconds;
  }

  async current(): Promise<Flag> {
    const known = this.#known;
    if (known && this.#seconds() - known.sent < known.flag.maxCacheSeconds / 3) return known.flag;
    // Concurrent callers share one read.
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  async #read(): Promise<Flag> {
    const sent = this.#seconds();
    let flag: Flag;
    try {
      flag = parse(await this.#fetch());
    } catch (error) {
      const known = this.#known;
      if (known && this.#seconds() - known.sent < (2 * known.flag.maxCacheSeconds) / 3) return known.flag;
      throw new FlagUnknown("the flag could not be read in time", { cause: error });
    }
    // A reply that took too long may be out of date.
    if (this.#seconds() - sent >= (2 * flag.maxCacheSeconds) / 3) throw new FlagUnknown("reading the flag took too long");
    this.#known = { flag, sent };
    return flag;
  }
}
