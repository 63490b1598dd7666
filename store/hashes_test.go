package store

import (
	"encoding"
	"errors"
	"strings"
	"testing"
)

func TestHashes(t *testing.T) {
	t.Parallel()
	h := NewPHash(0x0102030405060708)
	if h != "\x01\x02\x03\x04\x05\x06\x07\x08" || h.Bits() != 0x0102030405060708 {
		t.Errorf("its bytes are %q, its bits %x", string(h), h.Bits())
	}
	for _, none := range []PHash{"", h[1:], h + "\x00"} {
		if none.Bits() != 0 {
			t.Errorf("%q has the bits %x", string(none), none.Bits())
		}
	}
	sum := SHA256("\x00\xff\x10")
	for text, hash := range map[string]interface {
		encoding.TextMarshaler
		String() string
	}{"0102030405060708": h, "00ff10": sum, "": PHash("")} {
		if got, err := hash.MarshalText(); err != nil || string(got) != text || hash.String() != text {
			t.Errorf("%s is written as %s, %v", text, got, err)
		}
	}
	var back Hashes
	if err := errors.Join(back.SHA256.UnmarshalText([]byte("00ff10")),
		back.PHash.UnmarshalText([]byte("0102030405060708"))); err != nil || back != (Hashes{sum, h}) {
		t.Errorf("read as %q, %v", back, err)
	}
	for _, hash := range []encoding.TextUnmarshaler{new(SHA256), new(PHash)} {
		if hash.UnmarshalText([]byte("0g")) == nil {
			t.Errorf("0g is read as a %T", hash)
		}
	}
}

// TestStoredHashes: a hash that is stored has its length, or is not there.
func TestStoredHashes(t *testing.T) {
	t.Parallel()
	for _, sha256 := range []int{0, 1, 31, 32, 33} {
		for _, phash := range []int{0, 1, 7, 8, 9} {
			sum, hash := strings.Repeat("s", sha256), strings.Repeat("p", phash)
			got, err := StoredHashes([]byte(sum), []byte(hash))
			if sound := sha256%32 == 0 && phash%8 == 0; sound && (err != nil ||
				got != Hashes{SHA256(sum), PHash(hash)}) || !sound && err != errHash {
				t.Errorf("%d and %d bytes: %v, %v", sha256, phash, got, err)
			}
		}
	}
}
