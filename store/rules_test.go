package store

import (
	"regexp"
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
		CheckMerged(nil),
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
