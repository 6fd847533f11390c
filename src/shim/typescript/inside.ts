/** Returns the map at this path of the item. If there is none, the map is empty. */
function inside(item: Item, steps: readonly (string | number)[]): Item {
  let value: unknown = { M: item };
  for (const step of steps) {
    const found: unknown = (value as { M?: unknown; L?: unknown } | undefined)?.[typeof step === "number" ? "L" : "M"];
    value = typeof found === "object" && found !== null && Object.hasOwn(found, step) ? (found as never)[step] : undefined;
  }
  return ((value as { M?: Item } | undefined)?.M ?? {}) as Item;
}
