
const MOVE_{{constant}}: Move = {{move}};

/**
 * Returns the value of `{{old}}` or `{{new}}`, as the flag requires. `key` is the item's key. Without it, the item must
 * contain its partition key.
 */
export function read{{stem}}(item: Item, flag: Flag, key: Item = item): Value | undefined {
  return readMove(MOVE_{{constant}}, flag, key, {{container}});
}

/** Returns UpdateItem parameters that write a value to `{{old}}`, `{{new}}` or both, as the flag requires. */
export function writesFor{{stem}}(value: Value, flag: Flag): Update {
  return writesOf(MOVE_{{constant}}, flag, value);
}

/** Returns what a PutItem must contain: `{{old}}`, `{{new}}` or both, as the flag requires. */
export function attributesFor{{stem}}(value: Value, flag: Flag): Item {
  return attributesOf(MOVE_{{constant}}, flag, value);
}

/** Returns UpdateItem parameters that delete a value. They always delete both attributes. */
export function removesFor{{stem}}(): Update {
  return removesOf(MOVE_{{constant}});
}
