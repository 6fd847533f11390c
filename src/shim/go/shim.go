// Package {{unit}} reads and writes the attributes that the migration {{migration}} moves in the table {{table}}.
//
// `backfill shim` generated this code from the plan. Do not edit it: if the plan changes, generate it again. docs/flag.md of
// backfill explains the rules that the code obeys.
//
// It uses only the standard library. V is the type of an attribute value, for example types.AttributeValue of aws-sdk-go-v2:
//
//	{{flag_key}}
//
//	now, err := flags.Current(ctx) // before the request for the item
//	value, ok := {{unit}}.Read{{example}}(item, now, {{unit}}.BucketOfString(key)) // the bucket of the partition key
//	update := {{unit}}.WritesFor{{example}}[types.AttributeValue](&types.AttributeValueMemberS{Value: "…"}, now)
//
// The partition key is {{partition_key}}. Call flags.Current again before each request, and give the request, with its retries, a
// time limit of a third of the flag's max_cache_seconds.
{{notes}}package {{unit}}

{{flag}}

{{cache}}

// The names in the plan.
{{constants}}

// move is an attribute that moves.
type move struct {
	old, new string
	// Makes the placeholders of several moves distinct.
	number string
	// The path of the map that contains both attributes.
	prefix      string
	prefixNames map[string]string
}

func readMove[V any](m move, f Flag, bucket int, container map[string]V) (V, bool) {
	if f.Read == "old" || bucket >= f.ReadPercent {
		value, ok := container[m.old]
		return value, ok
	}
	value, ok := container[m.new]
	// Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
	// stale, so do not fall back to it.
	if !ok && f.Write == "both" && !f.OldStale {
		value, ok = container[m.old]
	}
	return value, ok
}

// Update contains the expression of an UpdateItem request, and the names and values in the expression.
type Update[V any] struct {
	Expression string
	Names      map[string]string
	Values     map[string]V
}

// written returns whether an application writes the old and the new attribute.
func (f Flag) written() (writesOld, writesNew bool) { return f.Write != "new", f.Write != "old" }

func writesOf[V any](m move, f Flag, value V) Update[V] {
	writesOld, writesNew := f.written()
	placeholder := ":value" + m.number
	var actions []string
	names := map[string]string{}
	add := func(writes bool, side, name string) {
		if writes {
			actions = append(actions, m.prefix+side+m.number+" = "+placeholder)
			names[side+m.number] = name
		}
	}
	add(writesOld, "#old", m.old)
	add(writesNew, "#new", m.new)
	for placeholder, name := range m.prefixNames {
		names[placeholder] = name
	}
	return Update[V]{"SET " + strings.Join(actions, ", "), names, map[string]V{placeholder: value}}
}

func attributesOf[V any](m move, f Flag, value V) map[string]V {
	writesOld, writesNew := f.written()
	attributes := map[string]V{}
	if writesOld {
		attributes[m.old] = value
	}
	if writesNew {
		attributes[m.new] = value
	}
	return attributes
}

func removesOf[V any](m move) Update[V] {
	names := map[string]string{"#old" + m.number: m.old, "#new" + m.number: m.new}
	for placeholder, name := range m.prefixNames {
		names[placeholder] = name
	}
	expression := "REMOVE " + m.prefix + "#old" + m.number + ", " + m.prefix + "#new" + m.number
	return Update[V]{expression, names, nil}
}

// Combine joins updates into one. Each update must have one clause, SET or REMOVE.
func Combine[V any](updates ...Update[V]) Update[V] {
	var clauses []string
	actions := map[string][]string{}
	all := Update[V]{Names: map[string]string{}}
	for _, update := range updates {
		clause, rest, _ := strings.Cut(update.Expression, " ")
		if actions[clause] == nil {
			clauses = append(clauses, clause)
		}
		actions[clause] = append(actions[clause], rest)
		for placeholder, name := range update.Names {
			all.Names[placeholder] = name
		}
		for placeholder, value := range update.Values {
			if all.Values == nil {
				all.Values = map[string]V{}
			}
			all.Values[placeholder] = value
		}
	}
	for i, clause := range clauses {
		clauses[i] = clause + " " + strings.Join(actions[clause], ", ")
	}
	all.Expression = strings.Join(clauses, " ")
	return all
}
{{moves}}
