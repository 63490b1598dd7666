package store

import (
	"context"
	"fmt"
	"iter"
)

// PublishSetting begins the keys of settings that say how a job is published (store/segment).
const PublishSetting = "publish:"

// fillSetting begins the keys of settings that name sources of which rows may be missing up to their
// position.
const fillSetting = PublishSetting + "fill:"

// FillLater is a setting to write before a source gets a position up to which it may lack rows.
func FillLater(source int) map[string]string {
	return map[string]string{fillSetting + fmt.Sprint(source): "1"}
}

// Filled is the setting to write when a source has all rows of the part up to its position.
func Filled(source int) map[string]string {
	return map[string]string{fillSetting + fmt.Sprint(source): ""}
}

// MustFill reports whether a source may lack rows up to its position, of those that the job is to take.
func MustFill(settings map[string]string, s Source) bool {
	return settings[fillSetting+fmt.Sprint(s.Number)] != ""
}

// Publishable is what a Job is too whose rows can be published, and taken in from where they were.
type Publishable interface {
	// NoteChanges has the job note each row that becomes done or pending from now on, and with all those
	// that are done already. It may be called again; what was noted stays.
	NoteChanges(ctx context.Context, all bool) error
	// Changes returns rows that were noted, as they are now, in ascending ids: those of the first notes
	// above after, at most limit. The last of these notes is after itself when there are none.
	Changes(ctx context.Context, after int64, limit int) (rows []MergedRow, last int64, err error)
	// DropChanges forgets notes up to a number, and writes settings, in one transaction.
	DropChanges(ctx context.Context, upTo int64, settings map[string]string) error
	// TakeIn is Absorb for rows that were published: what they say replaces what the job has, a pending row
	// a done one, too; but rows with a note stay as they are. Rows whose Publication is set keep it.
	TakeIn(ctx context.Context, source int, rows []PublishedRow, p Position, complete bool,
		shardSize int) error
	// Published yields all rows of a source in id order, each with its Publication.
	Published(ctx context.Context, source int) iter.Seq2[PublishedRow, error]
}

// PublishedRow is a row with the number of the publication that it is of. Of several of one row the highest
// counts.
type PublishedRow struct {
	MergedRow
	Publication int64
}
