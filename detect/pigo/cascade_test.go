package pigo

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestParse(t *testing.T) {
	c, err := Parse(Facefinder)
	must(t, err)
	if got := Stages(c); got != 24 {
		t.Errorf("%d stages, want 24", got)
	}
}

func TestParseRefuses(t *testing.T) {
	good := func() []byte { return drawn(rand.New(rand.NewPCG(1, 1)), 3, 5) }
	leaf := 16 + 4*7
	for _, c := range []struct {
		data []byte
		want string
	}{
		{good()[:15], "15 bytes are too few for a header"},
		{with32(good(), 8, 0), "trees of depth 0, want 1 to 10"},
		{with32(good(), 8, 11), "trees of depth 11, want 1 to 10"},
		{with32(good(), 12, 0), "0 trees, want 1 to 65536"},
		{with32(good(), 12, 1<<16+1), "65537 trees, want 1 to 65536"},
		{with32(good(), 12, 1<<16), "320 bytes of trees, want 4194304 for 65536 of depth 3"},
		{with32(good(), 8, 10), "320 bytes of trees, want 40960 for 5 of depth 10"},
		{good()[:16], "0 bytes of trees, want 320 for 5 of depth 3"},
		{with32(good(), leaf+64, math.Float32bits(2e30)), "tree 1 has a leaf of 2e+30"},
		{with32(good(), leaf+4*8+64, math.Float32bits(float32(math.NaN()))),
			"tree 1 has a threshold that is not a number"},
	} {
		if _, err := Parse(c.data); err == nil || err.Error() != "not a cascade: "+c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for name, data := range map[string][]byte{
		"nothing":            nil,
		"half a header":      good()[:15],
		"no trees":           good()[:16],
		"a byte too few":     good()[:len(good())-1],
		"a byte too many":    append(good(), 0),
		"depth 0":            with32(good(), 8, 0),
		"depth 11":           with32(good(), 8, 11),
		"depth 4294967295":   with32(good(), 8, 1<<32-1),
		"0 trees":            with32(good(), 12, 0),
		"6 trees":            with32(good(), 12, 6),
		"4294967295 trees":   with32(good(), 12, 1<<32-1),
		"a leaf of NaN":      with32(good(), leaf, math.Float32bits(float32(math.NaN()))),
		"an endless leaf":    with32(good(), leaf, math.Float32bits(float32(math.Inf(-1)))),
		"a threshold of NaN": with32(good(), leaf+4*8, math.Float32bits(float32(math.NaN()))),
	} {
		if _, err := Parse(data); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse(good()); err != nil {
		t.Error("a sound one:", err)
	}
	for _, most := range []float32{-maxLeaf, maxLeaf} {
		if _, err := Parse(with32(good(), leaf, math.Float32bits(most))); err != nil {
			t.Errorf("a leaf of %v: %v", most, err)
		}
	}
}

// TestTables: the tables for other evaluators are the file's; a stage has its last tree's threshold.
func TestTables(t *testing.T) {
	c, err := Parse(Facefinder)
	must(t, err)
	tables := c.Tables()
	const treeSize = 4*63 + 4*64 + 4
	trees := (len(Facefinder) - 16) / treeSize
	threshold := func(tree int32) float32 {
		return math.Float32frombits(binary.LittleEndian.Uint32(Facefinder[16+int(tree)*treeSize+treeSize-4:]))
	}
	if tables.Depth != 6 || len(tables.Codes) != trees*64*4 || len(tables.Leaves) != trees*64 ||
		tables.Last != threshold(int32(trees-1)) || len(tables.Stages) != 24 ||
		tables.Stages[23].To != int32(trees) {
		t.Errorf("depth %d, %d codes, %d leaves, last %v, stages %v", tables.Depth, len(tables.Codes),
			len(tables.Leaves), tables.Last, tables.Stages)
	}
	before := int32(0)
	for i, s := range tables.Stages {
		if s.To <= before || s.Threshold != threshold(s.To-1) {
			t.Errorf("stage %d ends at %d, after %d, with %v", i, s.To, before, s.Threshold)
		}
		before = s.To
	}
}

func FuzzParse(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	f.Add([]byte{})
	f.Add(drawn(rng, 1, 1))
	f.Add(drawn(rng, 2, 3))
	f.Add(drawn(rng, 6, 2))
	luma := noise(rng, 24, 23)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		// Every accepted cascade can be evaluated.
		for _, s := range Searchers(c) {
			s.Search(nil, luma, Pass{MinSize: 8, MaxSize: 24, Shift: 0.1, Scale: 1.1})
		}
	})
}

// drawn is a random cascade that rejects some windows at every tree, and passes some of them all.
func drawn(rng *rand.Rand, depth, trees int) []byte {
	data := make([]byte, 8)
	data = binary.LittleEndian.AppendUint32(data, uint32(depth))
	data = binary.LittleEndian.AppendUint32(data, uint32(trees))
	for t := range trees {
		for range 4 * (1<<depth - 1) {
			data = append(data, byte(rng.Uint32()))
		}
		for range 1 << depth {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(rng.Float32()-0.4))
		}
		threshold := float32(t)*0.05 - 0.3
		if rng.IntN(3) == 0 {
			threshold = -1000 // as real ones have where a tree cannot reject
		}
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(threshold))
	}
	return data
}

func with32(data []byte, at int, v uint32) []byte {
	binary.LittleEndian.PutUint32(data[at:], v)
	return data
}
