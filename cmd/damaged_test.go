package cmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/sqlite"
)

// smallJob makes a job with something of everything. Its URLs are none, so that no damage makes a run fetch
// anything.
func smallJob(t testing.TB) []byte {
	t.Helper()
	ctx := context.Background()
	dir := t.TempDir()
	list, path := filepath.Join(dir, "urls.csv"), filepath.Join(dir, "job.db")
	var text strings.Builder
	text.WriteString("url,album,note\n")
	for i := range 40 {
		fmt.Fprintf(&text, "none:%d,album %d,n%d\n", i, i/8, i)
	}
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	mustHere(t, "run", list, "--db", path, "--group-column", "album", "--keep-columns", "note",
		"--progress", "none", "-q")
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	job, err := sqlite.Open(ctx, path)
	check(err)
	defer job.Close()
	settings, err := job.Settings(ctx)
	check(err)
	_, err = job.Retry(ctx, store.Selection{Reasons: []store.Reason{store.BadURL}})
	check(err)
	s, err := job.Join(ctx, pipeline.Self(), time.Hour)
	check(err)
	l, err := s.Claim(ctx, 30)
	check(err)
	rows, err := s.Pending(ctx, l, 0, 30)
	check(err)
	var results []store.Result
	for i, r := range rows {
		face := store.Face{X: 10, Y: 20, Width: 30, Height: 40, Score: 9.5, Confidence: 0.75}
		result := store.Result{ID: r.ID, Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500,
			Height: 375, Bytes: 50_000, Attempts: 1, Detector: settings["detector"],
			Faces: slices.Repeat([]store.Face{face}, i%4), Candidates: []store.Face{face},
			Time: time.UnixMilli(1)}
		if i%5 == 4 {
			result = store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout, Attempts: 3,
				FinalURL: "none:x", Time: time.UnixMilli(2)}
		}
		results = append(results, result)
		_, err = job.Sample(ctx, store.Thumbnail{ID: r.ID, Faces: i%4 > 0, Rank: int64(i),
			JPEG: pictures(t)["b-none.jpg"][:300]}, 5)
		check(err)
	}
	check(s.Commit(ctx, l, results))
	check(s.Leave(ctx))
	check(job.Close())
	b, err := os.ReadFile(path)
	check(err)
	return b
}

// readCommands are those that write nothing; writeCommands may change the job.
var (
	readCommands = [][]string{
		{"status", "JOB", "--json"}, {"export", "JOB"}, {"verify", "JOB", "--deep", "-q"},
		{"report", "JOB", "-o", "-"},
		{"status", "JOB"}, {"export", "JOB", "--rows", "faces"}, {"status", "JOB", "--by", "host"},
		{"export", "JOB", "--rows", "groups", "--format", "jsonl"}, {"status", "JOB", "--by", "group"},
		{"export", "JOB", "--columns", "id,group,class,final_url,detector,confidence,note", "--where",
			"bytes > 0", "--format", "jsonl"},
		{"run", "JOB", "--dry-run"},
	}
	writeCommands = [][]string{
		{"retry", "JOB", "--class", "transient"}, {"pause", "JOB"}, {"resume", "JOB"},
		{"merge", "OUT", "JOB", "-q"},
		{"rescan", "JOB", "--all"}, {"run", "JOB", "--progress", "none", "-q"},
	}
)

// tryDamaged lets commands read a damaged job: each ends soon and says what is wrong, or finds nothing wrong;
// those that only read leave everything as it is.
func tryDamaged(t *testing.T, dir string, job []byte, commands ...[]string) {
	t.Helper()
	path := filepath.Join(dir, "job.db")
	for _, command := range commands {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, job, 0o600); err != nil {
			t.Fatal(err)
		}
		args := slices.Clone(command)
		for i := range args {
			args[i] = strings.NewReplacer("JOB", path, "OUT", filepath.Join(dir, "out.db")).Replace(args[i])
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		var out, errw bytes.Buffer
		code := Run(ctx, args, strings.NewReader(""), &out, &errw)
		switch late := ctx.Err() != nil; {
		case late:
			t.Errorf("%v takes for ever", command)
		case code != exitOK && errw.Len() == 0 && code != exitLimited:
			t.Errorf("%v: exit %d without a word", command, code)
		case !slices.Contains([]int{exitOK, exitError, exitUsage, exitLimited}, code):
			t.Errorf("%v: exit %d\n%s", command, code, &errw)
		}
		cancel()
		if !slices.ContainsFunc(readCommands, func(c []string) bool { return slices.Equal(c, command) }) {
			continue
		}
		names, err = filepath.Glob(filepath.Join(dir, "*"))
		now, e := os.ReadFile(path)
		if err != nil || e != nil || len(names) != 1 || !bytes.Equal(now, job) {
			t.Errorf("%v changed something: %v, %v %v", command, names, err, e)
		}
	}
}

// damage changes a job in one of several ways.
func damage(r *rand.Rand, job []byte) []byte {
	job = slices.Clone(job)
	const page = 4096
	pages := len(job) / page
	at := func() int { return r.IntN(pages) * page }
	switch r.IntN(8) {
	case 0: // a byte anywhere
		job[r.IntN(len(job))] = byte(r.Uint32())
	case 1: // several
		for range 1 + r.IntN(30) {
			job[r.IntN(len(job))] ^= 1 << r.IntN(8)
		}
	case 2: // the file's header
		job[r.IntN(100)] = byte(r.Uint32())
	case 3: // a page's header
		job[at()+r.IntN(12)] = byte(r.Uint32())
	case 4: // the places of cells in a page
		copy(job[at()+8+2*r.IntN(20):], []byte{byte(r.Uint32()), byte(r.Uint32())})
	case 5: // a page in another's place
		copy(job[at():][:page], job[at():][:page])
	case 6: // the schema
		job[100+r.IntN(page-100)] = byte(r.Uint32())
	case 7:
		job = job[:r.IntN(len(job))]
	}
	return job
}

// TestDamagedJobs opens 720 damaged job files by the commands: none crashes or hangs, and none touches
// anything else.
func TestDamagedJobs(t *testing.T) {
	t.Parallel()
	job := smallJob(t)
	dir := t.TempDir()
	tryDamaged(t, dir, job, slices.Concat(readCommands, writeCommands)...) // which is none yet
	for i := range 720 {
		r := rand.New(rand.NewPCG(20261128, uint64(i)))
		commands := [][]string{readCommands[i%len(readCommands)], readCommands[(i/3)%4]}
		if i%3 == 0 {
			commands = append(commands, writeCommands[i/3%len(writeCommands)])
		}
		tryDamaged(t, dir, damage(r, job), commands...)
		if t.Failed() {
			t.Fatalf("damage %d", i)
		}
	}
}

// FuzzDamagedJob writes bytes into a job, and lets all commands read it: pairs of an offset, four bytes, and
// a byte.
func FuzzDamagedJob(f *testing.F) {
	job := smallJob(f)
	for _, offset := range []uint32{18, 28, 44, 100, 103, 108, 4096, 4099, 8200, uint32(len(job) - 1)} {
		f.Add(append(binary.BigEndian.AppendUint32(nil, offset), 0xff))
	}
	f.Fuzz(func(t *testing.T, patches []byte) {
		damaged := slices.Clone(job)
		for ; len(patches) >= 5; patches = patches[5:] {
			damaged[int(binary.BigEndian.Uint32(patches))%len(damaged)] = patches[4]
		}
		tryDamaged(t, t.TempDir(), damaged, slices.Concat(readCommands, writeCommands)...)
	})
}
