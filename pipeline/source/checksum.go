package source

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// checksums are the kinds that a list may have, by their length in bytes.
var checksums = map[int]func() hash.Hash{
	md5.Size: md5.New, sha1.Size: sha1.New, sha256.Size: sha256.New, sha512.Size: sha512.New,
}

// parseChecksum reads a checksum in hexadecimal. The hash is nil if it is malformed.
func parseChecksum(text string) (sum []byte, of hash.Hash) {
	sum, err := hex.DecodeString(text)
	if make := checksums[len(sum)]; err == nil && make != nil {
		return sum, make()
	}
	return nil, nil
}

// ChecksumMatches reports whether a body has the checksum that its list gives. A malformed one matches
// nothing.
func ChecksumMatches(checksum string, body []byte) bool {
	sum, of := parseChecksum(checksum)
	if of == nil {
		return false
	}
	of.Write(body)
	return bytes.Equal(of.Sum(nil), sum)
}

// checkHashes reads the first rows of a list. It refuses a column of which none of them has a checksum,
// though they have something there: it is another column than was meant.
func checkHashes(ctx context.Context, s Spec) error {
	if s.HashColumn == "" {
		return nil
	}
	if s.Format != "sqlite" {
		s.IDColumn = "" // which might have the list sorted first
	}
	r, err := Open(ctx, s, Position{})
	if err != nil {
		return err
	}
	rows := make([]Row, 256)
	n, err := r.Next(rows)
	if err = errors.Join(err, r.Close()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var wrong *Row
	for i := range rows[:n] {
		switch _, of := parseChecksum(rows[i].Hash); {
		case of != nil:
			return nil
		case rows[i].Hash != "" && wrong == nil:
			wrong = &rows[i]
		}
	}
	if wrong == nil {
		return nil
	}
	return usagef("the column %s of %s has no checksums: that of row %d is %.100q; name one with "+
		"--verify-hash that has md5, sha1, sha256 or sha512 in hexadecimal", s.HashColumn, nameOf(s.Path),
		wrong.ID, wrong.Hash)
}
