package flag

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"
)

type value map[string]any

// TestVectors checks the package with the published vectors: FLAG_VECTORS=…/flag-vectors.json go test -v
func TestVectors(t *testing.T) {
	path := os.Getenv("FLAG_VECTORS")
	if path == "" {
		path = "../../../flag-vectors.json"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Hash []struct {
			Key    value
			Bucket int
		}
		Flags   map[string]map[string]value
		Refused []struct{ Item map[string]value }
		Read    []struct {
			Flag  string
			Key   value
			Item  map[string]value
			Value value
		}
		Write []struct {
			Flag, Update string
			Value        value
			Names        map[string]string
			Values       map[string]value
		}
		Delete []struct {
			Update string
			Names  map[string]string
		}
		Cache []struct {
			Name  string
			Steps []struct {
				At, Takes, Reads int
				Fails, Unknown   bool
			}
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	count := 0
	same := func(found, expected, what any) {
		t.Helper()
		if !reflect.DeepEqual(found, expected) {
			t.Errorf("%v: found %v, expected %v", what, found, expected)
		}
		count++
	}
	flags := map[string]Flag{}
	for name, item := range vectors.Flags {
		flag, err := Parse(fields(item))
		same(err, nil, name)
		flags[name] = flag
	}
	for _, c := range vectors.Hash {
		same(bucketOf(c.Key), c.Bucket, c)
	}
	for _, c := range vectors.Refused {
		_, err := Parse(fields(c.Item))
		same(errors.Is(err, ErrUnknown), true, c)
	}
	for _, c := range vectors.Read {
		found, _ := Read(flags[c.Flag], bucketOf(c.Key), c.Item, "old", "new")
		same(found, c.Value, c)
	}
	for _, c := range vectors.Write {
		same(Write(flags[c.Flag], "old", "new", c.Value), Update[value]{c.Update, c.Names, c.Values}, c)
	}
	for _, c := range vectors.Delete {
		same(Remove[value]("old", "new"), Update[value]{c.Update, c.Names, nil}, c)
	}
	for _, c := range vectors.Cache {
		start, reads := time.Now(), 0
		now := start
		step := c.Steps[0]
		cached := NewCached(func(context.Context) (*Fields, error) {
			reads++
			now = now.Add(time.Duration(step.Takes) * time.Second)
			if step.Fails {
				return nil, errors.New("no connection")
			}
			return fields(vectors.Flags["both"]), nil
		})
		cached.now = func() time.Time { return now }
		for _, step = range c.Steps {
			now, reads = start.Add(time.Duration(step.At)*time.Second), 0
			_, err := cached.Current(context.Background())
			same([]any{errors.Is(err, ErrUnknown), reads}, []any{step.Unknown, step.Reads}, c.Name)
		}
	}
	absent, _ := Parse(nil)
	same(absent.Write, "old", "no item")
	fmt.Printf("%d cases\n", count)
}

func bucketOf(key value) int {
	for kind, v := range key {
		text := v.(string)
		switch kind {
		case "S":
			return BucketOfString(text)
		case "N":
			return BucketOfNumber(text)
		case "B":
			bytes, _ := base64.StdEncoding.DecodeString(text)
			return BucketOfBytes(bytes)
		}
	}
	return -1
}

func fields(item map[string]value) *Fields {
	text := func(name, kind string) string {
		text, _ := item[name][kind].(string)
		return text
	}
	f := &Fields{
		SchemaVersion: text("schema_version", "N"), Version: text("version", "N"), Write: text("write", "S"), Read: text("read", "S"),
		ReadPercent: text("read_percent", "N"), MaxCacheSeconds: text("max_cache_seconds", "N"),
	}
	if stale, ok := item["old_stale"]["BOOL"].(bool); ok {
		f.OldStale = &stale
	}
	return f
}
