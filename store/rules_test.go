package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRenewed(t *testing.T) {
	then, now := time.Unix(1, 0), time.Unix(2, 0)
	ls := []Lease{{Shard: 1, Generation: 7, Expires: then}, {Shard: 2, Expires: then},
		{Shard: 3, Expires: then}}
	got := Renewed(ls, []int64{1, 3}, now)
	if diff := cmp.Diff([]Lease{{Shard: 1, Generation: 7, Expires: now}, {Shard: 3, Expires: now}},
		got); diff != "" {
		t.Error(diff)
	}
	if ls[0].Expires != then {
		t.Error("the leases that were given have changed")
	}
}

func TestTrust(t *testing.T) {
	begin := time.Now()
	until := Trust(30 * time.Second)
	if until.Before(begin.Add(20*time.Second)) || until.After(time.Now().Add(20*time.Second)) {
		t.Errorf("a lease of 30s is trusted for %v", until.Sub(begin))
	}
}

func TestNamed(t *testing.T) {
	if o := (Owner{ID: "me", PID: 3}).Named(); o.ID != "me" {
		t.Errorf("renamed to %s", o.ID)
	}
	a, b := (Owner{PID: 3}).Named(), (Owner{PID: 3}).Named()
	if a.ID == b.ID || !regexp.MustCompile(`^3-.{10}$`).MatchString(a.ID) ||
		CheckOwner(a.ID, time.Second) != nil {
		t.Errorf("%s, %s", a.ID, b.ID)
	}
}

func TestChecks(t *testing.T) {
	for what, err := range map[string]error{
		`"a b" is not an owner's name`: CheckOwner("a b", time.Second),
		`at most 64`:                   CheckOwner(strings.Repeat("a", 65), 1),
		`must be above zero`:           CheckOwner("a", 0),
		`a shard of 0 rows`:            CheckShardSize(0),
		`claim: at most 0 rows`:        CheckClaim(0),
		`row 2 comes after row 2`:      CheckRows([]NewRow{{ID: 1}, {ID: 2}, {ID: 2}}, 0, 0),
		`row 5 comes after row 5`:      CheckRows([]NewRow{{ID: 5}}, 5, 0),
		`is outside source 1`:          CheckRows([]NewRow{{ID: 5}}, 0, 1),
		`priority 21 is not`:           CheckPriority(21),
		`priority -21 is not`:          CheckPriority(-21),
		`row 3 has status ""`: CheckMerged([]MergedRow{{Row: Row{ID: 2}},
			{Row: Row{ID: 3}, Result: &Result{ID: 3}}}),
		`row 4 is outside`: CheckMerged([]MergedRow{{Row: Row{ID: 3},
			Result: &Result{ID: 4, Status: OK, Detector: "d"}}}),
		`row 3 failed with reason "x"`: CheckPublished([]PublishedRow{{MergedRow: MergedRow{Row: Row{ID: 3},
			Result: &Result{ID: 3, Status: Failed, Reason: "x"}}}}),
		`row 7 is outside the shard, 1 to 6`: CheckResults(Lease{Lo: 1, Hi: 6}, []Result{{ID: 7}}),
		`row 0 is outside the shard, 1 to 6`: CheckResults(Lease{Lo: 1, Hi: 6}, []Result{{ID: 0}}),
		`row 1 is ok with reason "" and detector ""`: CheckResults(Lease{Lo: 1, Hi: 6},
			[]Result{{ID: 1, Status: OK}}), `face at 1,1 of 2x2`: CheckResults(Lease{Lo: 1, Hi: 6},
			[]Result{{ID: 1, Status: OK, Detector: "d", Width: 2, Height: 3,
				Faces: []Face{{X: 1, Y: 1, Width: 2, Height: 2}}}}),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v does not say %s", err, what)
		}
	}
	for i, err := range []error{
		CheckOwner("a.B_c-1", 1), CheckShardSize(1), CheckClaim(1), CheckPriority(20), CheckPriority(-20),
		CheckMerged([]MergedRow{{Row: Row{ID: 3}}}), CheckPublished([]PublishedRow{{}}),
		CheckOwner(strings.Repeat("a", 64), 1),
		CheckRows([]NewRow{{ID: FirstOf(1) + 1}, {ID: FirstOf(2) - 1}}, FirstOf(1), 1),
		CheckRows(nil, FirstOf(1), 1), CheckResults(Lease{Lo: 1, Hi: 6},
			[]Result{{ID: 1, Status: Failed, Reason: Timeout},
				{ID: 6, Status: OK, Detector: "d", Width: 2, Height: 2,
					Faces: []Face{{Width: 2, Height: 2}}}}),
	} {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestFaceBoxes: a face lies in its image and has an area; a row that failed has none.
func TestFaceBoxes(t *testing.T) {
	for box, sound := range map[[4]int]bool{{0, 0, 1, 1}: true, {0, 0, 20, 10}: true, {19, 9, 1, 1}: true,
		{-1, 0, 5, 5}: false, {0, -1, 5, 5}: false, {5, 5, 0, 5}: false, {5, 5, 5, 0}: false,
		{0, 0, 21, 1}: false, {0, 0, 1, 11}: false, {16, 5, 5, 5}: false, {15, 6, 5, 5}: false} {
		r := Result{ID: 3, Status: OK, Detector: "d", Width: 20, Height: 10,
			Faces: []Face{{Width: 1, Height: 1}, {X: box[0], Y: box[1], Width: box[2], Height: box[3]}}}
		if err := CheckResults(Lease{Lo: 3, Hi: 3}, []Result{r}); (err == nil) != sound {
			t.Errorf("%v: %v", box, err)
		}
	}
	for faces, want := range map[int]string{0: "", 1: `row 3 failed with reason "timeout" and 1 faces`} {
		r := Result{ID: 3, Status: Failed, Reason: Timeout, Width: 9, Height: 9,
			Faces: []Face{{Width: 1, Height: 1}}[:faces]}
		err := CheckResults(Lease{Lo: 3, Hi: 3}, []Result{r})
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%d faces: %v", faces, err)
		}
	}
}

func TestPartitionMerged(t *testing.T) {
	ok, failed := &Result{Status: OK, Faces: []Face{{X: 1}}}, &Result{Status: Failed, Reason: Timeout}
	row := func(id int64, r *Result) MergedRow {
		return MergedRow{Row: Row{ID: id, URL: "u", Group: "theirs"}, Result: r}
	}
	have := map[int64]Existing{}
	for id, s := range map[int64]Status{3: "", 4: "", 5: OK, 6: OK, 7: OK, 8: Failed, 9: Failed, 10: Failed} {
		have[id] = Existing{URL: "u", Group: "ours", Status: s}
	}
	got, err := PartitionMerged([]MergedRow{row(1, nil), row(2, ok), row(3, nil), row(4, failed), row(5, nil),
		row(6, ok), row(7, failed), row(8, nil), row(9, failed), row(10, ok)}, have)
	with := func(id int64, r *Result) Result { n := *r; n.ID = id; return n }
	want := Partition{
		Fresh: []NewRow{{ID: 1, URL: "u", Group: "theirs"},
			{ID: 2, URL: "u", Group: "theirs", Bad: true}},
		Results:   []Result{with(2, ok), with(4, failed), with(10, ok)},
		Completed: []int64{4},
		Replaced:  []int64{10},
		Groups: map[int64]string{1: "theirs", 2: "theirs", 3: "ours", 4: "ours", 5: "ours", 6: "ours",
			7: "ours", 8: "ours", 9: "ours", 10: "ours"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if ok.ID != 0 {
		t.Error("the result that was given has changed")
	}
	_, err = PartitionMerged([]MergedRow{row(3, nil)}, map[int64]Existing{3: {URL: "v"}})
	if err == nil || !strings.Contains(err.Error(), `row 3 is "v" here, "u" there`) {
		t.Errorf("another URL: %v", err)
	}
}

// TestPartitionMergedForgotten: what was forgotten in either job is forgotten; a URL that was removed is
// removed.
func TestPartitionMergedForgotten(t *testing.T) {
	ok, forgot := &Result{Status: OK}, &Result{Status: Failed, Reason: Forgotten}
	erased := NewEraser().Erase("u")
	row := func(id int64, url string, r *Result) MergedRow {
		return MergedRow{Row: Row{ID: id, URL: url, Group: "theirs"}, Result: r}
	}
	here := func(url string, s Status, forgotten bool) Existing {
		return Existing{URL: url, Group: "ours", Status: s, Forgotten: forgotten}
	}
	got, err := PartitionMerged([]MergedRow{row(1, erased, forgot), row(2, "u", forgot), row(3, "u", forgot),
		row(4, "u", forgot), row(5, "u", ok), row(6, erased, forgot), row(7, erased, forgot), row(8, "u", ok),
		row(9, erased, forgot)},
		map[int64]Existing{2: here("u", OK, false), 3: here("u", Failed, false), 4: here("u", "", false),
			5: here("u", Failed, true), 6: here("u", OK, false), 7: here("u", Failed, true),
			8: here(erased, Failed, true), 9: here(erased, Failed, true)})
	if err != nil {
		t.Fatal(err)
	}
	want := Partition{Fresh: []NewRow{{ID: 1, URL: erased, Group: "theirs", Bad: true}},
		Completed: []int64{4},
		Replaced:  []int64{2, 3, 6}, Erased: []Erased{{6, erased}, {7, erased}},
		Groups: map[int64]string{1: "theirs", 2: "ours", 3: "ours", 4: "ours", 5: "ours", 6: "", 7: "",
			8: "ours", 9: "ours"}}
	if ids := ResultIDs(got.Results); !slices.Equal(ids, []int64{1, 2, 3, 4, 6}) {
		t.Errorf("results of %v enter", ids)
	}
	got.Results = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPartitionPublished(t *testing.T) {
	at := func(ms int64) *Result { return &Result{Status: OK, Time: time.UnixMilli(ms)} }
	row := func(id int64, r *Result, publication int64) PublishedRow {
		return PublishedRow{MergedRow{Row: Row{ID: id, URL: "u"}, Result: r}, publication}
	}
	have := map[int64]Existing{3: {URL: "u"}, 4: {URL: "u", Status: OK, Time: 5},
		5: {URL: "u", Status: Failed, Time: 6}, 6: {URL: "u", Status: OK}, 7: {URL: "u", Noted: true},
		8: {URL: "u", Status: OK, Noted: true}}
	got, err := PartitionPublished([]PublishedRow{row(1, nil, 0), row(2, at(1), 9), row(3, nil, 9),
		row(4, at(5), 9), row(5, at(5), 9), row(6, nil, 8), row(7, at(5), 9), row(8, nil, 9)}, have)
	two, five := *at(1), *at(5)
	two.ID, five.ID = 2, 5
	want := PublishedPartition{
		Fresh:        []NewRow{{ID: 1, URL: "u"}, {ID: 2, URL: "u", Bad: true}},
		Results:      []Result{two, five},
		Reopened:     []int64{6},
		Publications: []int64{2, 9, 3, 9, 4, 9, 5, 9, 6, 8},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	_, err = PartitionPublished([]PublishedRow{row(3, nil, 1)}, map[int64]Existing{3: {URL: "v"}})
	if err == nil || !strings.Contains(err.Error(), `row 3 is "v" here, "u" where it was published`) {
		t.Errorf("another URL: %v", err)
	}
}

// TestPartitionPublishedForgotten likewise, also of rows with something to publish; and end records of groups
// are no rows.
func TestPartitionPublishedForgotten(t *testing.T) {
	ok, forgot := &Result{Status: OK, Time: time.UnixMilli(5)}, &Result{Status: Failed, Reason: Forgotten}
	erased := NewEraser().Erase("u")
	row := func(id int64, url string, r *Result) PublishedRow {
		return PublishedRow{MergedRow{Row: Row{ID: id, URL: url}, Result: r}, 9}
	}
	end := func(id int64, group string) PublishedRow {
		return PublishedRow{MergedRow{Row: Row{ID: id, Group: group}, End: true}, 0}
	}
	forgotten, gone := Existing{URL: "u", Status: Failed, Forgotten: true},
		Existing{URL: erased, Status: Failed, Forgotten: true}
	got, err := PartitionPublished([]PublishedRow{row(1, "u", ok), row(2, "u", nil), row(3, "u", forgot),
		row(4, "u", forgot), row(5, erased, forgot), row(6, "u", forgot), row(7, erased, forgot),
		row(8, erased, forgot), end(10, "a"), end(11, "b"), end(12, "a")},
		map[int64]Existing{1: forgotten, 2: forgotten, 3: forgotten, 4: gone, 5: gone,
			6: {URL: "u", Status: OK, Time: 5, Noted: true}, 7: {URL: "u", Status: OK,
				Time: 5}, 8: forgotten})
	if err != nil {
		t.Fatal(err)
	}
	want := PublishedPartition{Erased: []Erased{{7, erased}, {8, erased}}, Stale: []int64{1, 2, 4},
		Publications: []int64{6, 9, 7, 9}, Ends: map[string]int64{"a": 10, "b": 11}}
	if ids := ResultIDs(got.Results); !slices.Equal(ids, []int64{6, 7}) {
		t.Errorf("results of %v enter", ids)
	}
	got.Results = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCounted(t *testing.T) {
	n := Counted{}.Count(2, 3).Count(1, 0).Count(-1, 3)
	if want := (Counted{Rows: 2, Faces: 3, ImagesWithFaces: 1}); n != want {
		t.Errorf("%+v, want %+v", n, want)
	}
	var got found
	n.Verify(n, 0, "", got.report)
	if got != nil {
		t.Errorf("the same is reported: %v", got)
	}
	n.Verify(n.Count(0, 1), 0, "", got.report)
	n.Verify(n.Count(1, 0), 0, "", got.report)
	if len(got) != 1 {
		t.Errorf("another sum is reported as %v", got)
	}
	var text string
	n.Verify(n.Count(1, 2), 4, TLS, func(p Problem) { text = p.Check + ": " + p.Text })
	want := `tally: source 4, reason "tls": counters say 2 rows, 3 faces in 1 images; there are 3, 5, 2`
	if text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

func TestCounts(t *testing.T) {
	c := Counts{Total: 10, Failures: map[Reason]int64{}}
	c.Add("", Counted{4, 6, 2})
	c.Add(Timeout, Counted{1, 0, 0})
	c.Add(Timeout, Counted{1, 0, 0})
	c.Add(TLS, Counted{})
	c.Derive()
	want := Counts{Total: 10, Done: 6, Pending: 4, OK: 4, Failed: 2, Faces: 6, ImagesWithFaces: 2,
		Failures: map[Reason]int64{Timeout: 2}}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestHostTallies(t *testing.T) {
	h := HostTallies{}
	h.Add("http://A.example:80/1", true, 2, 10)
	h.Add("https://a.example/2", false, 0, 5)
	h.Add("::", true, 1, 1)
	want := HostTallies{"a.example": {Value: "a.example", Rows: 2, OK: 1, Faces: 2, ImagesWithFaces: 1,
		Bytes: 15}, "": {Rows: 1, OK: 1, Faces: 1, ImagesWithFaces: 1, Bytes: 1}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}

func TestGroupAudit(t *testing.T) {
	for what, test := range map[string]struct {
		g    GroupAudit
		want string
	}{
		"unfinished":      {GroupAudit{Pending: 2}, ""},
		"finished":        {GroupAudit{Finished: 4}, ""},
		"stale":           {GroupAudit{Stale: true}, ""},
		"other sums":      {GroupAudit{Said: "1", There: "2"}, "its counters say 1, its rows 2"},
		"ready":           {GroupAudit{Ready: true}, "it is not finished"},
		"pending":         {GroupAudit{Finished: 4, Pending: 2}, "2 rows pending"},
		"finished, stale": {GroupAudit{Finished: 4, Stale: true}, "number 4 of 4, stale: true"},
		"too late":        {GroupAudit{Finished: 5}, "number 5 of 4, stale: false"},
	} {
		text := ""
		test.g.Name, test.g.Source = "a", 3
		test.g.Verify(4, func(p Problem) { text += p.Text })
		if test.want == "" && text != "" || !strings.Contains(text, test.want) ||
			text != "" && !strings.HasPrefix(text, `group "a" of source 3: `) {
			t.Errorf("%s: %q, want %q", what, text, test.want)
		}
	}
}

// TestRowChecks: each text says its number, and nothing else is to be put in.
func TestRowChecks(t *testing.T) {
	for check := range rowChecks {
		p := RowProblem(check, 71, 93)
		if p.Check != check || p.ID != 71 || !strings.HasPrefix(p.Text, "row 71: ") ||
			!strings.Contains(p.Text, "93") &&
				!strings.Contains(rowChecks[check], "%d") || strings.Contains(p.Text, "%!") {
			t.Errorf("%s: %+v", check, p)
		}
	}
}

// TestStatusOf: the reason says it, of broken records too.
func TestStatusOf(t *testing.T) {
	if StatusOf("") != OK || StatusOf(Timeout) != Failed {
		t.Error(StatusOf(""), StatusOf(Timeout))
	}
	bad := BadResults([]NewRow{{ID: 1}, {ID: 2, Bad: true}, {ID: 3, Bad: true}})
	if ids := ResultIDs(bad); !slices.Equal(ids, []int64{2, 3}) || bad[0].Status != Failed ||
		bad[0].Reason != BadURL || time.Since(bad[0].Time) > time.Hour {
		t.Errorf("%+v", bad)
	}
	merged := Merged([]NewRow{{ID: 1, URL: "u", Group: "g", Hash: "h", Kept: []string{"k"}},
		{ID: 2, Bad: true},
		{ID: 3, End: true, Group: "g"}})
	if diff := cmp.Diff([]MergedRow{{Row: Row{ID: 1, URL: "u", Group: "g", Hash: "h", Kept: []string{"k"}}},
		{Row: Row{ID: 2}, Result: merged[1].Result}, {Row: Row{ID: 3, Group: "g"}, End: true}},
		merged); diff != "" || merged[1].Result == nil || merged[1].Result.Reason != BadURL ||
		merged[1].Result.ID != 2 {
		t.Errorf("%+v %s", merged[1].Result, diff)
	}
}

// TestMustFill: a source is filled until the setting says that it was.
func TestMustFill(t *testing.T) {
	settings := map[string]string{}
	for _, c := range []struct {
		set  map[string]string
		want bool
	}{{nil, false}, {FillLater(3), true}, {Filled(2), true}, {Filled(3), false}} {
		maps.Copy(settings, c.set)
		if MustFill(settings, Source{Number: 3}) != c.want || MustFill(settings, Source{Number: 4}) {
			t.Errorf("with the settings %v: %t", settings, !c.want)
		}
	}
}

func TestWorking(t *testing.T) {
	for _, c := range []struct {
		alive  bool
		shards int64
		want   bool
	}{{true, 1, true}, {true, 0, false}, {false, 1, false}} {
		owners := []OwnerCounts{{Alive: false, Shards: 2}, {Alive: c.alive, Shards: c.shards}}
		if (Counts{Owners: owners}).Working() != c.want {
			t.Errorf("%+v: working %t", c, !c.want)
		}
	}
}

func TestDoing(t *testing.T) {
	two := []Batch{{Lease: Lease{Shard: 3}, Results: make([]Result, 2)}, {Results: make([]Result, 1)}}
	for want, got := range map[string]string{
		"commit 2 rows of shard 3":  committing(two[:1]),
		"commit 3 rows of 2 shards": committing(two),
		"append to source 4":        Appending([]Addition{{Lease: SourceLease{Source: 4}}}),
		"append to 2 sources":       Appending(make([]Addition, 2)),
		"lease source 5":            Leasing([]int{5}),
		"lease 2 sources":           Leasing([]int{5, 6}),
		"add source a":              Adding([]Source{{Name: "a"}}),
		"add 2 sources":             Adding(make([]Source, 2)),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
