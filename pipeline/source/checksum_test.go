package source

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzChecksumMatches: only the checksums of a body match it, in any case.
func FuzzChecksumMatches(f *testing.F) {
	body := []byte("body")
	right := map[string]bool{fmt.Sprintf("%x", md5.Sum(body)): true, fmt.Sprintf("%x", sha1.Sum(body)): true,
		fmt.Sprintf("%x", sha256.Sum256(body)): true, fmt.Sprintf("%x", sha512.Sum512(body)): true}
	for sum := range right {
		f.Add(sum)
		f.Add(strings.ToUpper(sum))
		f.Add(sum[2:])
		f.Add(sum + "00")
		f.Add(sum[1:])
	}
	f.Add("")
	f.Add("zz")
	f.Fuzz(func(t *testing.T, text string) {
		if got := ChecksumMatches(text, body); got != right[strings.ToLower(text)] {
			t.Errorf("%q matches: %v", text, got)
		}
	})
}

// TestCheckHashes refuses a column without checksums, and only that.
func TestCheckHashes(t *testing.T) {
	sum := fmt.Sprintf("%x", sha1.Sum(nil))
	for text, refused := range map[string]bool{
		"url,id,h\nu,2," + sum + "\nv,1,x\n": false, "url,id,h\nu,1,x\nv,2," + sum + "\n": false,
		"url,id,h\nu,1,\n": false, "url,id,h\n": false, "url,id,h\nu,1,\nv,2,12\n": true,
		"url,id,h\nu,1,u\n": true,
	} {
		path := filepath.Join(t.TempDir(), "list.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Check(context.Background(), &Spec{Path: path, Format: "csv", HashColumn: "h", IDColumn: "id"})
		if (err != nil) != refused {
			t.Errorf("%q: %v", text, err)
		}
	}
}
