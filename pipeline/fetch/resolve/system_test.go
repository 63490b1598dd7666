package resolve

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNeeded: a name of the hosts file needs no upstream, written with a final dot or without.
func TestNeeded(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 here.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Hosts: hosts, Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"here.example": false, "here.example.": false,
		"there.example": true} {
		if r.Needed(name) != want {
			t.Errorf("%s needs an upstream: %t", name, !want)
		}
	}
}
