package yunet

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"image"
	"os"
	"slices"
	"strings"
	"testing"

	"facescan/detect/detecttest/sample"
)

// TestPasses: another pass reads a third while the input is larger than 150 pixels and faces of three times
// 50 pixels of it are wanted.
func TestPasses(t *testing.T) {
	f := NewFinder()
	for _, c := range []struct {
		width, height int
		minFace       int
		maxFace       int
		scale         float64
		passes        int
	}{
		{150, 150, 10, 0, 1, 1}, {151, 10, 10, 0, 1, 2}, {10, 151, 10, 0, 1, 2}, {450, 10, 10, 0, 1, 2},
		{451, 10, 10, 0, 1, 3}, {451, 10, 10, 149, 1, 1}, {451, 10, 10, 150, 1, 2}, {451, 10, 10, 449, 1, 2},
		{451, 10, 10, 450, 1, 3}, {451, 10, 10, 299, 2, 1}, {451, 10, 10, 300, 2, 2},
		// of three quarters of the luma
		{200, 200, 20, 0, 1, 1}, {201, 10, 20, 0, 1, 2}, {600, 10, 20, 0, 1, 2}, {601, 10, 20, 0, 1, 3},
		{601, 10, 20, 199, 1, 1}, {601, 10, 20, 200, 1, 2}, {601, 10, 20, 599, 1, 2},
		{601, 10, 20, 600, 1, 3},
	} {
		f.Find(nil, image.NewGray(image.Rect(0, 0, c.width, c.height)), c.scale, Params{MinFace: c.minFace,
			MaxFace: c.maxFace, Floor: 0.3})
		if got := len(f.levels); got != c.passes {
			t.Errorf("%+v: %d passes", c, got)
		}
	}
}

// TestThreeQuarters: from a least face of 19.5 pixels of luma on the network reads three quarters of it, and
// the answer does not depend on the least face otherwise.
func TestThreeQuarters(t *testing.T) {
	luma := sample.Photo(t, 120)
	f := NewFinder()
	find := func(minFace int, scale float64) []Face {
		return f.Find(nil, luma, scale, Params{MinFace: minFace, IoU: 0.3, Floor: 0.5})
	}
	whole, shrunk := find(1, 1), find(60, 1)
	if len(whole) != 1 || len(shrunk) != 1 || whole[0] == shrunk[0] {
		t.Fatalf("%v and %v", whole, shrunk)
	}
	for _, c := range []struct {
		minFace int
		scale   float64
		want    []Face
	}{{19, 1, whole}, {20, 1, shrunk}, {39, 2, whole}, {40, 2, shrunk}, {10, 0.5, shrunk}, {9, 0.5, whole}} {
		if got := find(c.minFace, c.scale); !slices.Equal(got, c.want) {
			t.Errorf("least face %d at scale %v: %v", c.minFace, c.scale, got)
		}
	}
}

// TestFindAppends: the faces that are there already stay as they are.
func TestFindAppends(t *testing.T) {
	luma := sample.Photo(t, 120)
	f := NewFinder()
	alone := f.Find(nil, luma, 1, defaults)
	before := []Face{{Score: 0.1}, alone[0]}
	before[1].Score = 0.5
	if got := f.Find(slices.Clone(before), luma, 1, defaults); !slices.Equal(got, append(before, alone...)) {
		t.Errorf("%v", got)
	}
	for _, nothing := range []*image.Gray{image.NewGray(image.Rect(0, 0, 90, 90)), new(image.Gray)} {
		if got := f.Find(slices.Clone(before), nothing, 1, defaults); !slices.Equal(got, before) {
			t.Errorf("%v: %v", nothing.Rect, got)
		}
	}
}

// TestFindAllocatesNothing: the buffers of one image serve the next ones, smaller or as large.
func TestFindAllocatesNothing(t *testing.T) {
	lumas := []*image.Gray{sample.Photo(t, 240), sample.Photo(t, 60)}
	networks := allPaths()
	networks["plain"] = newPlain()
	for name, n := range networks {
		f := NewFinder()
		f.network = n
		faces := make([]Face, 0, 100)
		find := func() {
			for _, luma := range lumas {
				faces = f.Find(faces[:0], luma, 1, defaults)
			}
		}
		find()
		if n := sample.Allocations(find); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestLargeThirds: a picture of a third is kept for the next image up to 16 MiB.
func TestLargeThirds(t *testing.T) {
	f := &Finder{thirds: []*image.Gray{new(image.Gray), new(image.Gray)}}
	shape(f.thirds[0], 4096, 4096)
	shape(f.thirds[1], 4096, 4097)
	f.letGo()
	if len(f.thirds[0].Pix) != 4096*4096 || f.thirds[1].Pix != nil {
		t.Errorf("%d and %d bytes are kept", len(f.thirds[0].Pix), len(f.thirds[1].Pix))
	}
}

// TestPathsPassCells: on every code path a cell is passed on if both of its values reach the thresholds of
// its level.
func TestPathsPassCells(t *testing.T) {
	luma := sample.Photo(t, 90)
	networks := allPaths()
	networks["plain"] = newPlain()
	cells, _ := answer(newPlain(), picture{luma, false}, all)
	var levels [3]threshold // both values of a cell in the middle
	for level := range levels {
		of := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return int(c.level) != level })
		slices.SortFunc(of, func(a, b cell) int { return cmp.Compare(a.v[0], b.v[0]) })
		middle := of[len(of)/2]
		levels[level] = threshold{middle.v[0], middle.v[1]}
	}
	var want []cell
	var one [2]int // cells of which only one value reaches its threshold
	for _, c := range cells {
		switch class, object := c.v[0] >= levels[c.level].class, c.v[1] >= levels[c.level].object; {
		case class && object:
			want = append(want, c)
		case class:
			one[0]++
		case object:
			one[1]++
		}
	}
	if len(want) < 3 || one[0] == 0 || one[1] == 0 {
		t.Fatalf("%d and %d cells", len(want), one)
	}
	for name, n := range networks {
		if got, _ := answer(n, picture{luma, false}, levels); !slices.Equal(got, want) {
			t.Errorf("%s: %d cells, want %d", name, len(got), len(want))
		}
	}
}

// TestPlainMemory: the plain network too holds a few rows of each block, and no more than Memory says.
func TestPlainMemory(t *testing.T) {
	p := &plain{net: net}
	p.run(picture{image.NewGray(image.Rect(0, 0, 640, 40)), false}, nil, all, func([]cell) {})
	bytes := len(p.first) + len(p.pooled) + 2*len(p.zeros) + 2*len(p.scores)
	for _, row := range slices.Concat(p.rows[:], p.map8[:], p.map16[:]) {
		bytes += len(row)
	}
	for i := range p.stages {
		s := &p.stages[i]
		bytes += 2*(len(s.inner[0])+len(s.inner[1])+len(s.inner[2])) + len(s.out[0]) + len(s.out[1])
	}
	if bytes > perColumn*640 {
		t.Errorf("%d bytes for each column", bytes/640)
	}
}

// TestWeights: the sum is that of the file, and bytes that are not the network's weights are refused.
func TestWeights(t *testing.T) {
	file, err := os.ReadFile("weights.bin")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(file)); Sum() != want {
		t.Errorf("the sum is %s, want %s", Sum(), want)
	}
	stem := 16*9 + 16*4 + 1 + 16*2
	odd := slices.Clone(file)
	odd[stem] = 17
	for _, c := range []struct {
		data []byte
		want string // in the error
	}{
		{odd, "block 0 has 17 and 16 channels"}, {append(slices.Clone(file), 1, 2), "2 bytes too many"},
		{file[:len(file)-1], "too small"}, {file[:stem+2], "block 1 has 0 and 0 channels"},
		{nil, "block 0 has 0 and 0 channels"},
	} {
		if _, err := parse(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d bytes: %v, want %s", len(c.data), err, c.want)
		}
	}
	if _, err := parse(file); err != nil {
		t.Error(err)
	}
}
