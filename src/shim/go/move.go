
var move{{constant}} = {{move}}

// Read{{stem}} returns the value of {{old}} or {{new}}, as the flag requires. {{container_name}}bucket is the bucket of
// the item's partition key.
func Read{{stem}}[V any]({{container}} map[string]V, f Flag, bucket int) (V, bool) {
	return readMove(move{{constant}}, f, bucket, {{container}})
}

// WritesFor{{stem}} builds an update that writes a value to {{old}}, {{new}} or both, as the flag requires.
func WritesFor{{stem}}[V any](value V, f Flag) Update[V] {
	return writesOf(move{{constant}}, f, value)
}

// AttributesFor{{stem}} returns what a PutItem must contain: {{old}}, {{new}} or both, as the flag requires.
func AttributesFor{{stem}}[V any](value V, f Flag) map[string]V {
	return attributesOf(move{{constant}}, f, value)
}

// RemovesFor{{stem}} builds an update that deletes a value. The update always deletes both attributes.
func RemovesFor{{stem}}[V any]() Update[V] {
	return removesOf[V](move{{constant}})
}
