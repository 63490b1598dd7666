package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"iter"
	"strings"
	"time"
)

// Forgetter is the part of a Job by which what is known of rows is deleted for good.
type Forgetter interface {
	// Forget deletes what the job has of rows: results, faces, thumbnails, and everything else that is kept
	// per row. The rows stay, done and failed as Forgotten, pending ones too. With url it also removes URL,
	// group and kept columns; of the URL a hash is left (Eraser). It takes ids in ascending order, passes
	// over those that the job does not have, and is complete in each of its transactions: a call that was cut
	// short can be repeated. Of a job in a user's table only results are deleted, of rows that have one.
	Forget(ctx context.Context, ids []int64, url bool) error
	// Expunge overwrites what deleted rows left behind in the job's own files. It says what of that it cannot
	// promise; empty for nothing.
	Expunge(ctx context.Context) (limits string, err error)
}

// ForgetSetting is the owner that deletes rows from the job (see Forgetter), or began to and was stopped;
// empty if none does.
const ForgetSetting = "forget"

// forgottenResult is what is left of a row.
func forgottenResult(id int64, now time.Time) Result {
	return Result{ID: id, Status: Failed, Reason: Forgotten, Time: now}
}

// ErasedPrefix begins what replaces a URL that was removed: a salt and a hash follow.
const ErasedPrefix = "forgotten:sha256:"

// saltBytes of an erased URL make its hash another one each time, so that a list of hashes made once does not
// show which URLs were erased.
const saltBytes = 8

// Eraser removes URLs. What one removed is compared with a URL at the price of one hash (ErasedSet).
type Eraser struct{ salt []byte }

// NewEraser makes an Eraser with a salt of its own.
func NewEraser() Eraser {
	e := Eraser{make([]byte, saltBytes)}
	rand.Read(e.salt)
	return e
}

// Erase returns what replaces a URL.
func (e Eraser) Erase(url string) string {
	if IsErased(url) {
		return url
	}
	return ErasedPrefix + hex.EncodeToString(e.salt) + ":" + hashURL(e.salt, url)
}

// ErasedSet is a set of URLs that were removed.
type ErasedSet map[string]map[string]bool // hashes by salt

// Add adds a row's URL if it was removed.
func (s *ErasedSet) Add(url string) {
	salt, hash, ok := erased(url)
	if !ok {
		return
	}
	if *s == nil {
		*s = ErasedSet{}
	}
	if (*s)[string(salt)] == nil {
		(*s)[string(salt)] = map[string]bool{}
	}
	(*s)[string(salt)][hash] = true
}

// Has reports whether a URL is in the set.
func (s ErasedSet) Has(url string) bool {
	for salt, hashes := range s {
		if hashes[hashURL([]byte(salt), url)] {
			return true
		}
	}
	return false
}

func hashURL(salt []byte, url string) string {
	sum := sha256.Sum256(append(salt[:len(salt):len(salt)], url...))
	return hex.EncodeToString(sum[:])
}

// erased splits what Erase returns.
func erased(url string) (salt []byte, hash string, ok bool) {
	rest, ok := strings.CutPrefix(url, ErasedPrefix)
	if !ok {
		return nil, "", false
	}
	text, hash, _ := strings.Cut(rest, ":")
	salt, err := hex.DecodeString(text)
	return salt, hash, err == nil && len(salt) == saltBytes && len(hash) == 2*sha256.Size
}

// IsErased reports whether a row's URL was removed.
func IsErased(url string) bool {
	_, _, ok := erased(url)
	return ok
}

// KnownURL is a row's URL as it is shown: empty if it was removed.
func KnownURL(url string) string {
	if IsErased(url) {
		return ""
	}
	return url
}

// SameURL reports whether two jobs, or a job and its list, have the same URL of a row, as far as it is known:
// one that was removed is compared by its hash.
func SameURL(a, b string) bool {
	if a == b {
		return true
	}
	saltA, hashA, isA := erased(a)
	saltB, hashB, isB := erased(b)
	switch {
	case isA && isB:
		return true // with different salts: nothing shows that they differ
	case isA:
		return subtle.ConstantTimeCompare([]byte(hashA), []byte(hashURL(saltA, b))) == 1
	case isB:
		return subtle.ConstantTimeCompare([]byte(hashB), []byte(hashURL(saltB, a))) == 1
	}
	return false
}

// isForgotten reports whether a row from another job was forgotten there.
func (r *MergedRow) isForgotten() bool { return r.Result != nil && r.Result.Reason == Forgotten }

// Outlasts reports whether a row was forgotten, and another version of it was not, or still has its URL.
func (r *MergedRow) Outlasts(other *MergedRow) bool {
	return r.isForgotten() && (!other.isForgotten() || IsErased(r.URL) && !IsErased(other.URL))
}

// Erased is a row whose URL, group and kept columns are to be removed.
type Erased struct {
	ID  int64
	URL string // what replaces it
}

// PendingRows yields the rows of a job that have no result, in id order.
func PendingRows(ctx context.Context, j Job, from, to int64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		c := newCursor(ctx, j, from, to)
		defer c.stop()
		for c.err == nil && c.more {
			if row := c.take(); row.Result == nil && c.err == nil && !yield(row.Row, nil) {
				return
			}
		}
		if c.err != nil {
			yield(Row{}, c.err)
		}
	}
}
