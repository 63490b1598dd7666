package export

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// TestPendingRows has conditions on rows that have no result yet: what a result would say is unknown, also to
// IS NULL and NOT.
func TestPendingRows(t *testing.T) {
	o := Options{Sources: []Source{{}, {Name: "/b.csv", Kept: []string{"note"}}}}
	row := store.Row{ID: store.FirstOf(1) + 7, URL: "http://a.example/", Group: "g", Kept: []string{"n"}}
	for where, want := range map[string]bool{
		"id = 1099511627783": true, "row = 7": true, "url LIKE '%a.example%'": true, "group = 'g'": true,
		"source = '/b.csv'": true, "note = 'n'": true, "note IS NULL": false, "note IS NOT NULL": true,
		"status = 'ok'": false, "NOT status = 'ok'": false, "status IS NULL": false, "status IS NOT NULL": false,
		"length(format) IS NULL": false, "faces IS NULL OR row = 7": true, "faces > 0 OR row = 7": true,
		"faces > 0 AND row = 7": false, "final_url IS NULL": false, "length(note) IS NOT NULL": true,
	} {
		if got := must.Get(ParseFilter(where, o))(t).MatchPending(row); got != want {
			t.Errorf("%s: %v", where, got)
		}
	}
	erased := store.Row{ID: 1, URL: store.NewEraser().Erase("http://a.example/")}
	if must.Get(ParseFilter("url LIKE '%a.example%'", Options{}))(t).MatchPending(erased) {
		t.Error("the URL of a forgotten row is known")
	}
}

// TestObject writes what is known of a result before it is done, and the picture with its own faces.
func TestObject(t *testing.T) {
	object := NewObject(twoDetectors())
	r := mixed()[0]
	r.URL, r.Outputs = "http://user:secret@a/", store.KeptBody
	picture := Picture{File: `a "b".jpg`, Format: "jpeg", Width: 50, Height: 49, Faces: r.Faces[:1]}
	picture.Faces[0].X = 7
	got := string(object.Append([]byte("before "), r, picture))
	for _, want := range []string{"before {\"id\":1,\"url\":\"http://user:***@a/\",", `,"status":"ok",`,
		`,"faces":1,"boxes":[[7,2,30,40,0.9731]],`, `,"detector":"network-1 min=20",`,
		`"stored":{"file":"a \"b\".jpg","format":"jpeg","width":50,"height":49,"boxes":[[7,2,30,40,0.9731]],` +
			`"landmarks":[[1.0,2.5,20.0,2.4,10.1,15.0,-0.3,30.0,19.9,30.1]]}}` + "\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
	for _, late := range []string{`"kept"`, `"crops"`, `"blurred"`, `"source"`, `"group"`} {
		if strings.Contains(got, late) {
			t.Errorf("%s has %s", got, late)
		}
	}
	for name, early := range map[string]bool{"faces": true, "final_url": true, "boxes": false, "kept": false,
		"crops": false, "no such": false} {
		if Early(name) != early {
			t.Errorf("%s is early: %v", name, Early(name))
		}
	}
}

// TestDuplicateRows has columns of their own before those of the picture.
func TestDuplicateRows(t *testing.T) {
	var b strings.Builder
	w := must.Get(New(&b, Options{Rows: "duplicates"}))(t)
	for i, r := range some[:2] {
		must.OK(t, w.WriteDuplicate(store.Duplicate{Result: r, First: 1, Distance: 3 * i}))
	}
	must.OK(t, w.Close())
	want := "group,distance,id,url,format,width,height,bytes\n1,0,1,http://a/1.jpg,jpeg,500,375,81234\n" +
		"1,3,2,\"http://user:***@a/x,\"\"y\"\".png\",png,8,9,99\n"
	if b.String() != want {
		t.Errorf("%s, want\n%s", b.String(), want)
	}
}

// TestCheckFollow refuses what cannot be written row by row.
func TestCheckFollow(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		o    Options
		path string
		want string
	}{
		{Options{}, filepath.Join(dir, "out.csv"), ""}, {Options{Format: "csv"}, "", ""},
		{Options{Format: "jsonl"}, "-", ""},
		{Options{}, filepath.Join(dir, "out.csv.gz"), "compressed"},
		{Options{}, filepath.Join(dir, "out.ZST"), "compressed"},
		{Options{Format: "parquet"}, "out.parquet", "parquet cannot be written row by row"},
		{Options{Format: "coco"}, "", "coco cannot be written row by row"},
		{Options{}, filepath.Join(dir, "none", "out.csv"), "the folder " + dir + "/none does not exist"},
		{Options{Columns: []string{"nothing"}}, "", `no column "nothing"`},
		{Options{Rows: "things"}, "", `unknown --rows "things"`},
	} {
		var usage *UsageError
		err := CheckFollow(c.o, c.path)
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &usage) ||
			!strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v to %q: %v, want %q", c.o, c.path, err, c.want)
		}
	}
}

// TestFollowGroups writes groups as they finish, each once, and goes on after the last one that was written.
func TestFollowGroups(t *testing.T) {
	d := newFollowed(t)
	s := must.Get(d.AddSource(background, store.Source{Name: "list"}))(t)
	l := must.Get(d.LeaseSource(background, s.Number))(t)
	add := func(id int64, group string, complete bool) {
		t.Helper()
		rows := []store.NewRow{{ID: id, URL: "http://x.example/", Group: group},
			{ID: id + 1, URL: "http://x.example/", Group: group}, {ID: id + 2, Group: group, End: true}}
		d.ok(d.Append(background, l, rows, store.Position{Line: id + 2}, complete, 1000))
	}
	follow := func() {
		t.Helper()
		f := d.follower()
		f.Options = func([]store.Source) (Options, error) {
			return Options{Rows: "groups", Columns: []string{"group", "images", "ok", "failed",
				"revision"}}, nil
		}
		over := make(chan struct{})
		close(over)
		d.ok(f.Follow(background, over))
	}
	want := "group,images,ok,failed,revision\n"
	follow()
	d.is(want)
	add(1, "a", false)
	add(4, "b", false)
	d.work(2) // which is of a
	want += "b,2,1,1,1\n"
	follow()
	d.is(want)
	d.work()
	want += "a,2,2,0,1\n"
	for range 2 {
		follow()
		d.is(want)
	}
	add(7, "c", true)
	d.work()
	follow()
	d.is(want + "c,2,2,0,1\n")
}

// TestMoment is in UTC with milliseconds.
func TestMoment(t *testing.T) {
	at := time.Date(2030, 5, 6, 1, 2, 3, 45e6, time.FixedZone("", 2*60*60))
	if got := moment(at).s; got != "2030-05-05T23:02:03.045Z" {
		t.Error(got)
	}
}
