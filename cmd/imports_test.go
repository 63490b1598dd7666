package cmd

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// rooms are the packages from the top down; a package may import only from rooms below its own, and within
// its own room only what lies beneath it in the tree.
var rooms = [][]string{
	{"facescan"},
	{"facescan/cmd"},
	{"facescan/pipeline"},
	{"facescan/pipeline/source", "facescan/pipeline/fetch", "facescan/pipeline/decode", "facescan/detect",
		"facescan/store"},
	{"facescan/pipeline/crash", "facescan/pipeline/fileurl", "facescan/store/hint", "facescan/store/listed",
		"facescan/store/tables"},
}

// leaves are rooms that know nothing of the rest of the tree: each detector finds faces, and package detect
// decides what becomes of them.
var leaves = map[string]bool{"facescan/detect/pigo": true, "facescan/detect/yunet": true}

// room of a package: the deepest entry that it is, or is in.
func room(pkg string) (level int, root string) {
	level = -1
	for i, rs := range rooms {
		for _, r := range rs {
			if pkg == r || strings.HasPrefix(pkg, r+"/") && r != "facescan" {
				level, root = i, r
			}
		}
	}
	return level, root
}

// TestImportsPointDown holds DESIGN's one-way imports: main → cmd → pipeline → {source, fetch, decode},
// detect, store. Below all are crash, fileurl, hint, listed and tables.
func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "facescan/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		level, root := room(p.ImportPath)
		if level < 0 {
			t.Errorf("%s is in no room", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "facescan/") {
				continue
			}
			if leaves[p.ImportPath] {
				t.Errorf("%s imports %s: it is to know nothing of the rest", p.ImportPath, imp)
			}
			to, toRoot := room(imp)
			if to < level || to == level && toRoot != root {
				t.Errorf("%s imports %s: imports point down only", p.ImportPath, imp)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}
