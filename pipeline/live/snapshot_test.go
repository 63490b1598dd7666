package live_test

import (
	"encoding/json"
	"testing"
	"time"

	"facescan/pipeline/live"
	"facescan/store"
)

// TestSnapshotJSON: users' scripts find each figure by its name; what is unknown, or not looked for, is null.
func TestSnapshotJSON(t *testing.T) {
	s := view()
	s.Now = s.Start.Add(90 * time.Second)
	check := func(want map[string]string) {
		t.Helper()
		b, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if string(got[name]) != text {
				t.Errorf("%s: %s, want %s", name, got[name], text)
			}
		}
	}
	check(map[string]string{"elapsed_seconds": "90", "total": "5000000", "done": "432100",
		"pending":      "4567900",
		"already_done": "0", "ok": "400000", "failed": "32100", "faces": "234567",
		"images_with_faces": "123456",
		"failures":          `{"http_4xx":30000,"opt_out":100,"timeout":2000}`, "rate": "1234.5", "own_rate": "600",
		"eta_seconds": "3700", "shards": `{"total":500,"done":43,"free":450,"leased":7}`, "in_flight": "200",
		"waiting": "0", "outage": "false", "held_back_by": `"workers"`,
		"held_back": `"the workers (94% busy): 2 rows wait; more --workers may help"`})
	s.Left, s.Detector, s.Holdup, s.Outage = -1, store.NoDetector, live.Holdup{}, true
	s.Failures = map[store.Reason]int64{store.Timeout: 0}
	check(map[string]string{"eta_seconds": "null", "faces": "null", "images_with_faces": "null",
		"held_back_by": "null", "held_back": "null", "outage": "true", "failures": "{}", "detector": `"none"`})
	s.Detector = "yunet min-face=20"
	check(map[string]string{"detector": `"yunet"`, "faces": "234567"})
}
