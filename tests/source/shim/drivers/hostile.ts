/** Prints what the shim of the plan with hostile names contains: names as hexadecimal UTF-8. */

import { deepStrictEqual } from "node:assert";
import * as shim from "./hostile-shim.js";

const flag: shim.Flag = { write: "both", read: "new", readPercent: 100, oldStale: false, maxCacheSeconds: 60 };
const hexadecimal = (text: string): string => Buffer.from(text, "utf8").toString("hex");
const updates = [
  shim.writesForLineBreakTab({ S: "v1" }, flag),
  shim.writesForProto({ S: "v2" }, flag),
  shim.writesForConstructor({ S: "v3" }, flag),
  shim.writesForType({ S: "v4" }, flag),
];
const update = shim.combine(...updates);
const names = update.ExpressionAttributeNames;

console.log("expression", update.UpdateExpression);
for (const placeholder of Object.keys(names).sort()) console.log(placeholder, hexadecimal(names[placeholder]!));
const values = Object.entries(update.ExpressionAttributeValues!).sort(([a], [b]) => (a < b ? -1 : 1));
console.log("values", values.map(([name, value]) => `${name}=${value.S}`).join(","));
console.log("partition", hexadecimal(shim.PARTITION_KEY));
console.log("table", hexadecimal(shim.FLAG_TABLE));
const flagKey: [string, { S: string }][] = Object.entries(shim.FLAG_KEY);
for (const [name, value] of flagKey.sort()) console.log("flag", hexadecimal(name), hexadecimal(value.S));

const inner: shim.Item = Object.fromEntries([[names["#old4"]!, { S: "v4" }]]);
const outer: shim.Item = Object.fromEntries([[names["#map4_2"]!, { L: [{ M: inner }] }]]);
const attributes: [string, shim.Value][] = [1, 2, 3].map((n) => [names[`#old${n}`]!, { S: `v${n}` }]);
const oldOnly: shim.Item = Object.fromEntries([...attributes, [names["#map4_1"]!, { M: outer }]]);
const key: shim.Item = Object.fromEntries([[shim.PARTITION_KEY, { S: "a" }]]);
const reads = [shim.readLineBreakTab, shim.readProto, shim.readConstructor, shim.readType];
const puts = [shim.attributesForLineBreakTab, shim.attributesForProto, shim.attributesForConstructor, shim.attributesForType];
for (const [at, read] of reads.entries()) {
  deepStrictEqual(read(oldOnly, flag, key), { S: `v${at + 1}` });
  console.log("absent", read({}, flag, key) === undefined ? "True" : "False");
  const put = Object.keys(puts[at]!({ S: "x" }, flag)).sort();
  deepStrictEqual(put, [names[`#old${at + 1}`]!, names[`#new${at + 1}`]!].sort());
}
const removed = shim.combine(shim.removesForType(), shim.removesForProto());
console.log("expression", removed.UpdateExpression);
deepStrictEqual("ExpressionAttributeValues" in removed, false);
