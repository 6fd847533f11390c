/**
 * The cutover flag of backfill, as an application obeys it. docs/flag.md says why each rule is what it is.
 *
 * Items and values are DynamoDB's own ({ S: "x" }), as @aws-sdk/client-dynamodb has them:
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

/** An attribute value; only the types of keys and of the flag are looked into. */
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

/** What the flag says is not known: do not read or write the attributes that move. */
export class FlagUnknown extends Error {}

const SCHEMA_VERSION = 1;

/** The flag of its item; without an item, the migration has not begun. Anything unknown is refused. */
export function parse(item: Item | undefined | null): Flag {
  if (!item) return { write: "old", read: "old", readPercent: 0, oldStale: false, maxCacheSeconds: 1 };
  const whole = (name: string): number => {
    const text = item[name]?.N;
    if (text === undefined || !/^\d+$/.test(text)) throw new FlagUnknown(`${name} of the flag is no whole number`);
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
    throw new FlagUnknown("the flag says what it cannot say");
  }
  return { write, read, readPercent, oldStale, maxCacheSeconds };
}

/** The part of a hundred, 0 to 99, of a partition key such as { S: "CUSTOMER#1" }. */
export function bucket(key: Value): number {
  const hash = createHash("sha256");
  if (key.S !== undefined) hash.update("S").update(key.S, "utf8");
  else if (key.N !== undefined) hash.update("N").update(plain(key.N), "ascii");
  else if (key.B !== undefined) hash.update("B").update(typeof key.B === "string" ? Buffer.from(key.B, "base64") : key.B);
  else throw new TypeError("a key is a string, a number or a binary");
  return Number(hash.digest().readBigUInt64BE(0) % 100n);
}

/** 15 for 1.50E1, -0.5 for -0.50, 0 for -0: no exponent, no zero without a meaning. */
function plain(number: string): string {
  const match = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(number);
  if (!match) throw new TypeError("not a number");
  const [, sign, before, after, exponent] = match;
  let digits = before! + after!;
  // Where the point is, counted from the first digit.
  let point = before!.length + Number(exponent ?? 0);
  if (point < 0) [digits, point] = ["0".repeat(-point) + digits, 0];
  digits = digits.padEnd(point, "0");
  const whole = digits.slice(0, point).replace(/^0+/, "") || "0";
  const fraction = digits.slice(point).replace(/0+$/, "");
  const text = fraction ? `${whole}.${fraction}` : whole;
  return sign === "-" && text !== "0" ? `-${text}` : text;
}

/** The value to read of an item. `key` is its partition key. */
export function read(flag: Flag, key: Value, item: Item, oldName: string, newName: string): Value | undefined {
  if (flag.read === "old" || bucket(key) >= flag.readPercent) return item[oldName];
  // Items that backfill has not come to yet have only the old value. Once values were written to the new attribute
  // alone, an old one may be stale: then there is no falling back.
  return item[newName] ?? (flag.write === "both" && !flag.oldStale ? item[oldName] : undefined);
}

/** UpdateItem parameters that write a value: both attributes in one write, or neither. */
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

/** UpdateItem parameters that delete a value: both attributes, whatever the flag says. */
export function remove(oldName: string, newName: string): Update {
  return { UpdateExpression: "REMOVE #old, #new", ExpressionAttributeNames: { "#old": oldName, "#new": newName } };
}

/**
 * The flag, obeyed for at most `maxCacheSeconds` after the request that read it was sent.
 *
 * It is read again after a third of that time. If that fails, it is obeyed for another third, and then nothing is:
 * FlagUnknown. The last third belongs to the request that is made under it, its retries included: give the client of the
 * data table a time limit of a third of `maxCacheSeconds`.
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
    // One read serves all that wait for it.
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
    // A reply that took too long says what was so once.
    if (this.#seconds() - sent >= (2 * flag.maxCacheSeconds) / 3) throw new FlagUnknown("reading the flag took too long");
    this.#known = { flag, sent };
    return flag;
  }
}
