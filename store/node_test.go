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

// TestPartsOfAll: a merge has all rows when every source is complete, and one source is enough for that.
func TestPartsOfAll(t *testing.T) {
	t.Parallel()
	merge := map[string]string{MergeSetting: "x", MergePartsSetting: "1/2"}
	for _, c := range []struct {
		settings map[string]string
		complete []bool
		want     string
	}{
		{map[string]string{NodeSetting: "1/3"}, []bool{true}, "1/3"},
		{merge, nil, "1/2"},
		{merge, []bool{true}, "0/1"},
		{merge, []bool{true, true}, "0/1"},
		{merge, []bool{true, false}, "1/2"},
		{merge, []bool{false}, "1/2"},
	} {
		var sources []Source
		for _, complete := range c.complete {
			sources = append(sources, Source{Complete: complete})
		}
		if got, err := partsOfAll(c.settings, sources); err != nil || got.String() != c.want {
			t.Errorf("%v of sources %v: %v, %v; want %s", c.settings, c.complete, got, err, c.want)
		}
	}
}

// TestMaxPeriod: parts whose residues repeat after exactly that many ids are looked at.
func TestMaxPeriod(t *testing.T) {
	t.Parallel()
	var all Nodes
	for i := range 2 {
		all = append(all, Node{i, 2})
	}
	all = append(all, Node{0, maxPeriod})
	if !all.whole() {
		t.Errorf("two halves and a part of %d are not all rows", maxPeriod)
	}
	all[2].Of = 2 * maxPeriod
	if all.whole() {
		t.Errorf("a part of %d was looked at", 2*maxPeriod)
	}
}
