// Package flag reads backfill's cutover flag in applications. docs/flag.md explains the rules.
//
// It uses only the standard library. V is the type of an attribute value, for example types.AttributeValue of aws-sdk-go-v2:
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

// ErrUnknown means that the state of the flag is unknown. Do not read or write the attributes that move.
var ErrUnknown = errors.New("the state of the flag is unknown")

const schemaVersion = "1"

// Flag is the state that an application obeys.
type Flag struct {
	Write       string // old, both, new
	Read        string // old, new
	ReadPercent int
	OldStale    bool
	MaxCache    time.Duration
}

// Fields are the attributes of the flag's item. Numbers and strings are text. OldStale is nil if the item has no such boolean.
type Fields struct {
	SchemaVersion, Version, Write, Read, ReadPercent, MaxCacheSeconds string
	OldStale                                                          *bool
}

// Parse reads the flag from its item. Nil means that the item does not exist, so the migration has not begun. Parse refuses
// unknown values.
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
		return Flag{}, fmt.Errorf("%w: it has an invalid value or combination", ErrUnknown)
	}
	return Flag{f.Write, f.Read, int(percent), *f.OldStale, time.Duration(seconds) * time.Second}, nil
}

// BucketOfString returns the bucket (0 to 99) of a partition key of type S.
func BucketOfString(key string) int { return bucket('S', []byte(key)) }

// BucketOfBytes returns the bucket of a key of type B.
func BucketOfBytes(key []byte) int { return bucket('B', key) }

// BucketOfNumber returns the bucket of a key of type N. Equal numbers have the same bucket.
func BucketOfNumber(key string) int { return bucket('N', []byte(plain(key))) }

func bucket(kind byte, value []byte) int {
	digest := sha256.Sum256(append([]byte{kind}, value...))
	return int(binary.BigEndian.Uint64(digest[:8]) % 100)
}

// plain returns a number without exponent and without redundant zeros: 15 for 1.50E1, -0.5 for -0.50, 0 for -0.
func plain(number string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign = "-"
	}
	before, after, _ := strings.Cut(strings.TrimLeft(mantissa, "+-"), ".")
	digits := before + after
	shift, _ := strconv.Atoi(exponent)
	// The position of the decimal point, counted from the first digit.
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

// Read returns the item's old or new value, as the flag requires. bucket is the bucket of the item's partition key.
func Read[V any](f Flag, bucket int, item map[string]V, oldName, newName string) (V, bool) {
	if f.Read == "old" || bucket >= f.ReadPercent {
		value, ok := item[oldName]
		return value, ok
	}
	value, ok := item[newName]
	// Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
	// stale, so do not fall back to it.
	if !ok && f.Write == "both" && !f.OldStale {
		value, ok = item[oldName]
	}
	return value, ok
}

// Update contains the expression of an UpdateItem request, and the names and values in the expression.
type Update[V any] struct {
	Expression string
	Names      map[string]string
	Values     map[string]V
}

// Write builds an update that writes a value. If the flag says both, the update writes both attributes.
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

// Remove builds an update that deletes a value. The update always deletes both attributes.
func Remove[V any](oldName, newName string) Update[V] {
	return Update[V]{"REMOVE #old, #new", map[string]string{"#old": oldName, "#new": newName}, nil}
}

// Cached caches the flag for at most MaxCache. This time begins when the request for the flag is sent.
//
// After a third of this time, it reads the flag again. If the read fails, it returns the cached flag for another third. After
// that, it returns ErrUnknown. The last third is for the request that obeys the flag and for the retries of that request: give
// the request a context with a timeout of MaxCache / 3.
type Cached struct {
	fetch func(context.Context) (*Fields, error)
	now   func() time.Time // monotonic, like time.Now
	mutex sync.Mutex
	flag  *Flag
	sent  time.Time
}

// NewCached returns a cache that reads the flag with fetch.
func NewCached(fetch func(context.Context) (*Fields, error)) *Cached {
	return &Cached{fetch: fetch, now: time.Now}
}

// Current returns the flag to obey now.
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
	// A reply that took too long may be out of date.
	if c.now().Sub(sent) >= 2*flag.MaxCache/3 {
		return Flag{}, fmt.Errorf("%w: reading it took too long", ErrUnknown)
	}
	c.flag, c.sent = &flag, sent
	return flag, nil
}
