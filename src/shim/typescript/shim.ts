/**
 * Reads and writes the attributes that the migration {{migration}} moves in the table {{table}}.
 *
 * `backfill shim` generated this code from the plan. Do not edit it: if the plan changes, generate it again. docs/flag.md of
 * backfill explains the rules that the code obeys.
 *
 * Items and values are in DynamoDB's own format ({ S: "x" }), as in @aws-sdk/client-dynamodb:
 *
 *     {{flag_key}}
 *
 *     const flag = await flags.current();
 *     const { Item } = await dynamodb.send(new GetItemCommand({ TableName: "{{table}}", Key }));
 *     const value = read{{example}}(Item, flag, Key);
 *
 *     await dynamodb.send(new UpdateItemCommand({ TableName: "{{table}}", Key,
 *       ...writesFor{{example}}(value, await flags.current()) }));
 *     await dynamodb.send(new UpdateItemCommand({ TableName: "{{table}}", Key, ...removesFor{{example}}() }));
 *
 * Call `flags.current()` again before each request, and give the request, with its retries, a time limit of a third of the
 * flag's `max_cache_seconds`.
{{notes}} */

{{flag}}

{{cache}}

// The names in the plan.
{{constants}}

/** An attribute that moves. */
interface Move {
  readonly old: string;
  readonly new: string;
  /** Makes the placeholders of several moves distinct. */
  readonly number: string;
  /** The path of the map that contains both attributes. */
  readonly prefix: string;
  readonly prefixNames: Readonly<Record<string, string>>;
}

type Side = "old" | "new";

const WRITTEN: Readonly<Record<Flag["write"], readonly Side[]>> = { old: ["old"], both: ["old", "new"], new: ["new"] };

/** Returns an attribute. Inherited members of the object are not attributes. */
function own(item: Item, name: string): Value | undefined {
  return Object.hasOwn(item, name) ? item[name] : undefined;
}

function readMove(move: Move, flag: Flag, key: Item, container: Item): Value | undefined {
  if (flag.read === "old") return own(container, move.old);
  const partition = own(key, PARTITION_KEY);
  if (!partition) throw new TypeError("the key contains no partition key");
  if (bucket(partition) >= flag.readPercent) return own(container, move.old);
  // Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
  // stale, so do not fall back to it.
  return own(container, move.new) ?? (flag.write === "both" && !flag.oldStale ? own(container, move.old) : undefined);
}

/** Returns the path of an attribute in an expression, and the names of its placeholders. */
function target(move: Move, side: Side): [string, Record<string, string>] {
  const placeholder = `#${side}${move.number}`;
  return [move.prefix + placeholder, { ...move.prefixNames, [placeholder]: move[side] }];
}

function writesOf(move: Move, flag: Flag, value: Value): Update {
  const targets = WRITTEN[flag.write].map((side) => target(move, side));
  const placeholder = `:value${move.number}`;
  return {
    UpdateExpression: `SET ${targets.map(([path]) => `${path} = ${placeholder}`).join(", ")}`,
    ExpressionAttributeNames: Object.assign({}, ...targets.map(([, names]) => names)) as Record<string, string>,
    ExpressionAttributeValues: { [placeholder]: value },
  };
}

function attributesOf(move: Move, flag: Flag, value: Value): Item {
  return Object.fromEntries(WRITTEN[flag.write].map((side) => [move[side], value]));
}

function removesOf(move: Move): Update {
  const [[old, oldNames], [current, newNames]] = [target(move, "old"), target(move, "new")];
  return { UpdateExpression: `REMOVE ${old}, ${current}`, ExpressionAttributeNames: { ...oldNames, ...newNames } };
}

/** Joins updates into the parameters of one UpdateItem. Each update must have one clause, SET or REMOVE. */
export function combine(...updates: readonly Update[]): Update {
  const clauses = new Map<string, string[]>();
  for (const update of updates) {
    const space = update.UpdateExpression.indexOf(" ");
    const clause = update.UpdateExpression.slice(0, space);
    clauses.set(clause, [...(clauses.get(clause) ?? []), update.UpdateExpression.slice(space + 1)]);
  }
  const values: Record<string, Value> = Object.assign({}, ...updates.map((update) => update.ExpressionAttributeValues));
  return {
    UpdateExpression: [...clauses].map(([clause, actions]) => `${clause} ${actions.join(", ")}`).join(" "),
    ExpressionAttributeNames: Object.assign({}, ...updates.map((update) => update.ExpressionAttributeNames)),
    ...(Object.keys(values).length > 0 && { ExpressionAttributeValues: values }),
  };
}
{{moves}}
