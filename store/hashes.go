package store

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"iter"
)

// Hashes are those of a row's image that the job computes.
type Hashes struct {
	SHA256 SHA256 // of the body, as downloaded
	PHash  PHash  // of the picture, as stored
}

// SHA256 is a checksum in raw bytes; empty when there is none.
type SHA256 string

// PHash is a perceptual hash in raw bytes, the first being the top row of its 8 x 8 bits; empty when there is
// none.
type PHash string

// NewPHash is the hash with these bits, the highest being the first one.
func NewPHash(bits uint64) PHash { return PHash(binary.BigEndian.AppendUint64(nil, bits)) }

// Bits is the reverse of NewPHash; 0 when there is none.
func (h PHash) Bits() uint64 {
	if len(h) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(h))
}

func (h SHA256) String() string { return hex.EncodeToString([]byte(h)) }
func (h PHash) String() string  { return hex.EncodeToString([]byte(h)) }

// MarshalText implements encoding.TextMarshaler: in hexadecimal.
func (h SHA256) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// MarshalText implements encoding.TextMarshaler, likewise.
func (h PHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *SHA256) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = SHA256(b)
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *PHash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = PHash(b)
	return err
}

const errHash DamagedValue = "its hash is damaged"

// StoredHashes are hashes as a database has them.
func StoredHashes(sha256, phash []byte) (Hashes, error) {
	h := Hashes{SHA256(sha256), PHash(phash)}
	return h, h.Check()
}

// Check refuses hashes of a length that no job writes.
func (h Hashes) Check() error {
	if len(h.SHA256) != 0 && len(h.SHA256) != 32 || len(h.PHash) != 0 && len(h.PHash) != 8 {
		return errHash
	}
	return nil
}

// Hashed is the part of a Job that knows the hashes of its images.
type Hashed interface {
	// Hashes yields the rows with from <= id < to that are ok and have a hash, in id order, paged as Results
	// is.
	Hashes(ctx context.Context, from, to int64) iter.Seq2[HashedRow, error]
	// ResultsOf returns the results of those rows that have one, in id order, however far they lie apart. The
	// ids ascend.
	ResultsOf(ctx context.Context, ids []int64) ([]Result, error)
}

// HashedRow is a row with its hashes.
type HashedRow struct {
	ID int64
	Hashes
}

// Duplicate is a picture of a group of equal or similar ones.
type Duplicate struct {
	Result
	First    int64 // the group's first picture: the one with the lowest id
	Distance int   // bits by which its hash differs from the first one's
}
