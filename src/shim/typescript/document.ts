/** Returns the flag of your flag service, a JSON document, in DynamoDB's format. `parse` refuses unknown values. */
export function itemOfDocument(document: Record<string, unknown> | null | undefined): Item | undefined {
  const value = (member: unknown): Value => {
    if (typeof member === "boolean") return { BOOL: member };
    return typeof member === "number" ? { N: String(member) } : { S: String(member) };
  };
  return document ? Object.fromEntries(Object.entries(document).map(([name, member]) => [name, value(member)])) : undefined;
}
