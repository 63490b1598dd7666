package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Checksums, by which verify notices what was changed behind the job's back: a result with its faces, a
// source with its position, the settings. They are taken of what the job says, not of how a database stores
// it, so that both stores have the same, and are written in the transaction that writes what they are of.

// sum is what a checksum is taken of, as bytes.
type sum []byte

func (s *sum) int(values ...int64) {
	for _, v := range values {
		*s = binary.AppendVarint(*s, v)
	}
}

func (s *sum) float(v float64) { *s = binary.LittleEndian.AppendUint64(*s, math.Float64bits(v)) }

// text adds a string as it is stored.
func (s *sum) text(v string) {
	v = Storable(v)
	s.int(int64(len(v)))
	*s = append(*s, v...)
}

// Storable is a string in the form in which every database can keep it: UTF-8, with NUL as %00. Rows are that
// already, what servers say may not be.
func Storable(v string) string {
	if strings.IndexByte(v, 0) >= 0 || !utf8.ValidString(v) {
		v = strings.ToValidUTF8(strings.ReplaceAll(v, "\x00", "%00"), "\ufffd")
	}
	return v
}

func (s *sum) bool(v bool) { s.int(bit(v)) }

func (s *sum) faces(faces []Face, short bool) {
	s.int(int64(len(faces)))
	for i := range faces {
		f := &faces[i]
		s.int(int64(f.X), int64(f.Y), int64(f.Width), int64(f.Height))
		for _, v := range []float64{f.Score, f.Confidence} {
			if short { // as candidates are kept
				v = float64(float32(v))
			}
			s.float(v)
		}
	}
}

// value is the checksum, of 32 bits: a change goes unnoticed once in four billion times.
func (s *sum) value() int32 { return int32(xxhash.Sum64(*s)) }

// Checksum is that of a result as it is stored: times in milliseconds.
func (r *Result) Checksum() int32 {
	s := make(sum, 0, 512)
	s.int(r.ID)
	s.columns(r, 0)
	s.text(r.Detector)
	s.faces(r.Faces, false)
	s.faces(r.Candidates, true)
	s = appendLandmarks(s, r.Faces, r.Candidates)
	last := 0 // Since of the last column that is covered
	for _, c := range ResultColumns {
		if c.Since > last && (c.Text == nil && c.Number(r) != 0 || c.Text != nil && *c.Text(r) != "") {
			last = c.Since
		}
	}
	for since := 1; since <= last; since++ {
		s.columns(r, since)
	}
	return s.value()
}

// columns adds the columns that have this Since.
func (s *sum) columns(r *Result, since int) {
	for _, c := range ResultColumns {
		switch {
		case c.Since != since:
		case c.Text == nil:
			s.int(c.Number(r))
		case c.Type == Bytes:
			s.text(hex.EncodeToString([]byte(*c.Text(r))))
		default:
			s.text(*c.Text(r))
		}
	}
}

// Checksum is that of a source's name, options, position and state. How many rows it has, and how many of
// them are pending, its shards say, too.
func (s *Source) Checksum() int32 {
	b := make(sum, 0, 1024)
	b.int(int64(s.Number), int64(s.Priority), s.Position.Offset, s.Position.Line, s.Position.Rows,
		int64(len(s.Position.Mark)))
	b = append(b, s.Position.Mark...)
	b.bool(s.Complete)
	b.bool(s.Paused)
	for _, v := range []string{s.Name, s.Format, s.Options} {
		b.text(v)
	}
	return b.value()
}

// SettingsChecksum is that of all settings.
func SettingsChecksum(settings map[string]string) int32 {
	var b sum
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		b.text(key)
		b.text(settings[key])
	}
	return b.value()
}

// ResultSum is the checksum that is stored with a result; none if an earlier release wrote it.
type ResultSum struct {
	ID  int64
	Sum *int32
}

// VerifyResults compares the results of a range, both ends included, with their checksums. Sums reads the
// checksums from an id on, in id order, a page at a time; read reads the results with from <= id <= to. It
// returns how many results have no checksum.
func VerifyResults(lo, hi int64, page int, sums func(lo, hi int64) ([]ResultSum, error),
	read func(from, to int64) ([]Result, error), report func(Problem)) (unchecked int64, err error) {
	for more := true; more; {
		some, err := sums(lo, hi)
		if err == nil {
			err = verifySums(some, read, report)
		}
		if err != nil {
			return unchecked, err
		}
		for _, s := range some {
			if s.Sum == nil {
				unchecked++
			}
		}
		if more = len(some) == page; more {
			lo = some[page-1].ID + 1
		}
	}
	return unchecked, nil
}

// verifySums does that for a page. Of results that cannot be read, since one is damaged, the others are found
// by halving.
func verifySums(sums []ResultSum, read func(from, to int64) ([]Result, error), report func(Problem)) error {
	if len(sums) == 0 {
		return nil
	}
	results, err := read(sums[0].ID, sums[len(sums)-1].ID)
	var damaged DamagedValue
	switch {
	case err != nil && !errors.As(err, &damaged):
		return err
	case err != nil && len(sums) == 1:
		report(Problem{Check: "result-checksum", ID: sums[0].ID,
			Text: fmt.Sprintf("its result cannot be read: %v", err)})
		return nil
	case err != nil:
		middle := len(sums) / 2
		if err := verifySums(sums[:middle], read, report); err != nil {
			return err
		}
		return verifySums(sums[middle:], read, report)
	}
	for i := range results {
		r := &results[i]
		for len(sums) > 0 && sums[0].ID < r.ID { // without a row
			sums = sums[1:]
		}
		if len(sums) > 0 && sums[0].ID == r.ID {
			if err := r.CheckSum(sums[0].Sum); err != nil {
				report(Problem{Check: "result-checksum", ID: r.ID, Text: err.Error()})
			}
		}
	}
	return nil
}

const errChanged DamagedValue = "its result, or one of its faces, is not what was stored"

// CheckSum compares a result with its checksum; nil if an earlier release wrote it.
func (r *Result) CheckSum(sum *int32) error {
	if sum != nil && *sum != r.Checksum() {
		return errChanged
	}
	return nil
}

// VerifySource compares a source with its checksum; nil if an earlier release wrote it.
func VerifySource(s Source, sum *int32, report func(Problem)) {
	if sum != nil && *sum != s.Checksum() {
		report(Problem{Check: "source-checksum", Text: fmt.Sprintf(
			"the name, options, position or state of source %d (%s) "+
				"is not what was stored", s.Number, s.Name)})
	}
}

// VerifySettings compares the settings with their checksum, likewise.
func VerifySettings(settings map[string]string, sum *int32, report func(Problem)) {
	if sum != nil && *sum != SettingsChecksum(settings) {
		report(Problem{Check: "settings-checksum", Text: "the settings are not what was stored"})
	}
}
