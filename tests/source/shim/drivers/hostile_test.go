package hostileshim

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"
)

// TestHostile prints what the shim of the plan with hostile names contains: names as hexadecimal UTF-8.
func TestHostile(t *testing.T) {
	flag := Flag{"both", "new", 100, false, 60 * time.Second}
	update := Combine(
		WritesForLineBreakTab("v1", flag), WritesForProto("v2", flag), WritesForConstructor("v3", flag), WritesForType("v4", flag),
	)
	fmt.Println("expression", update.Expression)
	for _, placeholder := range sorted(update.Names) {
		fmt.Printf("%s %x\n", placeholder, update.Names[placeholder])
	}
	var values []string
	for _, placeholder := range sorted(update.Values) {
		values = append(values, placeholder+"="+update.Values[placeholder])
	}
	fmt.Println("values", strings.Join(values, ","))
	fmt.Printf("partition %x\ntable %x\n", PartitionKey, FlagTable)
	for _, name := range sorted(FlagKey) {
		fmt.Printf("flag %x %x\n", name, FlagKey[name])
	}
	oldOnly := map[string]string{}
	for n := 1; n <= 4; n++ {
		oldOnly[update.Names[fmt.Sprintf("#old%d", n)]] = fmt.Sprintf("v%d", n)
	}
	reads := []func(map[string]string, Flag, int) (string, bool){
		ReadLineBreakTab[string], ReadProto[string], ReadConstructor[string], ReadType[string],
	}
	for i, read := range reads {
		if found, ok := read(oldOnly, flag, 0); !ok || found != fmt.Sprintf("v%d", i+1) {
			t.Errorf("%d: %v", i, found)
		}
		if _, ok := read(nil, flag, 0); ok {
			fmt.Println("absent False")
		} else {
			fmt.Println("absent True")
		}
	}
	put := map[string]string{update.Names["#old2"]: "x", update.Names["#new2"]: "x"}
	if found := AttributesForProto("x", flag); !reflect.DeepEqual(found, put) {
		t.Error(found)
	}
	removed := Combine(RemovesForType[string](), RemovesForProto[string]())
	fmt.Println("expression", removed.Expression)
	if removed.Values != nil {
		t.Error(removed.Values)
	}
}

func sorted(names map[string]string) []string {
	var all []string
	for name := range names {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}
