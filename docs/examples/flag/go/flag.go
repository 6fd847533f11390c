// Package flag is the cutover flag of backfill, as an application obeys it. docs/flag.md says why each rule is what it
// is.
//
// Only the standard library. V is whatever an attribute value is: types.AttributeValue with aws-sdk-go-v2:
//
//	flags := flag.NewCached(func(ctx context.Context) (*flag.Fields, error) { … GetItem, ConsistentRead: true … })
//
//	now, err := flags.Current(ctx)
//	email, ok := flag.Read(now, flag.BucketOfString("CUSTOMER#1"), item, "email", "contact_email")
//	update := flag.Write[types.AttributeValue](now, "email", "contact_email", &types.AttributeValueMemberS{Value: "…"})
package flag

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrUnknown: what the flag says is not known. Do not read or write the attributes that move.
var ErrUnknown = errors.New("the flag is not known")

const schemaVersion = "1"

// Flag is what an application obeys.
type Flag struct {
	Write       string // old, both, new
	Read        string // old, new
	ReadPercent int
	OldStale    bool
	MaxCache    time.Duration
}

// Fields are the flag item's attributes as they are: numbers and strings as text, OldStale nil where it is no boolean.
type Fields struct {
	SchemaVersion, Version, Write, Read, ReadPercent, MaxCacheSeconds string
	OldStale                                                          *bool
}

// Parse reads the flag; nil, no item, is a migration that has not begun. Anything unknown is refused.
func Parse(f *Fields) (Flag, error) {
	if f == nil {
		return Flag{Write: "old", Read: "old", MaxCache: time.Second}, nil
	}
	percent, err1 := strconv.ParseUint(f.ReadPercent, 10, 8)
	seconds, err2 := strconv.ParseUint(f.MaxCacheSeconds, 10, 32)
	version, err3 := strconv.ParseUint(f.Version, 10, 64)
	switch {
	case err1 != nil || err2 != nil || err3 != nil || version < 1 || seconds < 1 || f.OldStale == nil:
		return Flag{}, fmt.Errorf("%w: this is not a flag", ErrUnknown)
	case f.SchemaVersion != schemaVersion:
		return Flag{}, fmt.Errorf("%w: it has another schema_version", ErrUnknown)
	case f.Write != "old" && f.Write != "both" && f.Write != "new",
		f.Read != "old" && f.Read != "new",
		percent > 100,
		(percent == 0) != (f.Read == "old"),
		f.Read == "new" && f.Write == "old",
		f.Write == "new" && percent < 100:
		return Flag{}, fmt.Errorf("%w: it says what it cannot say", ErrUnknown)
	}
	return Flag{f.Write, f.Read, int(percent), *f.OldStale, time.Duration(seconds) * time.Second}, nil
}

// BucketOfString is the part of a hundred, 0 to 99, of a partition key of type S.
func BucketOfString(key string) int { return bucket('S', []byte(key)) }

// BucketOfBytes is that of a key of type B.
func BucketOfBytes(key []byte) int { return bucket('B', key) }

// BucketOfNumber is that of a key of type N, however it is spelt.
func BucketOfNumber(key string) int { return bucket('N', []byte(plain(key))) }

func bucket(kind byte, value []byte) int {
	digest := sha256.Sum256(append([]byte{kind}, value...))
	return int(binary.BigEndian.Uint64(digest[:8]) % 100)
}

// plain is 15 for 1.50E1, -0.5 for -0.50, 0 for -0: no exponent, no zero without a meaning.
func plain(number string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign = "-"
	}
	before, after, _ := strings.Cut(strings.TrimLeft(mantissa, "+-"), ".")
	digits := before + after
	shift, _ := strconv.Atoi(exponent)
	// Where the point is, counted from the first digit.
	point := len(before) + shift
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole, fraction := strings.TrimLeft(digits[:point], "0"), strings.TrimRight(digits[point:], "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		return sign + whole + "." + fraction
	}
	if whole == "0" {
		return whole
	}
	return sign + whole
}

// Read is the value to read of an item; bucket is that of its partition key.
func Read[V any](f Flag, bucket int, item map[string]V, oldName, newName string) (V, bool) {
	if f.Read == "old" || bucket >= f.ReadPercent {
		value, ok := item[oldName]
		return value, ok
	}
	value, ok := item[newName]
	// Items that backfill has not come to yet have only the old value. Once values were written to the new attribute
	// alone, an old one may be stale: then there is no falling back.
	if !ok && f.Write == "both" && !f.OldStale {
		value, ok = item[oldName]
	}
	return value, ok
}

// Update is an UpdateItem's expression with its names and values.
type Update[V any] struct {
	Expression string
	Names      map[string]string
	Values     map[string]V
}

// Write writes a value: both attributes in one write, or neither.
func Write[V any](f Flag, oldName, newName string, value V) Update[V] {
	values := map[string]V{":value": value}
	switch f.Write {
	case "both":
		return Update[V]{"SET #old = :value, #new = :value", map[string]string{"#old": oldName, "#new": newName}, values}
	case "new":
		return Update[V]{"SET #new = :value", map[string]string{"#new": newName}, values}
	default:
		return Update[V]{"SET #old = :value", map[string]string{"#old": oldName}, values}
	}
}

// Remove deletes a value: both attributes, whatever the flag says.
func Remove[V any](oldName, newName string) Update[V] {
	return Update[V]{"REMOVE #old, #new", map[string]string{"#old": oldName, "#new": newName}, nil}
}

// Cached is the flag, obeyed for at most its MaxCache after the request that read it was sent.
//
// It is read again after a third of that time. If that fails, it is obeyed for another third, and then nothing is:
// ErrUnknown. The last third belongs to the request that is made under it, its retries included: give it a context with a
// timeout of MaxCache / 3.
type Cached struct {
	fetch func(context.Context) (*Fields, error)
	now   func() time.Time // monotonic, as time.Now is
	mutex sync.Mutex
	flag  *Flag
	sent  time.Time
}

// NewCached reads the flag by fetch.
func NewCached(fetch func(context.Context) (*Fields, error)) *Cached {
	return &Cached{fetch: fetch, now: time.Now}
}

// Current is the flag to obey now.
func (c *Cached) Current(ctx context.Context) (Flag, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.flag != nil && c.now().Sub(c.sent) < c.flag.MaxCache/3 {
		return *c.flag, nil
	}
	sent := c.now()
	fields, err := c.fetch(ctx)
	var flag Flag
	if err == nil {
		flag, err = Parse(fields)
	}
	if err != nil {
		if c.flag != nil && c.now().Sub(c.sent) < 2*c.flag.MaxCache/3 {
			return *c.flag, nil
		}
		return Flag{}, fmt.Errorf("%w: it could not be read in time (%v)", ErrUnknown, err)
	}
	// A reply that took too long says what was so once.
	if c.now().Sub(sent) >= 2*flag.MaxCache/3 {
		return Flag{}, fmt.Errorf("%w: reading it took too long", ErrUnknown)
	}
	c.flag, c.sent = &flag, sent
	return flag, nil
}
