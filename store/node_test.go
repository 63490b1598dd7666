package store

import (
	"fmt"
	"testing"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"0/2,1/2": true, "0/4,2/4,1/2": true, "0/4,1/2": false, "0/1": true, "1/2,1/3,0/6,2/6,4/6": true,
		"1/2,0/3":            false,
		"0/1000003,0/999983": false, // whose residues repeat too late to be looked at
	} {
		ns, err := parseNodes(text)
		if err != nil {
			t.Fatal(err)
		}
		if ns.String() != text || ns.whole() != want {
			t.Errorf("%s is %s, whole: %t", text, ns, ns.whole())
		}
	}
	if !(Nodes{{}}).whole() || (Nodes{}).whole() {
		t.Error("no part is whole, or all rows are not")
	}
	if all := (Nodes{{}, {1, 2}}).String(); all != "0/1,1/2" {
		t.Errorf("all rows, and half of them, are written as %q", all)
	}
	for _, text := range []string{"2/2", "-1/2", "0/0", "1", "0/2 ", "0/2,", "a/b", "00/2"} {
		if ns, err := parseNodes(text); err == nil {
			t.Errorf("%q is read as %v", text, ns)
		}
	}
	for of := 1; of <= 6; of++ {
		for also := 1; also <= 6; also++ {
			for i := range of {
				for k := range also {
					a, b, share := Node{i, of}, Node{k, also}, false
					for id := range int64(of * also) {
						share = share || a.Takes(id) && b.Takes(id)
					}
					if (Nodes{a}).Disjoint(Nodes{b}) == share {
						t.Errorf("%v and %v: %s", a, b, fmt.Sprint("share rows: ", share))
					}
				}
			}
		}
	}
}
